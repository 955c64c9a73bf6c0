//! The two children of `meshctl run`: starting, starting again, ending in order.

use std::fs::{File, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

use super::output::Output;
use super::{Settled, ready};
use crate::command::signal;
use crate::render::note;
use crate::source::state::{Pids, write_private};

/// The longest a sidecar may drain: a little above its own limit of 30 s.
const DRAIN: Duration = Duration::from_secs(35);
/// Time for the app to end once it is told to.
const APP_GRACE: Duration = Duration::from_secs(10);
/// First and longest wait before a dead sidecar is started again.
const BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(5)];
/// A sidecar that lived this long starts with the first wait again.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// What the sidecar starts from and answers at.
pub(super) struct Files<'a> {
    pub(super) bootstrap: &'a Path,
    pub(super) admin_socket: &'a Path,
}

struct Pair<'a> {
    settled: &'a Settled,
    bootstrap: &'a Path,
    proxy: Option<Running>,
    app: Option<Running>,
    output: Option<Output>,
    started: Instant,
    backoff: Duration,
}

/// A child and the pipe whose closing ends it. [`Child::wait`] would close one left in the child.
struct Running {
    child: Child,
    /// The child leads a process group of its own, which may outlive it.
    group: Option<Pid>,
    _input: Option<ChildStdin>,
}

/// Why the workload ends.
enum End {
    App(ExitStatus),
    Told(Signal),
    /// The app was not started.
    Failed(anyhow::Error),
}

/// Runs sidecar and app until the app ends or this process is told to stop.
pub(super) async fn run(
    settled: &Settled,
    files: &Files<'_>,
    command: &[String],
    with_parent: bool,
) -> anyhow::Result<u8> {
    let mut pair = Pair {
        settled,
        bootstrap: files.bootstrap,
        proxy: None,
        app: None,
        output: None,
        started: Instant::now(),
        backoff: BACKOFF[0],
    };
    pair.start_proxy()?;
    // Heard from here on: one that comes while capture begins must not leave its rules behind.
    let mut stop = pin!(signal::stop());
    if let Some(capture) = &settled.capture {
        tokio::select! {
            told = &mut stop => return pair.stop(End::Told(told)).await,
            begun = capture.begin() => if let Err(error) = begun {
                pair.stop(End::Told(Signal::TERM)).await?;
                return Err(error);
            },
        }
    }
    pair.write_pids()?;
    let ready = ready::wait(settled, files.admin_socket);
    let end = pair.wait(command, ready, with_parent, stop).await?;
    let code = pair.stop(end).await;
    std::fs::remove_file(settled.folder.join("pids.json")).ok();
    code
}

