//! Debian's packages without touching the system: a private list, a private prefix, a root file system
//! for the nodes.
//!
//! The mirror is the one that this system's own apt uses. May use `cache` and `step`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{cache, step};

/// The release of the nodes: the last one whose systemd starts under control groups of version 1.
const NODE_RELEASE: &str = "bookworm";
/// The release with a Docker that asks for no right that is not there.
const DOCKER_RELEASE: &str = "sid";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What this machine runs, with the libraries that a minimal system may lack.
const TOOLS: [&str; 20] = [
    "conntrack",
    "debootstrap",
    "iptables",
    "libbsd0",
    "libedit2",
    "libgmp10",
    "libip4tc2",
    "libip6tc2",
    "libjansson4",
    "libmd0",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftables1",
    "libnftnl11",
    "libseccomp2",
    "libxtables12",
    "nftables",
    "runc",
    "wget",
];
const DOCKER: [&str; 2] = ["docker-cli", "docker.io"];
/// What a node needs beyond Debian's minimum.
const NODE: &str = "systemd,systemd-sysv,iproute2,iptables,nftables,conntrack,ethtool,mount,kmod,\
                    procps,runc,containernetworking-plugins";

/// Extracted packages.
pub(crate) struct Prefix(PathBuf);

/// The folder with Docker, runc, iptables, nft and what they need.
pub(crate) fn prefix() -> anyhow::Result<Prefix> {
    let names: Vec<&str> = TOOLS.iter().chain(&DOCKER).copied().collect();
    let key = cache::key(names.iter().copied());
    let folder = cache::root()?.join("debian").join(format!("tools-{key}"));
    cache::once(
        &folder,
        "Docker, runc, nft from Debian's packages",
        |part| {
            std::fs::create_dir_all(part)?;
            let apt = Apt::new()?;
            let packages = part.join("packages");
            std::fs::create_dir_all(&packages)?;
            apt.download(&packages)?;
            for package in std::fs::read_dir(&packages)? {
                let mut extract = Command::new("dpkg-deb");
                step::run(extract.arg("-x").arg(package?.path()).arg(part))?;
            }
            cache::remove(&packages)?;
            for name in ["iptables", "ip6tables"] {
                let link = part.join("usr/sbin").join(name);
                std::os::unix::fs::symlink("xtables-nft-multi", link)?;
            }
            Ok(())
        },
    )?;
    Ok(Prefix(folder))
}

/// A root file system with systemd, runc and the tools of a node.
pub(crate) fn node_root() -> anyhow::Result<PathBuf> {
    let key = cache::key([NODE_RELEASE, NODE]);
    let folder = cache::root()?.join("debian").join(format!("node-{key}"));
    let prefix = prefix()?;
    cache::once(
        &folder,
        "a root file system for nodes (debootstrap)",
        |part| {
            let log = cache::folder("logs")?.join("debootstrap.log");
            let output = std::fs::File::create(&log)?;
            let mut command = Command::new(prefix.path("usr/sbin/debootstrap"));
            command
                .env("DEBOOTSTRAP_DIR", prefix.path("usr/share/debootstrap"))
                .env("PATH", prefix.search_path()?)
                .args(["--variant=minbase", "--keyring", KEYRING, "--include", NODE])
                .arg(NODE_RELEASE)
                .arg(part)
                .arg(mirror()?)
                .stdout(output.try_clone()?)
                .stderr(output);
            step::run(&mut command).with_context(|| format!("see {}", log.display()))?;
            cache::remove(&part.join("var/cache/apt"))?;
            cache::remove(&part.join("var/lib/apt/lists"))
        },
    )?;
    Ok(folder)
}

impl Prefix {
    /// A file of the packages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Libraries that the programs may need.
    pub(crate) fn libraries(&self) -> PathBuf {
        let triple = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        self.path(&triple)
    }

    /// The programs first, then those of the system.
    pub(crate) fn search_path(&self) -> anyhow::Result<std::ffi::OsString> {
        let ours = ["usr/sbin", "usr/bin"].map(|name| self.path(name));
        let system = std::env::var_os("PATH").unwrap_or_default();
        let more = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
        let all = ours
            .into_iter()
            .chain(std::env::split_paths(&system))
            .chain(more);
        Ok(std::env::join_paths(all)?)
    }
}

/// Apt with lists and settings of its own.
struct Apt(PathBuf);

impl Apt {
    fn new() -> anyhow::Result<Self> {
        let folder = cache::folder("debian/apt")?;
        for part in ["lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(folder.join(part))?;
        }
        let mirror = mirror()?;
        let source = |release| format!("deb [signed-by={KEYRING}] {mirror} {release} main\n");
        let sources = source(NODE_RELEASE) + &source(DOCKER_RELEASE);
        std::fs::write(folder.join("sources.list"), sources)?;
        std::fs::write(folder.join("status"), "")?;
        let at = folder.display();
        let settings = format!(
            "Dir::Etc::SourceList \"{at}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
             Dir::State::Lists \"{at}/lists\";\nDir::State::status \"{at}/status\";\n\
             Dir::Cache \"{at}/cache\";\nAPT::Sandbox::User \"root\";\n"
        );
        std::fs::write(folder.join("apt.conf"), settings)?;
        Ok(Self(folder))
    }

    fn download(&self, into: &Path) -> anyhow::Result<()> {
        step::run(self.command().args(["update", "-qq"]))?;
        let from = |release| move |name: &&str| format!("{name}/{release}");
        let tools = TOOLS.iter().map(from(NODE_RELEASE));
        let docker = DOCKER.iter().map(from(DOCKER_RELEASE));
        let mut download = self.command();
        download.args(["download", "-qq"]).args(tools).args(docker);
        step::run(download.current_dir(into))
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", self.0.join("apt.conf"));
        command
    }
}

/// The mirror of Debian that this system uses.
fn mirror() -> anyhow::Result<String> {
    ensure!(
        Path::new(KEYRING).is_file(),
        "this is not Debian ({KEYRING} is missing): start a Docker daemon that has an image of a \
         node by kind's own project, then those are used"
    );
    let mut command = Command::new("apt-get");
    let format = "$(REPO_URI) $(COMPONENT) $(ORIGIN) $(CODENAME)";
    command.args(["indextargets", "--format", format, "Created-By: Packages"]);
    let said = step::output(&mut command)?;
    let found = said.lines().find_map(|line| {
        let [uri, "main", "Debian", release] = line.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        (!release.contains('-')).then(|| uri.trim_end_matches('/').to_owned())
    });
    found.context("apt knows no mirror of Debian: run apt-get update")
}
