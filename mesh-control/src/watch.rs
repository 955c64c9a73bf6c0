//! The folder of manifests: which files changed, and when to look.
//!
//! File events come from the folder itself, so that swaps of symbolic links (`..data`) are seen; a
//! poll every 10 s finds what events missed. May use `error`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::Watcher as _;
use tokio::sync::mpsc;

use crate::error::Error;

/// The files of one folder, by content. Subfolders and hidden names are left out.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    known: BTreeMap<String, Fingerprint>,
    emptied: BTreeSet<String>,
}

/// A file's content or fault, as a hash.
type Fingerprint = [u8; 32];

/// What a look at the folder found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// New or changed files: path as shown to users, and text or why it cannot be read.
    pub changed: Vec<(String, Result<String, String>)>,
    /// Files that are gone.
    pub removed: Vec<String>,
    /// A file was just emptied, likely by a writer at work: look again soon.
    pub unsettled: bool,
}

impl Scan {
    /// True if nothing differs from the last look.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

impl Folder {
    /// A folder not yet looked at.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            known: BTreeMap::new(),
            emptied: BTreeSet::new(),
        }
    }

    /// Looks at every manifest file and compares it with the last look.
    ///
    /// # Errors
    /// A folder that cannot be listed, or that holds too many files: nothing changes then.
    pub fn scan(&mut self) -> Result<Scan, Error> {
        let mut files = self.list()?;
        files.sort_unstable();
        let mut scan = Scan::default();
        let mut seen = BTreeSet::new();
        for path in files {
            let file = path.display().to_string();
            let content = match read(&path) {
                Ok(content) => Ok(content),
                // Gone between the listing and the reading.
                Err(ReadFault::Gone) => continue,
                Err(ReadFault::Other(reason)) => Err(reason),
            };
            seen.insert(file.clone());
            let empty = content.as_ref().is_ok_and(String::is_empty);
            let print = fingerprint(&content);
            if self.known.get(&file) == Some(&print) {
                self.emptied.remove(&file);
            } else if empty && self.known.contains_key(&file) && self.emptied.insert(file.clone()) {
                scan.unsettled = true;
            } else {
                self.emptied.remove(&file);
                self.known.insert(file.clone(), print);
                scan.changed.push((file, content));
            }
        }
        scan.removed = self
            .known
            .keys()
            .filter(|file| !seen.contains(*file))
            .cloned()
            .collect();
        for file in &scan.removed {
            self.known.remove(file);
            self.emptied.remove(file);
        }
        Ok(scan)
    }

    fn list(&self) -> Result<Vec<PathBuf>, Error> {
        let mut files = Vec::new();
        let entries = std::fs::read_dir(&self.root).map_err(Error::io("read", &self.root))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &self.root))?;
            let path = entry.path();
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            let manifest = path
                .extension()
                .is_some_and(|kind| kind == "yaml" || kind == "yml" || kind == "json");
            // The link's target counts: configuration is often mounted as symbolic links.
            if manifest && !hidden && !path.is_dir() {
                files.push(path);
            }
            if files.len() > MAX_FILES {
                return Err(Error::Io {
                    action: "read",
                    path: self.root.clone(),
                    source: std::io::Error::other(format!("more than {MAX_FILES} manifest files")),
                });
            }
        }
        Ok(files)
    }
}

enum ReadFault {
    Gone,
    Other(String),
}

fn read(path: &Path) -> Result<String, ReadFault> {
    let fault = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => ReadFault::Gone,
        _ => ReadFault::Other(error.to_string()),
    };
    let data = std::fs::metadata(path).map_err(fault)?;
    if !data.is_file() {
        return Err(ReadFault::Other("is not a file".into()));
    }
    if data.len() > MAX_FILE_BYTES {
        return Err(ReadFault::Other(format!(
            "is larger than {MAX_FILE_BYTES} bytes; split it"
        )));
    }
    let content = std::fs::read(path).map_err(fault)?;
    String::from_utf8(content).map_err(|_| ReadFault::Other("is not UTF-8 text".into()))
}

fn fingerprint(content: &Result<String, String>) -> Fingerprint {
    use sha2::Digest as _;
    let (kind, text) = match content {
        Ok(text) => (0, text),
        Err(reason) => (1, reason),
    };
    sha2::Sha256::new()
        .chain_update([kind])
        .chain_update(text)
        .finalize()
        .into()
}

/// Says when to look at the folder again.
pub struct Watcher {
    events: mpsc::Receiver<()>,
    _source: notify::RecommendedWatcher,
}

