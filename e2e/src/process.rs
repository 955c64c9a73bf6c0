//! Processes that a case starts: each leads a group of its own, which ends with its guard.
//!
//! May use nothing of this crate.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// Between two looks at something awaited.
const LOOK: Duration = Duration::from_millis(25);
/// Time to end once told to.
const GRACE: Duration = Duration::from_secs(10);

/// A running process. Dropping it ends it and all that it started.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    group: Option<Pid>,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; what it prints goes to the file `log`. Its standard input stays open until it
    /// is dropped, also by the death of this process.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Self {
            name: name.to_owned(),
            child,
            group,
            log: log.to_owned(),
        })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails if it ended; the message has the end of what it said.
    ///
    /// # Errors
    ///
    /// If it ended.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}: {}", self.name, self.said());
        }
        Ok(())
    }

    /// The last lines that it printed.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Tells its group to end, and kills what is left after a while.
    ///
    /// # Errors
    ///
    /// If it cannot be waited for.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.tell(Signal::TERM);
        let limit = Instant::now() + GRACE;
        while Instant::now() < limit {
            if let Some(status) = self.child.try_wait()? {
                self.tell(Signal::KILL);
                return Ok(status);
            }
            std::thread::sleep(LOOK);
        }
        self.tell(Signal::KILL);
        Ok(self.child.wait()?)
    }

    /// Stops its group where it stands, or lets it go on.
    pub fn pause(&self, paused: Paused) {
        match paused {
            Paused::Yes => self.tell(Signal::STOP),
            Paused::No => self.tell(Signal::CONT),
        }
    }

    /// Ends its group at once, with no word of farewell.
    ///
    /// # Errors
    ///
    /// If it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        self.tell(Signal::KILL);
        Ok(self.child.wait()?)
    }

    fn tell(&self, signal: Signal) {
        if let Some(group) = self.group {
            // A group whose last process ended needs no signal.
            kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whatever became of it, nothing of its group may stay behind.
        self.stop().ok();
    }
}

/// Whether a process stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paused {
    /// It does.
    Yes,
    /// It goes on.
    No,
}

/// A command that runs `program` and ends it when this process dies, however it dies: a [`Process`]
/// holds its standard input open.
pub fn bound(program: impl AsRef<OsStr>) -> Command {
    let script = "exec 3<&0; \"$@\" </dev/null & program=$!; \
                  (cat <&3 >/dev/null; kill -TERM $program) & wait $program";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(program);
    command
}

/// Runs `command` to its end, for at most `limit`; its standard output and error as text.
///
/// # Errors
///
/// If it cannot be started or takes too long; then the message has what it said. How it ended is the
/// caller's to judge.
pub async fn output(command: &mut Command, limit: Duration) -> anyhow::Result<Ended> {
    use std::os::unix::process::CommandExt as _;
    let name = command.get_program().to_string_lossy().into_owned();
    let (mut out, mut error) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(error.try_clone()?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let end = Instant::now() + limit;
    let mut status = child.try_wait()?;
    while status.is_none() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(5)).await;
        status = child.try_wait()?;
    }
    // What it started and left behind ends with it.
    if let Some(group) = group {
        kill_process_group(group, Signal::KILL).ok();
    }
    let (out, error) = (whole(&mut out)?, whole(&mut error)?);
    let Some(status) = status else {
        child.wait()?;
        bail!("{name} took longer than {limit:?}; it said: {out}{error}");
    };
    Ok(Ended { status, out, error })
}

fn whole(file: &mut std::fs::File) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A command that ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it wrote to its standard output.
    pub out: String,
    /// What it wrote to its standard error.
    pub error: String,
}

impl Ended {
    /// Its standard output, if it ended well.
    ///
    /// # Errors
    ///
    /// If it ended otherwise than with 0; the message has what it said.
    pub fn good(self) -> anyhow::Result<String> {
        if !self.status.success() {
            bail!("{}: {}{}", self.status, self.out, self.error);
        }
        Ok(self.out)
    }
}

/// Repeats `ask` until it is true, for at most `limit`.
///
/// # Errors
///
/// If it is not true in time; `what` names it.
pub async fn wait_until<F>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<bool>>,
{
    let end = Instant::now() + limit;
    loop {
        if ask().await? {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{what}: not within {limit:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}
