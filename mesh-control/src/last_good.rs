//! The last good text of every manifest file, on disk: a file that is bad when the control plane
//! starts keeps what it said before, as it does while the control plane runs. May use `index`,
//! `watch`, `state`, `telemetry` and `error`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::index::Index;
use crate::state::{self, hexadecimal};
use crate::telemetry;
use crate::watch::{Folder, Scan};

/// The folder `good` under the state folder: one file for each manifest file.
#[derive(Debug)]
pub struct LastGood {
    folder: PathBuf,
}

/// A manifest file as it was when nothing of it was refused.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Copy {
    file: String,
    text: String,
}

impl LastGood {
    /// Opens the folder under `state`.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn open(state: &Path) -> Result<Self, Error> {
        let folder = state.join("good");
        state::make_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Takes the first look at `manifests` into `index`, over what its files last said well.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn start(&self, manifests: &mut Folder, index: &mut Index) -> Result<(), Error> {
        let scan = manifests.scan()?;
        let present = |file: &String| scan.changed.iter().any(|(other, _)| other == file);
        let mut copies = Scan::default();
        for (path, copy) in self.load()? {
            match copy {
                Some(copy) if present(&copy.file) => {
                    copies.changed.push((copy.file, Ok(copy.text)));
                }
                _ => state::remove(&path)?,
            }
        }
        index.apply_files(copies);
        index.apply_files(scan.clone());
        self.keep(&scan, index);
        Ok(())
    }

    /// Keeps the text of each file in `scan` of which `index` refuses nothing, and drops the copies
    /// of files that are gone. A disk that fails is reported: it is no reason to refuse the files.
    pub fn keep(&self, scan: &Scan, index: &Index) {
        let good = scan.changed.iter().filter_map(|(file, content)| {
            let text = content.as_ref().ok()?;
            index.is_good(file).then_some((file, text))
        });
        let kept = good.map(|(file, text)| self.write(file, text));
        let dropped = scan.removed.iter();
        let dropped = dropped.map(|file| state::remove(&self.path(file)));
        for error in kept.chain(dropped).filter_map(Result::err) {
            telemetry::record_failure("last good", &error.chain());
        }
    }

    /// Every copy by path; `None` for a damaged one.
    fn load(&self) -> Result<Vec<(PathBuf, Option<Copy>)>, Error> {
        let mut found = Vec::new();
        let entries = std::fs::read_dir(&self.folder).map_err(Error::io("read", &self.folder))?;
        for entry in entries {
            let path = entry.map_err(Error::io("read", &self.folder))?.path();
            let copy = serde_json::from_slice(&state::read(&path)?.unwrap_or_default());
            if let Err(error) = &copy {
                telemetry::record_refused(&path.display().to_string(), &error.to_string());
            }
            found.push((path, copy.ok()));
        }
        Ok(found)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), Error> {
        let path = self.path(file);
        let copy = Copy {
            file: file.to_owned(),
            text: text.to_owned(),
        };
        let copy = serde_json::to_vec(&copy).unwrap_or_default();
        if state::read(&path)?.is_some_and(|before| before == copy) {
            return Ok(());
        }
        state::write(&path, &copy)
    }

    fn path(&self, file: &str) -> PathBuf {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, file.as_bytes());
        let hash = hexadecimal(digest.as_ref());
        self.folder.join(format!("{hash}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "{apiVersion: v1, kind: Service, \
         metadata: {name: catalog, namespace: demo}, spec: {ports: [{port: 80}]}}";

    #[test]
    fn a_restart_keeps_what_a_bad_file_last_said() {
        let (manifests, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = manifests.path().join("a.yaml");
        let mut exists = Vec::new();
        for (text, expected) in [
            (Some("kind: ["), false),
            (Some(SERVICE), true),
            (Some("kind: ["), true),
            (Some(&*SERVICE.replace("port: 80", "port: 0")), true),
            (None, false),
            (Some("kind: ["), false),
        ] {
            match text {
                Some(text) => std::fs::write(&file, text).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            let mut index = Index::new(None);
            let last_good = LastGood::open(state.path()).unwrap();
            let mut folder = Folder::new(manifests.path());
            last_good.start(&mut folder, &mut index).unwrap();
            let name = "destination/demo/catalog:80".parse().unwrap();
            exists.push((index.entry(&name, None).is_some(), expected));
        }
        assert!(exists.iter().all(|(is, ought)| is == ought), "{exists:?}");
    }
}
