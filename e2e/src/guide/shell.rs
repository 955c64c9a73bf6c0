//! One shell with all that it starts, in a process group of its own.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::page::{self, Block};

/// Between two looks.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// How long what was started has to end by itself.
const GRACE: Duration = Duration::from_secs(15);

/// A running shell. Dropped, it ends with everything in its group.
pub(super) struct Shell {
    child: Child,
    input: ChildStdin,
    /// Where blocks and what they print are kept.
    log: PathBuf,
    typed: usize,
}

impl Shell {
    /// Starts a shell in `reader`, with `meshctl` on its path; `folder` is for our own files.
    pub(super) fn start(folder: &Path, reader: &Path, meshctl: &Path) -> anyhow::Result<Self> {
        let (log, programs) = (folder.join("log"), folder.join("bin"));
        std::fs::create_dir_all(&log)?;
        std::fs::create_dir_all(&programs)?;
        std::os::unix::fs::symlink(std::path::absolute(meshctl)?, programs.join("meshctl"))?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = own_network();
        command
            .current_dir(reader)
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("NO_COLOR", "1")
            .env_remove("MESH_STATE")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        // A cargo inside would build again what watches these.
        for (name, _) in std::env::vars_os() {
            let known = name.to_string_lossy();
            if known.starts_with("CARGO_PKG_") || known.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        let mut child = command.spawn().context("bash")?;
        let input = child.stdin.take().context("no standard input")?;
        Ok(Self {
            child,
            input,
            log,
            typed: 0,
        })
    }

    /// Types a block and waits until the shell is ready for the next one; its number.
    pub(super) fn submit(&mut self, block: &Block, allowed: Duration) -> anyhow::Result<usize> {
        self.typed += 1;
        let (text, said, done) = self.files(self.typed);
        std::fs::write(&text, &block.text)?;
        writeln!(self.input, "{}", line(block, &text, &said, &done)?)?;
        let until = Instant::now() + allowed;
        while !done.exists() {
            if let Some(status) = self.child.try_wait()? {
                bail!("failed with {status}; it says\n{}", self.said(self.typed));
            }
            if Instant::now() > until {
                let said = self.said(self.typed);
                bail!("not done after {} s; it says\n{said}", allowed.as_secs());
            }
            std::thread::sleep(POLL);
        }
        if block.has("fails") && std::fs::read_to_string(&done)?.trim() == "0" {
            bail!("is shown as failing and did not fail");
        }
        Ok(self.typed)
    }

    /// What a block printed so far, errors included.
    pub(super) fn said(&self, typed: usize) -> String {
        let bytes = std::fs::read(self.files(typed).1).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Ends the shell and all that it started.
    pub(super) fn end(self) {
        drop(self);
    }

    fn files(&self, typed: usize) -> (PathBuf, PathBuf, PathBuf) {
        let file = |kind: &str| self.log.join(format!("{typed}.{kind}"));
        (file("sh"), file("out"), file("done"))
    }

    /// Asks everything to end, then makes it end.
    fn clear(&mut self) {
        let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            return;
        };
        for (signal, grace) in [
            (Signal::TERM, GRACE),
            (Signal::KILL, Duration::from_secs(2)),
        ] {
            let until = Instant::now() + grace;
            if kill_process_group(group, signal).is_err() {
                return;
            }
            while Instant::now() < until {
                self.child.try_wait().ok();
                if test_kill_process_group(group).is_err() {
                    return;
                }
                std::thread::sleep(POLL);
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What the shell is told: run the block in place, so that it keeps variables and jobs, then say how
/// it ended.
fn line(block: &Block, text: &Path, said: &Path, done: &Path) -> anyhow::Result<String> {
    let (text, said, done) = (text.display(), said.display(), done.display());
    let run = format!(". {text} </dev/null >{said} 2>&1");
    let then = format!("echo $? >{done}.new; mv {done}.new {done}");
    Ok(if block.has("clone") {
        let root = page::root()?;
        format!("(set -e; cd {}; {run}); {then}", root.display())
    } else if block.has("fails") || block.has("until") {
        format!("(set +e; {run}) && echo 0 >{done} || echo 1 >{done}")
    } else {
        format!("{run}; {then}")
    })
}

/// `bash`, without anyone's settings, in a network of its own where we may have one.
fn own_network() -> Command {
    const SHELL: &str = "exec bash --norc --noprofile -e";
    let allowed = Command::new("unshare")
        .args(["--net", "ip", "link", "set", "lo", "up"])
        .output()
        .is_ok_and(|output| output.status.success());
    let mut command = if allowed {
        let mut command = Command::new("unshare");
        command.args(["--net", "bash", "-c"]);
        command.arg(format!("ip link set lo up; {SHELL}"));
        command
    } else {
        let mut command = Command::new("bash");
        command.args(["-c", SHELL]);
        command
    };
    command.env_remove("BASH_ENV");
    command
}
