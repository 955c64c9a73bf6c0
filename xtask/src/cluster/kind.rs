//! The cluster: two nodes, made and removed by kind, with routes between their pods.
//!
//! May use `binary`, `daemon`, `node` and `step`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::daemon::Daemon;
use super::{binary, node};
use crate::step;

/// The name of the cluster.
pub(crate) const NAME: &str = "mesh";
/// Longest wait for names to resolve in the cluster.
const NAMES: &str = "120s";
/// Longest wait for the nodes to be ready.
const READY: Duration = Duration::from_mins(2);

/// A cluster in a daemon.
pub(crate) struct Cluster {
    pub(crate) daemon: Daemon,
    folder: PathBuf,
}

/// A node as the cluster knows it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ready: bool,
    address: String,
    pods: String,
}

impl Cluster {
    /// The cluster of this machine, whether it is up or not.
    pub(crate) fn of(daemon: Daemon, folder: &Path) -> Self {
        Self {
            daemon,
            folder: folder.to_owned(),
        }
    }

    /// How programs reach it: a file for `KUBECONFIG`.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// A program that can reach it: in its network, with kubectl on its path.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
        let mut command = self.daemon.command(program);
        let set = command.get_envs().find(|(name, _)| *name == "PATH");
        let set = set.and_then(|(_, value)| value.map(OsStr::to_owned));
        let path = set.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
        let built = step::target().join("release");
        let ours = [built, binary::KUBERNETES.place()?];
        let all = ours.into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all)?);
        command.env("KUBECONFIG", self.kubeconfig());
        Ok(command)
    }

    /// kubectl, with these words.
    pub(crate) fn kubectl<S: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<Command> {
        let mut command = self.command(binary::KUBERNETES.path("kubectl")?)?;
        command.args(words);
        Ok(command)
    }

    /// Its nodes; none if it does not answer.
    pub(crate) fn nodes(&self) -> anyhow::Result<Vec<Node>> {
        let columns = "jsonpath={range .items[*]}{.metadata.name} \
             {.status.conditions[?(@.type==\"Ready\")].status} \
             {.status.addresses[?(@.type==\"InternalIP\")].address} {.spec.podCIDR}{\"\\n\"}{end}";
        let words = ["get", "nodes", "--request-timeout=5s", "-o", columns];
        let said = step::output(self.kubectl(words)?.stdin(Stdio::null()))?;
        Ok(said.lines().filter_map(Node::read).collect())
    }

    /// True if it answers and all its nodes are ready.
    pub(crate) fn is_ready(&self) -> bool {
        let exists = self.kubeconfig().is_file();
        let nodes = exists.then(|| self.nodes().unwrap_or_default());
        nodes.is_some_and(|nodes| nodes.len() == 2 && nodes.iter().all(|node| node.ready))
    }

    /// Makes it, and waits until pods can start and resolve names.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        let image = match self.daemon.node_image() {
            Some(image) => image.to_owned(),
            None => node::image(&self.daemon)?,
        };
        let config = self.folder.join("kind.yaml");
        std::fs::write(&config, self.config(&image))?;
        eprintln!("  - two nodes (kind create cluster) ...");
        let started = Instant::now();
        let log = self.folder.join("kind.log");
        let output = std::fs::File::create(&log)?;
        let mut create = self.kind(["create", "cluster", "--retain", "--wait", "180s"])?;
        create.arg("--config").arg(&config);
        create.stdout(output.try_clone()?).stderr(output);
        step::run(&mut create).with_context(|| format!("see {}", log.display()))?;
        self.connect()?;
        let words = [
            "rollout",
            "status",
            "deployment/coredns",
            "--timeout",
            NAMES,
        ];
        let mut wait = self.kubectl(["--namespace", "kube-system"])?;
        step::output(wait.args(words)).context("CoreDNS did not become ready")?;
        eprintln!("  - two nodes: {}", step::seconds(started.elapsed()));
        Ok(())
    }

    /// Removes it.
    pub(crate) fn delete(&self) -> anyhow::Result<()> {
        let mut delete = self.kind(["delete", "cluster"])?;
        step::output(&mut delete).map(drop)
    }

    /// Puts archives of images onto every node.
    pub(crate) fn load(&self, archives: &[PathBuf]) -> anyhow::Result<()> {
        for archive in archives {
            let started = Instant::now();
            let mut load = self.kind(["load", "image-archive"])?;
            step::output(load.arg(archive))
                .with_context(|| format!("cannot load {}", archive.display()))?;
            let name = archive.file_name().unwrap_or_default().to_string_lossy();
            eprintln!("  - loaded {name}: {}", step::seconds(started.elapsed()));
        }
        Ok(())
    }

    fn kind<const N: usize>(&self, words: [&str; N]) -> anyhow::Result<Command> {
        let mut command = self.command(binary::KIND.path("kind")?)?;
        command.args(words).args(["--name", NAME]);
        Ok(command)
    }

    /// Routes from each node to the pods of the others, where the nodes bring no network of their own.
    fn connect(&self) -> anyhow::Result<()> {
        if self.daemon.node_image().is_some() {
            return Ok(());
        }
        let limit = Instant::now() + READY;
        let mut nodes = self.nodes()?;
        while nodes.len() < 2 || nodes.iter().any(|node| node.pods.is_empty()) {
            ensure!(Instant::now() < limit, "no ranges for pods: {nodes:?}");
            std::thread::sleep(Duration::from_millis(200));
            nodes = self.nodes()?;
        }
        for node in &nodes {
            for other in nodes.iter().filter(|other| *other != node) {
                let route = ["ip", "route", "replace", &other.pods, "via", &other.address];
                let mut command = self.daemon.docker(["exec", &node.name]);
                step::output(command.args(route))?;
            }
        }
        Ok(())
    }

    fn config(&self, image: &str) -> String {
        let network = match self.daemon.node_image() {
            Some(_) => "{ kubeProxyMode: nftables }",
            // The port is in a network namespace of our own, so it is free.
            None => {
                "{ disableDefaultCNI: true, kubeProxyMode: nftables, \
                 apiServerAddress: 127.0.0.1, apiServerPort: 16443 }"
            }
        };
        // A kubelet of this version starts under control groups of version 1 only if told so. It looks
        // every 20 s for a manifest that is taken away, unless it is told to be sooner.
        format!(
            "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking: {network}\n\
             kubeadmConfigPatches:\n- |\n  kind: KubeletConfiguration\n  failCgroupV1: false\n  fileCheckFrequency: 2s\n\
             nodes:\n- {{ role: control-plane, image: \"{image}\" }}\n\
             - {{ role: worker, image: \"{image}\" }}\n"
        )
    }
}

impl Node {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split(' ').map(ToOwned::to_owned);
        let name = words.next().filter(|name| !name.is_empty())?;
        Some(Self {
            name,
            ready: words.next()? == "True",
            address: words.next()?,
            pods: words.next().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Node;

    #[test]
    fn a_node_without_a_range_is_read_too() {
        let node = Node::read("mesh-worker False 172.18.0.3 ").unwrap();
        assert!(!node.ready && node.pods.is_empty());
        let node = Node::read("mesh-worker True 172.18.0.3 10.244.1.0/24").unwrap();
        assert!(node.ready && node.pods == "10.244.1.0/24");
        assert_eq!(Node::read(""), None);
    }
}