impl Watcher {
    /// Watches `root`.
    ///
    /// # Errors
    /// A system that gives no file events for it.
    pub fn new(root: &Path) -> Result<Self, Error> {
        let (sender, events) = mpsc::channel(1);
        let mut source =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                let reading = event.is_ok_and(|event| event.kind.is_access() && !is_close(&event));
                if !reading {
                    // A full channel already holds the news.
                    sender.try_send(()).unwrap_or_default();
                }
            })?;
        source.watch(root, notify::RecursiveMode::NonRecursive)?;
        Ok(Self {
            events,
            _source: source,
        })
    }

    /// Returns once something happened and was quiet for 5 ms, at most 20 ms later, or after
    /// `poll`.
    pub async fn changed(&mut self, poll: Duration) {
        if tokio::time::timeout(poll, self.events.recv())
            .await
            .is_err()
        {
            return;
        }
        let quiet = async {
            while tokio::time::timeout(QUIET, self.events.recv())
                .await
                .is_ok_and(|event| event.is_some())
            {}
        };
        // Past the deadline the folder is looked at whatever goes on.
        drop(tokio::time::timeout(DEBOUNCE, quiet).await);
    }
}

fn is_close(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode};
    event.kind == notify::EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// How often the folder is looked at without an event.
pub const POLL: Duration = Duration::from_secs(10);
/// How soon it is looked at again after a file was emptied.
pub const SETTLE: Duration = Duration::from_millis(50);
const QUIET: Duration = Duration::from_millis(5);
const DEBOUNCE: Duration = Duration::from_millis(20);
const MAX_FILES: usize = 2_000;
const MAX_FILE_BYTES: u64 = mesh_api::manifest::MAX_FILE_BYTES as u64;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(scan: &Scan) -> Vec<String> {
        let short = |file: &String| file.rsplit('/').next().unwrap().to_owned();
        scan.changed
            .iter()
            .map(|(file, content)| format!("{}={}", short(file), content.as_ref().unwrap()))
            .chain(scan.removed.iter().map(|file| format!("-{}", short(file))))
            .collect()
    }

    #[test]
    fn only_changes_are_reported() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::write(at("a.yaml"), "1").unwrap();
        std::fs::write(at("b.yml"), "2").unwrap();
        std::fs::write(at("c.txt"), "3").unwrap();
        std::fs::write(at(".d.yaml"), "4").unwrap();
        std::fs::create_dir(at("e.yaml")).unwrap();
        let mut folder = Folder::new(root.path());
        assert_eq!(names(&folder.scan().unwrap()), ["a.yaml=1", "b.yml=2"]);
        assert!(folder.scan().unwrap().is_empty());
        std::fs::write(at("a.yaml"), "5").unwrap();
        std::fs::remove_file(at("b.yml")).unwrap();
        assert_eq!(names(&folder.scan().unwrap()), ["a.yaml=5", "-b.yml"]);
    }

    #[test]
    fn an_emptied_file_gets_time_to_be_written() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("a.yaml");
        std::fs::write(&file, "1").unwrap();
        let mut folder = Folder::new(root.path());
        folder.scan().unwrap();
        std::fs::write(&file, "").unwrap();
        let scan = folder.scan().unwrap();
        assert!(scan.unsettled && scan.is_empty());
        assert_eq!(names(&folder.scan().unwrap()), ["a.yaml="]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.yaml"), [0xff]).unwrap();
        let large = std::fs::File::create(root.path().join("b.yaml")).unwrap();
        large.set_len(MAX_FILE_BYTES + 1).unwrap();
        let scan = Folder::new(root.path()).scan().unwrap();
        let faults: Vec<_> = scan
            .changed
            .into_iter()
            .map(|(_, c)| c.unwrap_err())
            .collect();
        assert!(faults[0].contains("UTF-8") && faults[1].contains("larger"));
        assert!(Folder::new(&root.path().join("none")).scan().is_err());
    }

    #[tokio::test]
    async fn a_swap_of_symbolic_links_is_seen() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("a.yaml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/a.yaml", at("a.yaml")).unwrap();
        let mut watcher = Watcher::new(root.path()).unwrap();
        let mut folder = Folder::new(root.path());
        assert_eq!(names(&folder.scan().unwrap()), ["a.yaml=one"]);
        symlink("..2", at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
        let begin = std::time::Instant::now();
        watcher.changed(Duration::from_mins(1)).await;
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "by event, not by poll"
        );
        assert_eq!(names(&folder.scan().unwrap()), ["a.yaml=two"]);
    }
}
