//! Folders that outlive a checkout: `${XDG_CACHE_HOME:-~/.cache}/mesh`. What is there is whole.
//!
//! May use `archive` and `step`.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::archive::hexadecimal;
use crate::step::seconds;

/// The root of everything kept.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty());
    let base = match named {
        Some(named) => PathBuf::from(named),
        None => std::env::home_dir()
            .context("no home folder; set XDG_CACHE_HOME")?
            .join(".cache"),
    };
    Ok(base.join("mesh"))
}

/// A folder of the cache, made if it is not there.
pub(crate) fn folder(name: &str) -> anyhow::Result<PathBuf> {
    let path = root()?.join(name);
    std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// Holds off other runs while the value lives.
pub(crate) fn lock() -> anyhow::Result<File> {
    let file = File::create(folder("")?.join("lock"))?;
    if file.try_lock().is_err() {
        eprintln!(
            "waiting for another run that works in {}",
            root()?.display()
        );
        file.lock()?;
    }
    Ok(file)
}

/// `path`, made by `make` where it is not there yet. `make` gets another name, which becomes `path`
/// once it is whole: what was interrupted is made again.
pub(crate) fn once(
    path: &Path,
    what: &str,
    make: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let started = std::time::Instant::now();
    eprintln!("  - {what} ...");
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    remove(&part)?;
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    make(&part).with_context(|| format!("{what} failed"))?;
    std::fs::rename(&part, path).with_context(|| format!("{what}: {}", path.display()))?;
    eprintln!("  - {what}: {}", seconds(started.elapsed()));
    Ok(())
}

/// Removes a file or a folder that may not be there.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// A short name for content: what is made from other content gets another name.
pub(crate) fn key<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    hexadecimal(digest.get(..6).unwrap_or_default())
}
