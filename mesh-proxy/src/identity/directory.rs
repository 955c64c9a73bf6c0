//! Credentials in a directory, so that a restarted proxy has its identity at once.
//!
//! The directory should be memory-backed (tmpfs, an `emptyDir` of medium Memory): a key on a disk
//! outlives its workload. That is the caller's choice; a disk is warned about.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::{Credentials, IdentityError, Key};

const FILE: &str = "credentials.json";
/// Longest file read, in bytes.
const MAX_LENGTH: u64 = 1024 * 1024;
/// `f_type` of tmpfs and ramfs (`linux/magic.h`).
const MEMORY_FILE_SYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// One file holds all, so that key, chain and roots always fit each other.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    chain: Vec<Vec<u8>>,
    roots: Vec<Vec<u8>>,
    key: Vec<u8>,
}

impl Drop for Saved {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// Writes `credentials` to `directory` (made with mode 0700 if absent): a file of mode 0600,
/// replaced at once or not at all.
///
/// # Errors
/// The file that could not be written, and why.
pub fn save(directory: &Path, credentials: &Credentials) -> Result<(), IdentityError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(directory)
        .map_err(|e| failed(directory, e))?;
    warn_unless_memory(directory);
    let saved = Saved {
        chain: credentials.chain.iter().map(|der| der.to_vec()).collect(),
        roots: credentials.anchors.iter().map(|der| der.to_vec()).collect(),
        key: credentials.key.pkcs8().to_vec(),
    };
    let mut text = serde_json::to_vec(&saved)
        .map_err(|error| failed(directory, std::io::Error::other(error)))?;
    let result = replace(directory, &text);
    text.zeroize();
    result
}

/// Reads back what [`save`] wrote; `None` where nothing was saved.
///
/// # Errors
/// A file that cannot be read, or credentials that no longer check (an expired leaf): the caller
/// joins anew.
pub fn load(directory: &Path) -> Result<Option<Credentials>, IdentityError> {
    let path = directory.join(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path, error)),
    };
    let mut text = Vec::new();
    file.take(MAX_LENGTH)
        .read_to_end(&mut text)
        .map_err(|error| failed(&path, error))?;
    let parsed = serde_json::from_slice::<Saved>(&text);
    text.zeroize();
    let mut saved = parsed.map_err(|error| failed(&path, std::io::Error::other(error)))?;
    let key = Key::from_pkcs8(std::mem::take(&mut saved.key));
    let chain = std::mem::take(&mut saved.chain);
    let roots = std::mem::take(&mut saved.roots);
    Credentials::new(chain, roots, key).map(Some)
}

fn replace(directory: &Path, text: &[u8]) -> Result<(), IdentityError> {
    let (path, fresh) = (directory.join(FILE), directory.join(format!("{FILE}.new")));
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&fresh, error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(|error| failed(&fresh, error))?;
    file.write_all(text)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&fresh, &path))
        .map_err(|error| failed(&path, error))
}

#[cfg(target_os = "linux")]
fn warn_unless_memory(directory: &Path) {
    let Ok(facts) = rustix::fs::statfs(directory) else {
        return;
    };
    #[expect(
        clippy::useless_conversion,
        reason = "the field is narrower on 32-bit targets"
    )]
    let kind = i64::from(facts.f_type);
    if !MEMORY_FILE_SYSTEMS.contains(&kind) {
        tracing::warn!(
            directory = %directory.display(),
            "the identity's key is kept on a disk; use a memory-backed directory (tmpfs)"
        );
    }
}

#[cfg(not(target_os = "linux"))]
fn warn_unless_memory(_directory: &Path) {}

fn failed(path: &Path, source: std::io::Error) -> IdentityError {
    IdentityError::Directory {
        path: path.display().to_string(),
        source,
    }
}
