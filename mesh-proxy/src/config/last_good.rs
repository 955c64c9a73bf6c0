//! The last good configuration on disk, so that a proxy restarts and serves without the control
//! plane: entries as they came, with their versions, under a checksum. No keys.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use mesh_api::name::ObjectName;
use mesh_api::wire::generated::Batch;
use prost::Message;
use sha2::{Digest, Sha256};

const MAGIC: &[u8] = b"mesh-last-good-1\n";
const CHECKSUM: usize = 32;
/// Largest file read, in bytes.
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// The file of one workload.
#[derive(Clone, Debug)]
pub(super) struct LastGood {
    folder: PathBuf,
    path: PathBuf,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum LastGoodError {
    /// Reading or writing failed.
    #[error("last good configuration at {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its content is not what was written.
    #[error("last good configuration at {}: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: &'static str,
    },
}

impl LastGood {
    /// The file of `workload` in `folder`.
    pub(super) fn new(folder: &Path, workload: &ObjectName) -> Self {
        let ObjectName { namespace, name } = workload;
        Self {
            path: folder.join(format!("{namespace}_{name}.last-good")),
            folder: folder.to_owned(),
        }
    }

    /// What was saved; `None` if nothing was.
    ///
    /// # Errors
    /// It cannot be read, or is not what was written.
    pub(super) fn load(&self) -> Result<Option<Batch>, LastGoodError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(error)),
        };
        let mut bytes = Vec::new();
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.io(error))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(self.corrupt("larger than any that is written"));
        }
        let rest = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| self.corrupt("not such a file"))?;
        let (checksum, payload) = rest
            .split_at_checked(CHECKSUM)
            .ok_or_else(|| self.corrupt("cut off"))?;
        if Sha256::digest(payload).as_slice() != checksum {
            return Err(self.corrupt("its checksum does not match"));
        }
        let batch =
            Batch::decode(payload).map_err(|_| self.corrupt("its content is unreadable"))?;
        Ok(Some(batch))
    }

    /// Replaces what was saved, all or nothing.
    ///
    /// # Errors
    /// It cannot be written; what was saved before is intact.
    pub(super) fn save(&self, batch: &Batch) -> Result<(), LastGoodError> {
        self.write(&batch.encode_to_vec())
            .map_err(|error| self.io(error))
    }

    fn write(&self, payload: &[u8]) -> io::Result<()> {
        let mut folder = fs::DirBuilder::new();
        folder.recursive(true).mode(0o700).create(&self.folder)?;
        let new = self.path.with_extension("new");
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(payload))?;
        file.write_all(payload)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)
    }

    fn io(&self, source: io::Error) -> LastGoodError {
        LastGoodError::Io {
            path: self.path.clone(),
            source,
        }
    }

    fn corrupt(&self, reason: &'static str) -> LastGoodError {
        LastGoodError::Corrupt {
            path: self.path.clone(),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::wire::generated::VersionedEntry;

    use super::*;

    #[test]
    fn what_is_saved_reads_back_and_damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let workload = "demo/shop".parse().unwrap();
        let last_good = LastGood::new(&folder.path().join("state"), &workload);
        assert!(last_good.load().unwrap().is_none());
        let batch = Batch {
            nonce: 0,
            upsert: vec![VersionedEntry {
                name: "mesh".into(),
                version: "v".into(),
                entry: vec![1, 2, 3],
                features: vec![],
            }],
            remove: vec!["destination/demo/x:80".into()],
        };
        last_good.save(&batch).unwrap();
        last_good.save(&batch).unwrap();
        assert_eq!(last_good.load().unwrap(), Some(batch));
        let good = fs::read(&last_good.path).unwrap();
        for at in [0, MAGIC.len() + 3, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&last_good.path, &bad).unwrap();
            assert!(last_good.load().is_err(), "byte {at}");
        }
        for length in [0, MAGIC.len() + 5, good.len() - 1] {
            fs::write(&last_good.path, &good[..length]).unwrap();
            assert!(last_good.load().is_err(), "length {length}");
        }
    }
}
