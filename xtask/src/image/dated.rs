//! A built program, told to be of another version: the same code as an older build of it, without
//! building all of it again. May use nothing of this crate.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, ensure};

/// What stands before the version in a program (`mesh_api::version`).
const MARK: &str = "this is version ";

/// Writes `program` to `older`, of `version`, which is as long as the real one.
pub(super) fn write(program: &Path, older: &Path, version: &str) -> anyhow::Result<()> {
    let name = || program.display().to_string();
    let mut code = std::fs::read(program).with_context(name)?;
    let count = replace(&mut code, env!("CARGO_PKG_VERSION"), version).with_context(name)?;
    ensure!(count > 0, "{} has no version", program.display());
    std::fs::write(older, code).with_context(|| older.display().to_string())?;
    std::fs::set_permissions(older, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Replaces each marked version; how many.
fn replace(code: &mut [u8], version: &str, with: &str) -> anyhow::Result<usize> {
    ensure!(
        version.len() == with.len(),
        "{with:?} is not as long as {version:?}"
    );
    let found = [MARK, version].concat();
    let starts: Vec<usize> = code
        .windows(found.len())
        .enumerate()
        .filter(|(_, window)| *window == found.as_bytes())
        .map(|(start, _)| start)
        .collect();
    for start in &starts {
        let at = start + MARK.len();
        if let Some(place) = code.get_mut(at..at + with.len()) {
            place.copy_from_slice(with.as_bytes());
        }
    }
    Ok(starts.len())
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_what_is_marked_is_replaced() {
        let mut code = b"1.2.3 this is version 1.2.3\0this is version 1.2".to_vec();
        assert_eq!(super::replace(&mut code, "1.2.3", "1.1.9").unwrap(), 1);
        assert_eq!(code, b"1.2.3 this is version 1.1.9\0this is version 1.2");
        assert!(super::replace(&mut code, "1.2.3", "1.10.0").is_err());
    }
}
