//! The image of a node: Debian with systemd, containerd, the kubelet, and the images of Kubernetes' own
//! parts, put there while it is built, so that a node starts without a registry.
//!
//! May use `binary`, `cache`, `debian`, `images` and `daemon`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::daemon::Daemon;
use super::{binary, images};
use crate::{cache, debian, step};

/// What the repository name of a node's image is; its tag has the versions and a hash of all files.
const NAME: &str = "mesh.dev/node";
/// Longest wait for the containerd that takes the images in.
const START: Duration = Duration::from_secs(30);

/// Files of a node as they are in `xtask/node`, and where they go.
const FILES: [(&str, &str); 9] = [
    (
        "/etc/containerd/cni.tmpl",
        include_str!("../../node/cni.tmpl"),
    ),
    (
        "/etc/containerd/config.toml",
        include_str!("../../node/containerd.toml"),
    ),
    (
        "/etc/default/kubelet",
        include_str!("../../node/kubelet.default"),
    ),
    (
        "/etc/systemd/journald.conf.d/node.conf",
        include_str!("../../node/journald.conf"),
    ),
    (
        "/etc/systemd/system/containerd.service",
        include_str!("../../node/containerd.service"),
    ),
    (
        "/etc/systemd/system/kubelet.service",
        include_str!("../../node/kubelet.service"),
    ),
    (
        "/etc/systemd/system/kubelet.slice",
        include_str!("../../node/kubelet.slice"),
    ),
    (
        "/kind/manifests/default-storage.yaml",
        include_str!("../../node/storage.yaml"),
    ),
    ("/kind/nodenet.nft", include_str!("../../node/nodenet.nft")),
];
const ENTRYPOINT: &str = include_str!("../../node/entrypoint");
const PRELOAD: &str = include_str!("../../node/preload.toml");
/// Units that have no place in a container, or would write settings of the whole machine.
const MASKED: [&str; 19] = [
    "dev-hugepages.mount",
    "getty.target",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-logind.service",
    "systemd-modules-load.service",
    "systemd-random-seed.service",
    "systemd-sysctl.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-setup.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-update-utmp.service",
    "systemd-initctl.socket",
    "systemd-journald-audit.socket",
];

/// The image's name, without building it.
pub(crate) fn name() -> String {
    let texts = FILES.iter().flat_map(|(at, text)| [*at, *text]);
    let versions = [&binary::KUBERNETES, &binary::CONTAINERD, &binary::COREDNS];
    let all = texts
        .chain([ENTRYPOINT, PRELOAD])
        .chain(MASKED)
        .chain(versions.map(binary::Programs::folder_name));
    format!("{NAME}:{}-{}", binary::KUBERNETES_VERSION, cache::key(all))
}

/// The name of the image, which the daemon has after this.
pub(crate) fn image(daemon: &Daemon) -> anyhow::Result<String> {
    let name = name();
    let mut ask = daemon.docker(["image", "inspect", &name]);
    if ask
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?
        .success()
    {
        return Ok(name);
    }
    let base = debian::node_root()?;
    let archives = images::system(&base)?;
    eprintln!("  - the image of a node ...");
    let started = Instant::now();
    let work = cache::root()?.join("node.part");
    cache::remove(&work)?;
    let root = work.join("root");
    std::fs::create_dir_all(&work)?;
    step::run(Command::new("cp").arg("-a").args([&base, &root]))?;
    let made = fill(&root)
        .and_then(|()| preload(&work, &archives))
        .and_then(|()| import(daemon, &root, &name));
    cache::remove(&work)?;
    made.context("the image of a node")?;
    eprintln!(
        "  - the image of a node: {}",
        step::seconds(started.elapsed())
    );
    Ok(name)
}

