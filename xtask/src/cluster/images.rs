//! Images of Kubernetes' own parts and of the apps that cases run, as archives.
//!
//! They carry the names by which manifests of others ask for them. May use `binary`, `cache` and
//! `archive`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::binary::{self, Programs};
use crate::archive::{Image, Runs};
use crate::{cache, step};

/// What kube-proxy runs beside itself, in a node's root file system.
const NETWORK_TOOLS: [&str; 4] = [
    "/usr/sbin/conntrack",
    "/usr/sbin/nft",
    "/usr/sbin/xtables-legacy-multi",
    "/usr/sbin/xtables-nft-multi",
];

/// An image with nothing but programs that need nothing.
struct Simple {
    file: &'static str,
    names: &'static [&'static str],
    programs: &'static Programs,
    /// Names of programs and where they go.
    files: &'static [(&'static str, &'static str)],
    entrypoint: &'static [&'static str],
    user: &'static str,
}

/// Kubernetes' own parts but kube-proxy. Manifests of kubeadm use bare names of commands.
const SYSTEM: [Simple; 6] = [
    part(
        "kube-apiserver",
        &["registry.k8s.io/kube-apiserver:v1.35.4"],
        &binary::KUBERNETES,
        &[("kube-apiserver", "/usr/local/bin/kube-apiserver")],
    ),
    part(
        "kube-controller-manager",
        &["registry.k8s.io/kube-controller-manager:v1.35.4"],
        &binary::KUBERNETES,
        &[(
            "kube-controller-manager",
            "/usr/local/bin/kube-controller-manager",
        )],
    ),
    part(
        "kube-scheduler",
        &["registry.k8s.io/kube-scheduler:v1.35.4"],
        &binary::KUBERNETES,
        &[("kube-scheduler", "/usr/local/bin/kube-scheduler")],
    ),
    part(
        "etcd",
        &["registry.k8s.io/etcd:3.6.6-0"],
        &binary::ETCD,
        &[("etcd", "/usr/local/bin/etcd")],
    ),
    Simple {
        // Also an app of the suite, by another tag.
        names: &[
            "registry.k8s.io/coredns/coredns:v1.13.1",
            "registry.k8s.io/coredns/coredns:v1.12.2",
        ],
        entrypoint: &["/coredns"],
        ..part("coredns", &[], &binary::COREDNS, &[("coredns", "/coredns")])
    },
    Simple {
        entrypoint: &["/pause"],
        user: "65535:65535",
        ..part(
            "pause",
            &["registry.k8s.io/pause:3.10.1"],
            &binary::PAUSE,
            &[("pause", "/pause")],
        )
    },
];

/// Apps of cases, under all names by which versions of the suite know them.
const APPS: [Simple; 2] = [
    Simple {
        entrypoint: &["/echo-basic"],
        user: "65532:65532",
        ..part(
            "echo-basic",
            &[
                "registry.k8s.io/gateway-api/echo-basic:v1.5.1",
                "registry.k8s.io/gateway-api/echo-basic:v1.6.0-dev.2",
                "registry.k8s.io/gateway-api/echo-basic:v1.6.0-dev.3",
            ],
            &binary::GATEWAY,
            &[("echo-basic", "/echo-basic")],
        )
    },
    Simple {
        entrypoint: &["/usr/local/bin/server"],
        ..part(
            "echo-advanced",
            &["registry.k8s.io/gateway-api/echo-advanced:v1.5.1"],
            &binary::ECHO,
            &[
                ("client", "/usr/local/bin/client"),
                ("server", "/usr/local/bin/server"),
            ],
        )
    },
];

const fn part(
    file: &'static str,
    names: &'static [&'static str],
    programs: &'static Programs,
    files: &'static [(&'static str, &'static str)],
) -> Simple {
    Simple {
        file,
        names,
        programs,
        files,
        entrypoint: &[],
        user: "",
    }
}

/// Archives of the images that a node carries; `node_root` is its file system.
pub(crate) fn system(node_root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut archives = Vec::new();
    for part in &SYSTEM {
        archives.push(part.archive()?);
    }
    archives.push(kube_proxy(node_root)?);
    Ok(archives)
}