impl Pair<'_> {
    /// Starts the app of `command`, if there is one, once `ready` says so; then waits for the end.
    async fn wait(
        &mut self,
        command: &[String],
        ready: impl Future<Output = anyhow::Result<()>>,
        with_parent: bool,
        mut stop: Pin<&mut impl Future<Output = Signal>>,
    ) -> anyhow::Result<End> {
        let parent = async {
            if with_parent {
                signal::parent_gone().await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::pin!(parent, ready);
        let mut is_awaited = !command.is_empty();
        loop {
            tokio::select! {
                signal = &mut stop => return Ok(End::Told(signal)),
                () = &mut parent => return Ok(End::Told(Signal::TERM)),
                status = ended(&mut self.app) => return Ok(End::App(status?)),
                is_ready = &mut ready, if is_awaited => {
                    is_awaited = false;
                    if let Err(error) = is_ready.and_then(|()| self.start_app(command)) {
                        return Ok(End::Failed(error));
                    }
                    self.write_pids()?;
                }
                status = ended(&mut self.proxy) => {
                    self.proxy = None;
                    self.restart_later(status?);
                    self.write_pids()?;
                }
                () = sleep(self.backoff), if self.proxy.is_none() => {
                    if let Err(error) = self.start_proxy() {
                        // The app lives on: what is missing now may be there later.
                        self.backoff = (self.backoff * 2).min(BACKOFF[1]);
                        note(&format!("{}: {error:#}; trying again in {:?}", self.settled.name, self.backoff));
                        continue;
                    }
                    self.write_pids()?;
                }
            }
        }
    }

    fn start_proxy(&mut self) -> anyhow::Result<()> {
        let log = append(&self.settled.folder.join("proxy.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["proxy", "--exit-with-parent", "--bootstrap"])
            .arg(self.bootstrap)
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(capture) = &self.settled.capture {
            command.uid(capture.uid).gid(capture.uid);
        }
        self.proxy = Some(Running::start(command).context("cannot start the sidecar")?);
        self.started = Instant::now();
        Ok(())
    }

    fn start_app(&mut self, command: &[String]) -> anyhow::Result<()> {
        let Some((program, arguments)) = command.split_first() else {
            return Ok(());
        };
        let mut command = app_command(self.settled, program, arguments)?;
        let output = Output::of(&mut command, &self.settled.folder.join("app.log"))?;
        let app = Running::start(command).with_context(|| format!("cannot start {program}"))?;
        (self.app, self.output) = (Some(app), Some(output));
        Ok(())
    }

    fn restart_later(&mut self, status: ExitStatus) {
        let lived = self.started.elapsed() >= SETTLED_AFTER;
        self.backoff = if lived {
            BACKOFF[0]
        } else {
            (self.backoff * 2).min(BACKOFF[1])
        };
        note(&format!(
            "{}: the sidecar ended ({status}) and starts again in {:?}; see {}",
            self.settled.name,
            self.backoff,
            self.settled.folder.join("proxy.log").display()
        ));
    }

    fn write_pids(&self) -> anyhow::Result<()> {
        let pid = |running: &Running| running.child.id();
        let pids = Pids {
            run: std::process::id(),
            proxy: self.proxy.as_ref().and_then(pid).unwrap_or(0),
            app: self.app.as_ref().and_then(pid),
        };
        let text = serde_json::to_vec(&pids)?;
        write_private(&self.settled.folder.join("pids.json"), &text)
    }

    /// Sidecar first: it deregisters and drains while the app still answers. Then the app.
    async fn stop(&mut self, end: End) -> anyhow::Result<u8> {
        if let (End::App(_), Some(app)) = (&end, &self.app) {
            // What the app started and left behind ends with it.
            app.tell(Signal::TERM);
        }
        if let Some(proxy) = self.proxy.take() {
            proxy.stop(Signal::TERM, DRAIN).await?;
        }
        let status = match (end, self.app.take()) {
            (End::App(status), _) => Some(status),
            (End::Told(told), Some(app)) => Some(app.stop(told, APP_GRACE).await?),
            (End::Told(_), None) => None,
            (End::Failed(error), _) => return Err(error),
        };
        if let Some(output) = self.output.take() {
            output.finish().await;
        }
        Ok(status.map_or(0, exit_code))
    }
}

impl Running {
    /// Starts `command` out of reach of the terminal's Ctrl-C: this process passes it on in order.
    fn start(mut command: Command) -> std::io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).process_group(0).spawn()?;
        let input = child.stdin.take();
        let group = child.id().and_then(|pid| i32::try_from(pid).ok());
        Ok(Self {
            child,
            group: group.and_then(Pid::from_raw),
            _input: input,
        })
    }

    async fn stop(mut self, with: Signal, grace: Duration) -> anyhow::Result<ExitStatus> {
        self.tell(with);
        if let Ok(status) = timeout(grace, self.child.wait()).await {
            self.tell(with);
            return Ok(status?);
        }
        self.tell(Signal::KILL);
        Ok(self.child.wait().await?)
    }

    /// Sends `signal` to the child and all it started; a group that is gone is no error.
    fn tell(&self, signal: Signal) {
        if let Some(group) = self.group {
            kill_process_group(group, signal).ok();
        }
    }
}

/// The end of a child; never, if there is none.
async fn ended(running: &mut Option<Running>) -> std::io::Result<ExitStatus> {
    match running {
        Some(running) => running.child.wait().await,
        None => std::future::pending().await,
    }
}

/// The app's command, with what it is to know in its environment.
fn app_command(settled: &Settled, program: &str, arguments: &[String]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["guard", "--parent"])
        .arg(std::process::id().to_string())
        .args(["--", program])
        .args(arguments)
        .env("MESH_WORKLOAD", settled.name.to_string())
        .env("MESH_ADDRESS", settled.address.to_string());
    for (index, (name, port)) in settled.ports.iter().enumerate() {
        if index == 0 {
            command.env("PORT", port.to_string());
        }
        command.env(format!("MESH_PORT_{}", variable(name)), port.to_string());
    }
    for upstream in &settled.upstreams {
        let name = variable(&format!("{}_{}", upstream.host, upstream.port));
        command.env(format!("MESH_UPSTREAM_{name}"), upstream.listen.to_string());
    }
    if let Some(address) = settled.forward_proxy {
        command.env("http_proxy", format!("http://{address}"));
    }
    Ok(command)
}

/// `text` as part of a variable's name.
fn variable(text: &str) -> String {
    let upper = |c: char| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_uppercase(),
        _ => '_',
    };
    text.chars().map(upper).collect()
}

fn append(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    let opened = options.open(path);
    opened.with_context(|| format!("cannot write {}", path.display()))
}

fn exit_code(status: ExitStatus) -> u8 {
    let signalled = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(signalled);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Becomes `command`, which then ends with its parent even if that is killed (Linux; elsewhere
/// only if it reads its standard input).
pub(crate) fn guard(parent: u32, command: &[String]) -> anyhow::Result<u8> {
    let Some((program, arguments)) = command.split_first() else {
        bail!("no command is given");
    };
    end_with(parent)?;
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {program}"))
}

#[cfg(target_os = "linux")]
fn end_with(parent: u32) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if now != i32::try_from(parent).ok() {
        bail!("the process that started this one is gone");
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn end_with(_parent: u32) -> anyhow::Result<()> {
    Ok(())
}
