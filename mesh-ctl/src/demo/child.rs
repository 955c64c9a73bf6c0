//! Processes that the demo starts: each ends with it, in order or, at worst, by its closed pipe.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use crate::command::signal;

/// A running process of this binary.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    _input: Option<ChildStdin>,
}

impl Process {
    /// Starts this binary with `arguments`; what it prints goes to `log`.
    pub(crate) fn start(name: &str, arguments: &[String], log: &Path) -> anyhow::Result<Self> {
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let input = child.stdin.take();
        Ok(Self {
            name: name.to_owned(),
            child,
            _input: input,
        })
    }

    /// Its process number; `None` once it ended.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Tells it to end and waits; kills it when `grace` has passed.
    pub(crate) async fn stop(mut self, grace: Duration) -> anyhow::Result<ExitStatus> {
        self.tell(Signal::TERM);
        if let Ok(status) = timeout(grace, self.child.wait()).await {
            return Ok(status?);
        }
        self.kill().await
    }

    /// Kills it without warning.
    pub(crate) async fn kill(mut self) -> anyhow::Result<ExitStatus> {
        self.child.start_kill().ok();
        let status = self.child.wait().await;
        status.with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Sends it a signal.
    pub(crate) fn tell(&self, what: Signal) {
        if let Some(pid) = self.pid() {
            signal::send(pid, what);
        }
    }
}
