//! `cargo xtask cluster`: a Kubernetes cluster of two nodes on this machine, by kind.
//!
//! With the Docker that is there, or with everything of our own: daemon, image of a node, kind and
//! kubectl, built once and kept outside of the checkout. May use `archive`, `cache`, `debian`, `image` and `step`.

pub(crate) mod binary;
mod conformance;
mod daemon;
mod images;
mod kind;
mod node;
mod teardown;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{bail, ensure};
use clap::Subcommand;

use crate::image::{self, Profile};
use crate::{cache, step};
use daemon::Daemon;
use kind::Cluster;

/// The version that upgrades begin with.
const OLDER: &str = "0.0.9";

/// What to do with the cluster.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Makes the cluster; does nothing if it is there.
    Up,
    /// Removes the cluster and all that belongs to it; what was built stays.
    Down,
    /// Says what is there.
    Status,
    /// Puts images onto the nodes: these archives, or else those of the mesh (built for release) and
    /// of the apps of the cases.
    Load {
        /// Only those of the cases' apps.
        #[arg(long, conflicts_with = "archives")]
        apps: bool,
        /// Archives as `cargo xtask image` or `docker save` writes them.
        archives: Vec<PathBuf>,
    },
    /// Puts images of an older version onto the nodes: the same programs, which say so.
    LoadOlder,
    /// Runs a program in the cluster's network, with KUBECONFIG set, kubectl and meshctl on its path.
    Exec {
        /// The program and its arguments; a shell if there is none.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Runs kubectl on the cluster.
    Kubectl {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Applies the Gateway API's definitions.
    Define {
        /// Those of its experimental channel.
        #[arg(long)]
        experimental: bool,
    },
    /// Runs the Gateway API's own suite.
    Conform {
        /// Only this case, such as `MeshBasic`.
        #[arg(long, value_name = "CASE")]
        case: Option<String>,
        /// The suite's pods do not join the mesh: tries the cluster itself.
        #[arg(long)]
        unmeshed: bool,
    },
    /// Builds etcd, kube-apiserver and kubectl, and prints the folder they are in.
    Assets,
    /// Downloads the Gateway API's module, and prints the folder it is in.
    Gateway,
}

/// Does what was asked.
pub(crate) fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Up => up(),
        Verb::Down => down(),
        Verb::Status => status(),
        Verb::Load { apps: true, .. } => cluster()?.load(&apps()?),
        Verb::Load { archives, .. } if archives.is_empty() => load_all(),
        Verb::Load { archives, .. } => cluster()?.load(&archives),
        Verb::LoadOlder => load_older(&built()),
        Verb::Exec { command } => exec(&command),
        Verb::Kubectl { arguments } => hand_over(cluster()?.kubectl(arguments)?),
        Verb::Define { experimental } => define(experimental),
        Verb::Conform { case, unmeshed } => conform(case.as_deref(), !unmeshed),
        Verb::Assets => {
            println!("{}", assets()?.display());
            Ok(())
        }
        Verb::Gateway => {
            println!("{}", binary::gateway_files()?.display());
            Ok(())
        }
    }
}

/// Makes the cluster, unless it is there as it would be made.
pub(crate) fn up() -> anyhow::Result<()> {
    let _lock = cache::lock()?;
    let started = Instant::now();
    let cluster = cluster()?;
    let marker = cache::folder("cluster")?.join("up");
    let made = std::fs::read_to_string(&marker).unwrap_or_default();
    if made == node::name() && cluster.is_ready() {
        println!("the cluster is up");
        return Ok(());
    }
    remove(&cluster)?;
    if let Err(error) = cluster.daemon.start().and_then(|()| cluster.create()) {
        let log = cache::folder("cluster")?.join("dockerd.log");
        bail!("{error:#}; the daemon's log is {}", log.display());
    }
    std::fs::write(marker, node::name())?;
    println!(
        "the cluster is up after {}",
        step::seconds(started.elapsed())
    );
    Ok(())
}

/// Removes the cluster.
pub(crate) fn down() -> anyhow::Result<()> {
    let _lock = cache::lock()?;
    if !was_made()? {
        println!("there is no cluster");
        return Ok(());
    }
    remove(&cluster()?)?;
    println!("the cluster is gone");
    Ok(())
}

