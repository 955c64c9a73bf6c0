//! Log files: what is there, then what is appended, over rotation and truncation.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tokio::time::sleep;

use super::filter::Filter;
use super::{Source, line};
use crate::render::stream;

/// Between two looks at a file.
const LOOK: Duration = Duration::from_millis(100);
/// Longest line kept, in bytes: more is cut.
const MAX_LINE: u64 = 64 * 1024;

/// One log file and how far it was read.
pub(super) struct Tail {
    path: PathBuf,
    source: Source,
    filter: Filter,
    as_json: bool,
    read: u64,
    inode: u64,
}

impl Tail {
    /// A file of which nothing was read yet; it need not exist.
    pub(super) fn new(path: PathBuf, source: Source, filter: Filter, as_json: bool) -> Self {
        Self {
            path,
            source,
            filter,
            as_json,
            read: 0,
            inode: 0,
        }
    }

    /// Which log it is.
    pub(super) fn source(&self) -> Source {
        self.source
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// True once it was made.
    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Prints what is there; of what passes the filters, the last `limit` lines.
    pub(super) fn print_present(&mut self, limit: Option<usize>) -> anyhow::Result<()> {
        let Some(limit) = limit else {
            return self.print_new();
        };
        let mut last: VecDeque<String> = VecDeque::new();
        self.each(|text| {
            last.push_back(text);
            if last.len() > limit {
                last.pop_front();
            }
            Ok(())
        })?;
        stream(&last.into_iter().collect::<String>())
    }

    fn print_new(&mut self) -> anyhow::Result<()> {
        self.each(|text| stream(&text))
    }

    /// Hands every complete line that was not read yet and passes the filters to `take`.
    fn each(&mut self, mut take: impl FnMut(String) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let Ok(mut file) = File::open(&self.path) else {
            return Ok(());
        };
        let shown = self.path.display().to_string();
        let context = || format!("cannot read {shown}");
        let found = file.metadata().with_context(context)?;
        let from = self.resume(&found);
        file.seek(SeekFrom::Start(from)).with_context(context)?;
        let mut reader = BufReader::new(file);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let count = reader
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut bytes)?;
            // A line still being written is read again once it has its end.
            if count == 0 || (bytes.last() != Some(&b'\n') && (count as u64) < MAX_LINE) {
                return Ok(());
            }
            self.read += count as u64;
            if let Some(text) = self.render(String::from_utf8_lossy(&bytes).trim_end()) {
                take(format!("{text}\n"))?;
            }
        }
    }

    /// Where to read on: the start of a file that is another one, or shorter than before.
    fn resume(&mut self, found: &Metadata) -> u64 {
        if found.ino() != self.inode || found.len() < self.read {
            (self.inode, self.read) = (found.ino(), 0);
        }
        self.read
    }

    /// A line as it is printed; `None` if it does not pass.
    fn render(&self, text: &str) -> Option<String> {
        render(self.source, &self.filter, self.as_json, text)
    }
}

/// A line of `source` as it is printed; `None` if it does not pass.
pub(super) fn render(source: Source, filter: &Filter, as_json: bool, text: &str) -> Option<String> {
    if source != Source::Access {
        return filter
            .is_young(line::time_of(text))
            .then(|| text.to_owned());
    }
    let exchange = serde_json::from_str(text).ok()?;
    let is_taken = filter.takes(&exchange);
    is_taken.then(|| {
        if as_json {
            text.to_owned()
        } else {
            line::exchange(&exchange)
        }
    })
}

/// Prints what is appended to any of the files, for ever.
pub(super) async fn follow(tails: &mut [Tail]) -> anyhow::Result<()> {
    loop {
        sleep(LOOK).await;
        for tail in &mut *tails {
            tail.print_new()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_whole_new_lines_are_read_and_a_new_file_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proxy.log");
        let mut tail = Tail::new(path.clone(), Source::Proxy, Filter::default(), false);
        let lines = |tail: &mut Tail| {
            let mut found = Vec::new();
            tail.each(|text| {
                found.push(text);
                Ok(())
            })
            .unwrap();
            found.concat()
        };
        assert_eq!(lines(&mut tail), "", "a missing file is empty");
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(lines(&mut tail), "one\n");
        file.write_all(b"o\n").unwrap();
        assert_eq!(lines(&mut tail), "two\n");
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        std::fs::write(&path, "three\n").unwrap();
        assert_eq!(lines(&mut tail), "three\n");
    }
}