/// Archives of the images that cases need.
pub(crate) fn apps() -> anyhow::Result<Vec<PathBuf>> {
    APPS.iter().map(Simple::archive).collect()
}

impl Simple {
    fn archive(&self) -> anyhow::Result<PathBuf> {
        let key = cache::key(
            [self.programs.folder_name()]
                .into_iter()
                .chain(self.names.iter().chain(self.entrypoint).copied()),
        );
        let path = cache::folder("images")?.join(format!("{}-{key}.tar", self.file));
        if path.exists() {
            return Ok(path);
        }
        let mut image = Image::new(
            self.names,
            Runs {
                entrypoint: self.entrypoint.iter().map(ToString::to_string).collect(),
                environment: vec![SEARCH_PATH.to_owned()],
                user: self.user.to_owned(),
            },
        );
        for (program, at) in self.files {
            image.file(at, &self.programs.path(program)?, 0o755);
        }
        image.folder("/tmp", 0o1777);
        image.text(
            "/etc/passwd",
            "root:x:0:0:root:/:/\nnobody:x:65534:65534::/:/\n",
        );
        if self.file == "echo-advanced" {
            add_certificate(&mut image)?;
        }
        image.write(&path)?;
        Ok(path)
    }
}

const SEARCH_PATH: &str = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The echo app reads a certificate at its start; what it is does not matter to any case.
fn add_certificate(image: &mut Image) -> anyhow::Result<()> {
    let folder = cache::folder("images")?;
    let [key, certificate] = ["cert.key", "cert.crt"].map(|name| folder.join(name));
    if !certificate.exists() {
        let mut command = Command::new("openssl");
        command
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:P-256", "-nodes", "-days", "3650"])
            .args(["-subj", "/CN=echo", "-addext", "subjectAltName=DNS:echo"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .stderr(std::process::Stdio::null());
        step::run(&mut command).context("a certificate for the echo app (openssl)")?;
    }
    image.file("/cert.key", &key, 0o644);
    image.file("/cert.crt", &certificate, 0o644);
    Ok(())
}

/// kube-proxy with nft, iptables and conntrack of the node's own release.
fn kube_proxy(node_root: &Path) -> anyhow::Result<PathBuf> {
    let path = cache::folder("images")?.join("kube-proxy-v1.35.4.tar");
    if path.exists() {
        return Ok(path);
    }
    let runs = Runs {
        environment: vec![SEARCH_PATH.to_owned()],
        ..Runs::default()
    };
    let mut image = Image::new(&["registry.k8s.io/kube-proxy:v1.35.4"], runs);
    let program = binary::KUBERNETES.path("kube-proxy")?;
    image.file("/usr/local/bin/kube-proxy", &program, 0o755);
    for tool in NETWORK_TOOLS {
        image.file(tool, &inside(node_root, tool), 0o755);
        let mut ldd = Command::new("chroot");
        let said = step::output(ldd.arg(node_root).args(["ldd", tool]))?;
        image.libraries(&said, node_root);
    }
    for family in ["iptables", "ip6tables"] {
        for verb in ["", "-save", "-restore"] {
            let name = format!("/usr/sbin/{family}{verb}");
            image.link(&name, "xtables-nft-multi");
        }
    }
    let plugins = format!("/usr/lib/{}-linux-gnu/xtables", std::env::consts::ARCH);
    for entry in std::fs::read_dir(inside(node_root, &plugins))?.flatten() {
        let at = format!("{plugins}/{}", entry.file_name().to_string_lossy());
        image.file(&at, &entry.path(), 0o644);
    }
    for name in ["/etc/protocols", "/etc/services"] {
        let from = inside(node_root, name);
        if from.is_file() {
            image.file(name, &from, 0o644);
        }
    }
    image.folder("/run", 0o755).folder("/tmp", 0o1777);
    image.write(&path)?;
    Ok(path)
}

fn inside(root: &Path, at: &str) -> PathBuf {
    root.join(at.trim_start_matches('/'))
}
