//! What the app prints: to where it always went, and to `app.log`, which stays small.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::render::note;

/// Largest `app.log`, in bytes: then it becomes `app.log.1`, in place of the one before.
const MAX_LOG: u64 = 16 * 1024 * 1024;
/// Read at a time, and the longest line that is written as one, in bytes.
const CHUNK: usize = 64 * 1024;
/// For the last words of an app that ended, should a process it left behind keep them open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The copying of an app's two outputs, each by a thread of its own: a terminal may block.
#[derive(Debug)]
pub(super) struct Output {
    /// Closed when one is copied to its end.
    copies: [oneshot::Receiver<()>; 2],
}

impl Output {
    /// Copies what `command` will print, to this process's own outputs and to `log`.
    pub(super) fn of(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let log = Log::open(log.to_owned(), MAX_LOG)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let log = Arc::new(Mutex::new(log));
        let (stdout, into) = io::pipe()?;
        command.stdout(into);
        let (stderr, into) = io::pipe()?;
        command.stderr(into);
        let of_stdout = start(stdout, io::stdout(), Arc::clone(&log))?;
        let of_stderr = start(stderr, io::stderr(), log)?;
        Ok(Self {
            copies: [of_stdout, of_stderr],
        })
    }

    /// Waits until all that was printed is copied.
    pub(super) async fn finish(self) {
        let all = async {
            for copy in self.copies {
                copy.await.ok();
            }
        };
        timeout(LAST_WORDS, all).await.ok();
    }
}

fn start(
    from: impl Read + Send + 'static,
    to: impl Write + Send + 'static,
    log: Arc<Mutex<Log>>,
) -> io::Result<oneshot::Receiver<()>> {
    let (done, copied) = oneshot::channel();
    thread::Builder::new()
        .name("output".into())
        .spawn(move || {
            copy(from, to, &log);
            drop(done);
        })?;
    Ok(copied)
}

/// Copies one output to its end. Where it is shown may close: the pipe then closes too, and the app
/// is told as if it had printed there itself.
fn copy(mut from: impl Read, mut to: impl Write, log: &Mutex<Log>) {
    let mut bytes = vec![0; CHUNK];
    let mut line = Vec::new();
    loop {
        let read = match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => bytes.get(..count).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        write(log, &whole_lines(&mut line, read));
        if show(&mut to, read).is_err() {
            break;
        }
    }
    write(log, &line);
}

fn show(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// The lines that `read` ends; what is left of it stays in `rest`, unless it is too long for that.
fn whole_lines(rest: &mut Vec<u8>, read: &[u8]) -> Vec<u8> {
    rest.extend_from_slice(read);
    let end = rest.iter().rposition(|&byte| byte == b'\n');
    let end = match end {
        Some(last) => last + 1,
        None if rest.len() >= CHUNK => rest.len(),
        None => 0,
    };
    let left = rest.split_off(end);
    std::mem::replace(rest, left)
}

fn write(log: &Mutex<Log>, lines: &[u8]) {
    if !lines.is_empty() {
        // A panic of the other copy leaves the file as it is, which is good enough to go on.
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        log.write(lines);
    }
}

/// A file of bounded size.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    size: u64,
    max: u64,
    has_failed: bool,
}

impl Log {
    fn open(path: PathBuf, max: u64) -> io::Result<Self> {
        let file = append(&path)?;
        Ok(Self {
            size: file.metadata()?.len(),
            path,
            file,
            max,
            has_failed: false,
        })
    }

    /// Appends `lines`. A disk that is full costs lines of the log, not the app.
    fn write(&mut self, lines: &[u8]) {
        let written = self.make_room(lines.len() as u64);
        let written = written.and_then(|()| self.file.write_all(lines));
        match written {
            Ok(()) => self.has_failed = false,
            Err(error) if !self.has_failed => {
                self.has_failed = true;
                note(&format!("cannot write {}: {error}", self.path.display()));
            }
            Err(_) => {}
        }
        self.size += lines.len() as u64;
    }

    fn make_room(&mut self, wanted: u64) -> io::Result<()> {
        if self.size == 0 || self.size + wanted <= self.max {
            return Ok(());
        }
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        std::fs::rename(&self.path, old)?;
        self.file = append(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

/// For this user alone: an app may print what others must not read.
fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_put_aside_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        std::fs::write(&path, "from before\n").unwrap();
        let mut log = Log::open(path.clone(), 30).unwrap();
        let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
        log.write(b"the first 18 byte\n");
        assert_eq!(read("app.log"), "from before\nthe first 18 byte\n");
        log.write(b"one more\n");
        assert_eq!(read("app.log.1"), "from before\nthe first 18 byte\n");
        assert_eq!(read("app.log"), "one more\n");
        log.write(&[b'x'; 40]);
        log.write(b"\n");
        assert_eq!(
            (read("app.log.1").len(), read("app.log").len()),
            (40, 1),
            "the older one is gone"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn lines_stay_whole_and_long_ones_are_not_kept() {
        let mut rest = Vec::new();
        assert_eq!(whole_lines(&mut rest, b"one\ntwo"), b"one\n");
        assert_eq!(whole_lines(&mut rest, b" and"), b"");
        assert_eq!(whole_lines(&mut rest, b" more\n"), b"two and more\n");
        assert_eq!(whole_lines(&mut rest, &vec![b'x'; CHUNK]).len(), CHUNK);
        assert!(rest.is_empty());
    }

    #[test]
    fn both_get_every_byte_until_the_place_where_it_is_shown_closes() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        let log = Mutex::new(Log::open(path.clone(), MAX_LOG).unwrap());
        let mut shown = Vec::new();
        copy(&b"one\ntwo"[..], &mut shown, &log);
        assert_eq!(shown, b"one\ntwo");
        let more = "\nline".repeat(100_000);
        copy(more.as_bytes(), Closed, &log);
        let text = std::fs::read_to_string(&path).unwrap();
        let (before, after) = text.split_at("one\ntwo".len());
        assert_eq!((before, after.len()), ("one\ntwo", CHUNK));
        assert!(more.starts_with(after));
    }
}