fn remove(cluster: &Cluster) -> anyhow::Result<()> {
    cache::remove(&cache::folder("cluster")?.join("up"))?;
    if cluster.daemon.answers() {
        // What kind cannot remove goes with the daemon's folder.
        if let Err(error) = cluster.delete() {
            eprintln!("  - kind delete cluster: {error:#}");
        }
    }
    match &cluster.daemon {
        Daemon::Found => Ok(()),
        Daemon::Own(own) => teardown::clean(own),
    }
}

/// True if a cluster was made, or began to be, and was not removed.
fn was_made() -> anyhow::Result<bool> {
    let folder = cache::folder("cluster")?;
    let left = ["kubeconfig", "run"].map(|name| folder.join(name).exists());
    Ok(left.contains(&true) || daemon::network().exists())
}

fn status() -> anyhow::Result<()> {
    if !was_made()? {
        bail!("no cluster: cargo xtask cluster up");
    }
    let cluster = cluster()?;
    match &cluster.daemon {
        Daemon::Found => println!("docker: the one of this machine"),
        Daemon::Own(own) if teardown::is_clean(own) => println!("docker: our own, not started"),
        Daemon::Own(own) => println!("docker: our own, in {}", own.state.display()),
    }
    for node in cluster.nodes()? {
        let state = if node.ready { "ready" } else { "not ready" };
        println!("{}: {state}", node.name);
    }
    println!("KUBECONFIG={}", cluster.kubeconfig().display());
    println!("cargo xtask cluster exec -- kubectl get pods --all-namespaces");
    ensure!(cluster.is_ready(), "the cluster is not ready");
    Ok(())
}

/// Builds and loads the images of the mesh, and those of the cases' apps.
pub(crate) fn load_all() -> anyhow::Result<()> {
    let cluster = cluster()?;
    let mut archives = image::write_all(Profile::Release, None)?;
    archives.extend(apps()?);
    cluster.load(&archives)
}

/// Loads images of these programs that say they are of an older version.
pub(crate) fn load_older(programs: &Path) -> anyhow::Result<()> {
    cluster()?.load(&image::write_older(programs, OLDER)?)
}

/// Where the programs of this tree are, built for release.
pub(crate) fn built() -> PathBuf {
    step::target().join("release")
}

fn apps() -> anyhow::Result<Vec<PathBuf>> {
    let mut archives = images::apps()?;
    archives.push(image::case_app()?);
    Ok(archives)
}

/// Applies the Gateway API's definitions.
pub(crate) fn define(experimental: bool) -> anyhow::Result<()> {
    conformance::define(&cluster()?, experimental)
}

/// Runs the Gateway API's suite, or one case of it.
pub(crate) fn conform(case: Option<&str>, meshed: bool) -> anyhow::Result<()> {
    conformance::run(&cluster()?, case, meshed)
}

/// Installs the mesh as a user does.
pub(crate) fn install() -> anyhow::Result<()> {
    let meshctl = built().join("meshctl");
    step::run(cluster()?.command(meshctl)?.arg("install"))
}

/// The same command, in the network of the cluster.
pub(crate) fn enter(command: &Command) -> anyhow::Result<Command> {
    let mut inside = cluster()?.command(command.get_program())?;
    inside.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        inside.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    Ok(inside)
}

fn exec(command: &[OsString]) -> anyhow::Result<()> {
    let shell = [std::env::var_os("SHELL").unwrap_or_else(|| "bash".into())];
    let words = if command.is_empty() { &shell } else { command };
    let [program, arguments @ ..] = words else {
        bail!("no program");
    };
    let mut command = cluster()?.command(program)?;
    command.args(arguments);
    hand_over(command)
}

/// Becomes `command`: signals and the exit status are its own.
fn hand_over(mut command: Command) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt as _;
    Err(command.exec().into())
}

/// A folder with `etcd`, `kube-apiserver` and `kubectl`, as `KUBEBUILDER_ASSETS` wants it.
fn assets() -> anyhow::Result<PathBuf> {
    let _lock = cache::lock()?;
    let folder = cache::folder("assets")?;
    let programs = [
        binary::ETCD.path("etcd")?,
        binary::KUBERNETES.path("kube-apiserver")?,
        binary::KUBERNETES.path("kubectl")?,
    ];
    for program in programs {
        let link = folder.join(program.file_name().unwrap_or_default());
        cache::remove(&link)?;
        std::os::unix::fs::symlink(&program, link)?;
    }
    Ok(folder)
}

/// The cluster of this machine, whether it is up or not.
pub(crate) fn cluster() -> anyhow::Result<Cluster> {
    let folder = cache::folder("cluster")?;
    Ok(Cluster::of(Daemon::choose()?, &folder))
}