fn fill(root: &Path) -> anyhow::Result<()> {
    for (at, text) in FILES {
        write(root, at, text)?;
    }
    write(root, "/kind/version", binary::KUBERNETES_VERSION)?;
    write(root, "/etc/machine-id", "")?;
    write(root, "/usr/local/bin/entrypoint", ENTRYPOINT)?;
    let mut executable = Command::new("chmod");
    step::run(
        executable
            .arg("755")
            .arg(root.join("usr/local/bin/entrypoint")),
    )?;
    let containerd = ["containerd", "containerd-shim-runc-v2", "ctr"];
    for name in containerd {
        let to = root.join("usr/local/bin").join(name);
        std::fs::copy(binary::CONTAINERD.path(name)?, to)?;
    }
    for name in ["kubeadm", "kubectl", "kubelet"] {
        let to = root.join("usr/bin").join(name);
        std::fs::copy(binary::KUBERNETES.path(name)?, to)?;
    }
    for folder in ["etc/kubernetes/manifests", "etc/cni/net.d", "opt/cni"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    std::os::unix::fs::symlink("/usr/lib/cni", root.join("opt/cni/bin"))?;
    quieten(root)
}

/// Leaves systemd with what a node needs.
fn quieten(root: &Path) -> anyhow::Result<()> {
    let wants = ["multi-user", "local-fs", "timers"];
    for target in wants {
        for base in ["usr/lib/systemd/system", "etc/systemd/system"] {
            let folder = root.join(base).join(format!("{target}.target.wants"));
            cache::remove(&folder)?;
        }
    }
    for unit in MASKED {
        let at = root.join("etc/systemd/system").join(unit);
        cache::remove(&at)?;
        std::os::unix::fs::symlink("/dev/null", at)?;
    }
    for words in [
        ["enable", "containerd.service"],
        ["enable", "kubelet.service"],
        ["set-default", "multi-user.target"],
    ] {
        let mut command = Command::new("chroot");
        command.arg(root).arg("systemctl").args(words);
        step::output(&mut command)?;
    }
    Ok(())
}

/// Puts the images where the node's containerd keeps its own.
fn preload(work: &Path, archives: &[PathBuf]) -> anyhow::Result<()> {
    let programs = binary::CONTAINERD.folder()?;
    let socket = work.join("containerd.sock");
    let config = work.join("containerd.toml");
    std::fs::write(&config, PRELOAD)?;
    let log = std::fs::File::create(work.join("containerd.log"))?;
    let mut command = Command::new(programs.join("containerd"));
    command.arg("--config").arg(&config);
    command
        .arg("--root")
        .arg(work.join("root/var/lib/containerd"));
    command.arg("--state").arg(work.join("state"));
    command.arg("--address").arg(&socket);
    let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
    let mut running = Running(child);
    let limit = Instant::now() + START;
    let ctr = |words: &[&str]| {
        let mut command = Command::new(programs.join("ctr"));
        command.arg("--address").arg(&socket);
        command.args(["--namespace", "k8s.io"]).args(words);
        command
    };
    while step::output(&mut ctr(&["version"])).is_err() {
        ensure!(running.0.try_wait()?.is_none(), "containerd ended");
        ensure!(Instant::now() < limit, "containerd does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    for archive in archives {
        let mut import = ctr(&["images", "import", "--local", "--discard-unpacked-layers"]);
        step::output(import.arg(archive))?;
    }
    // A late collection would leave content behind that nothing refers to.
    step::output(&mut ctr(&["content", "prune", "references"]))?;
    running.stop()
}

/// The root file system as an image of the daemon.
fn import(daemon: &Daemon, root: &Path, name: &str) -> anyhow::Result<()> {
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(root);
    tar.args(["--numeric-owner", "--xattrs", "--xattrs-include=*"]);
    tar.args(["--exclude=./proc/*", "--exclude=./sys/*", "-cf", "-", "."]);
    let mut packing = tar.stdout(Stdio::piped()).spawn()?;
    let stream = packing.stdout.take().context("tar has no output")?;
    let mut import = daemon.docker(["import"]);
    import.args(["-c", "ENV container=docker"]);
    import.args(["-c", "STOPSIGNAL SIGRTMIN+3"]);
    import.args([
        "-c",
        "ENTRYPOINT [\"/usr/local/bin/entrypoint\",\"/sbin/init\"]",
    ]);
    let said = step::output(import.args(["-", name]).stdin(stream));
    let packed = packing.wait()?;
    said?;
    ensure!(packed.success(), "tar ended with {packed}");
    Ok(())
}

fn write(root: &Path, at: &str, text: &str) -> anyhow::Result<()> {
    let path = root.join(at.trim_start_matches('/'));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&path, text).with_context(|| path.display().to_string())
}

/// A program of ours that ends with its value.
struct Running(Child);

impl Running {
    fn stop(&mut self) -> anyhow::Result<()> {
        let mut kill = Command::new("kill");
        step::run(kill.arg(self.0.id().to_string()))?;
        let limit = Instant::now() + START;
        while self.0.try_wait()?.is_none() {
            if Instant::now() > limit {
                bail!("containerd does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It ended already, or it may not stay.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
