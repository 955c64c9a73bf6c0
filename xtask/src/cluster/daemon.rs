//! The Docker that nodes run in: the one that is there, or our own, in a network namespace of its own.
//!
//! Our own leaves this machine's network as it was: its bridge, addresses and rules are in the namespace,
//! and whoever talks to the cluster enters it. May use `binary`, `cache`, `debian` and `step`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::binary;
use crate::{cache, debian, step};

/// The network namespace.
pub(crate) const NETWORK: &str = "mesh-cluster";
/// The control group of the nodes.
pub(crate) const GROUP: &str = "mesh-cluster";
/// The image of a node as kind's own project makes it.
const NODE_OF_KIND: &str = "kindest/node:v1.35.4";
/// Longest wait for the daemon to answer.
const START: Duration = Duration::from_secs(30);

/// A Docker daemon.
pub(crate) enum Daemon {
    /// The one that is there, which has kind's image of a node.
    Found,
    /// Ours.
    Own(Own),
}

/// Where our daemon keeps what it has.
pub(crate) struct Own {
    pub(crate) state: PathBuf,
    prefix: debian::Prefix,
    programs: PathBuf,
}

impl Daemon {
    /// The daemon that is there, if it has what nodes need; or else ours, not yet started.
    pub(crate) fn choose() -> anyhow::Result<Self> {
        let inspect = ["image", "inspect", NODE_OF_KIND];
        if step::found("docker", &inspect) {
            return Ok(Self::Found);
        }
        let state = cache::folder("cluster")?;
        Ok(Self::Own(Own {
            state,
            prefix: debian::prefix()?,
            programs: binary::CONTAINERD.folder()?,
        }))
    }

    /// Starts it, if it does not run.
    pub(crate) fn start(&self) -> anyhow::Result<()> {
        match self {
            Self::Found => Ok(()),
            Self::Own(own) => own.start(),
        }
    }

    /// True if it answers.
    pub(crate) fn answers(&self) -> bool {
        let mut command = self.docker(["version"]);
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    }

    /// The image of a node that it already has from elsewhere.
    pub(crate) fn node_image(&self) -> Option<&'static str> {
        matches!(self, Self::Found).then_some(NODE_OF_KIND)
    }

    /// The docker client.
    pub(crate) fn docker<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.command("docker");
        command.args(words);
        command
    }

    /// A program that reaches the daemon and its nodes.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Found => Command::new(program),
            Self::Own(own) => own.command(program),
        }
    }
}

impl Own {
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = inside();
        command.arg(program);
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        let tools = self.prefix.search_path().unwrap_or_default();
        let paths = std::iter::once(self.programs.clone()).chain(std::env::split_paths(&tools));
        command.env("PATH", std::env::join_paths(paths).unwrap_or_default());
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command.env("DOCKER_CONFIG", self.state.join("docker-config"));
    }

    fn socket(&self) -> PathBuf {
        self.state.join("run/docker.sock")
    }

    /// The file with the daemon's number.
    pub(crate) fn pid_file(&self) -> PathBuf {
        self.state.join("run/dockerd.pid")
    }

    fn start(&self) -> anyhow::Result<()> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "only root can start a Docker daemon of its own; or start Docker and load {NODE_OF_KIND}"
        );
        make_network()?;
        let whole = Daemon::Own(Self {
            state: self.state.clone(),
            prefix: debian::prefix()?,
            programs: self.programs.clone(),
        });
        if whole.answers() {
            return Ok(());
        }
        std::fs::create_dir_all(self.state.join("run"))?;
        let log = self.state.join("dockerd.log");
        self.spawn(&log)?;
        let limit = Instant::now() + START;
        while !whole.answers() {
            ensure!(
                Instant::now() < limit,
                "dockerd does not answer: see {}",
                log.display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn spawn(&self, log: &std::path::Path) -> anyhow::Result<()> {
        let output = std::fs::File::create(log)?;
        let mut command = inside();
        // A session of its own: it outlives this program.
        command
            .arg("setsid")
            .arg(self.prefix.path("usr/sbin/dockerd"));
        self.environment(&mut command);
        let libraries = self.prefix.libraries();
        command.env("LD_LIBRARY_PATH", &libraries);
        command.env("XTABLES_LIBDIR", libraries.join("xtables"));
        let path = |name: &str| self.state.join(name);
        command.arg("--data-root").arg(path("docker"));
        command.arg("--exec-root").arg(path("run/exec"));
        command.arg("--pidfile").arg(self.pid_file());
        command
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()));
        command.args(["--storage-driver", "overlay2"]);
        command.args(["--feature", "containerd-snapshotter=false"]);
        command.arg("--userland-proxy-path");
        command.arg(self.prefix.path("usr/sbin/docker-proxy"));
        command.args(["--exec-opt", "native.cgroupdriver=cgroupfs"]);
        command.arg("--cgroup-parent").arg(format!("/{GROUP}"));
        command.args(["--bip", "172.30.0.1/24"]);
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        command.spawn().context("cannot start dockerd")?;
        Ok(())
    }
}

/// Enters the network namespace; the program follows. Its mounts stay this machine's: control groups
/// are seen as they are.
fn inside() -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{NETWORK}"));
    command
}

fn make_network() -> anyhow::Result<()> {
    if PathBuf::from("/run/netns").join(NETWORK).exists() {
        return Ok(());
    }
    step::run(Command::new("ip").args(["netns", "add", NETWORK]))?;
    step::run(inside().args(["ip", "link", "set", "lo", "up"]))?;
    step::output(inside().args(["sysctl", "-w", "net.ipv4.ip_forward=1"]))?;
    Ok(())
}
