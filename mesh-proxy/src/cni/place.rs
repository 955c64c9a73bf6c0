//! The plug-in and the list of plug-ins on the node: put there, kept there, taken away at the end.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_cni::{PLUGIN, SOCKET};

use super::chain;

/// The node's folders, as the DaemonSet mounts them.
const PLUGINS: &str = "/host/opt/cni/bin";
const LISTS: &str = "/host/etc/cni/net.d";
/// Between looks at them.
const LOOK: Duration = Duration::from_secs(1);

/// Puts plug-in and list in place, again whenever another changes or removes them; never returns.
pub(super) async fn keep() {
    let mut said = String::new();
    let mut is_ours = false;
    loop {
        let installed = put(is_ours);
        is_ours |= installed.is_ok();
        let now = match &installed {
            Ok(what) => what.clone(),
            Err(error) => error.to_string(),
        };
        if now != said {
            match installed {
                Ok(what) => tracing::info!("{what}"),
                Err(error) => tracing::error!(%error, "the CNI plug-in is not in place"),
            }
            said = now;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Takes away what was put on the node, the list before the program that it names.
pub(super) fn remove() {
    for path in [list_file(), plugin_file(), PathBuf::from(SOCKET)] {
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "left on the node");
        }
    }
}

/// Writes what is missing or out of date; tells what is in force. A program that is not known to be `ours`
/// is written anyway: another version's may be as long.
fn put(is_ours: bool) -> io::Result<String> {
    let own = program()?;
    let length = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    if !is_ours || length(&plugin_file()) != length(&own) {
        put_program(&own)?;
    }
    let names: Vec<String> = fs::read_dir(LISTS)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let Some(first) = chain::first(names.iter().map(String::as_str)) else {
        // The node's own network comes first.
        return Err(io::Error::other(format!(
            "{LISTS} has no network to add to yet"
        )));
    };
    let text = fs::read_to_string(Path::new(LISTS).join(first))?;
    let named = |error| io::Error::other(format!("{LISTS}/{first}: {error}"));
    let wanted = chain::chained(&text).map_err(named)?;
    if !fs::read_to_string(list_file()).is_ok_and(|held| held == wanted) {
        let fresh = Path::new(LISTS).join(".mesh-cni.new");
        fs::write(&fresh, wanted)?;
        fs::rename(&fresh, list_file())?;
    }
    Ok(format!("{PLUGIN} follows the plug-ins of {first}"))
}

fn put_program(own: &Path) -> io::Result<()> {
    let fresh = Path::new(PLUGINS).join(format!(".{PLUGIN}.new"));
    fs::copy(own, &fresh)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", own.display())))?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    fs::rename(&fresh, plugin_file())
}

/// The plug-in in this image, beside the program that runs.
fn program() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(PLUGIN))
}

fn plugin_file() -> PathBuf {
    Path::new(PLUGINS).join(PLUGIN)
}

fn list_file() -> PathBuf {
    Path::new(LISTS).join(chain::FILE)
}
