//! Settings that a control plane starts with. May use `error`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use mesh_api::model::policy::DEFAULTS;
use mesh_api::name::{Hostname, Name, Namespace, TrustDomain};
use serde::Deserialize;

use crate::error::Error;

/// The environment variable that names a bootstrap file where no argument does.
pub const BOOTSTRAP_VARIABLE: &str = "MESH_CONTROL_BOOTSTRAP";

/// Where the control plane listens, reads and keeps its state.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
    /// Where proxies connect; port 0 takes a free one.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The folder of manifests; this or `kubernetes`.
    #[serde(default)]
    pub manifests: Option<PathBuf>,
    /// The cluster whose objects are read; this or `manifests`.
    #[serde(default)]
    pub kubernetes: Option<Kubernetes>,
    /// The folder of keys, certificates and leases.
    pub state: PathBuf,
    /// The administrators' Unix socket; at most 100 bytes.
    pub admin_socket: PathBuf,
    /// The trust domain in force until a Mesh names one.
    #[serde(default)]
    pub trust_domain: Option<TrustDomain>,
    /// Lifetime of a registration.
    #[serde(default = "default_lease", rename = "leaseSeconds", with = "seconds")]
    pub lease: Duration,
    /// Lifetime of a workload's certificate.
    #[serde(
        default = "default_leaf",
        rename = "leafLifetimeSeconds",
        with = "seconds"
    )]
    pub leaf_lifetime: Duration,
}

/// What a control plane in a cluster starts with; every field has its default there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Kubernetes {
    /// Its own namespace: Secrets and leases are there.
    pub namespace: Namespace,
    /// The Service that leads to it, in that namespace.
    pub service: Name,
    /// A kubeconfig; the pod's own account where absent.
    pub kubeconfig: Option<PathBuf>,
    /// The suffix of names in the cluster, until a Mesh names one.
    pub cluster_domain: Option<Hostname>,
    /// Where the API server calls webhooks; port 0 takes a free one.
    pub webhooks: SocketAddr,
    /// Where remote administrators call.
    pub remote_admin: SocketAddr,
    /// Metrics and readiness, in the clear.
    pub observe: SocketAddr,
    /// The settings of injection, JSON.
    pub injection: PathBuf,
}

impl Default for Kubernetes {
    fn default() -> Self {
        let at = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        Self {
            namespace: DEFAULT_NAMESPACE.clone(),
            service: DEFAULT_SERVICE.clone(),
            kubeconfig: None,
            cluster_domain: None,
            webhooks: at(15017),
            remote_admin: at(15014),
            observe: at(15020),
            injection: PathBuf::from("/etc/mesh/injection.json"),
        }
    }
}

impl Bootstrap {
    /// The defaults with everything kept under `state`.
    pub fn new(manifests: PathBuf, state: PathBuf) -> Self {
        Self {
            listen: default_listen(),
            manifests: Some(manifests),
            kubernetes: None,
            admin_socket: state.join("admin.sock"),
            state,
            trust_domain: None,
            lease: default_lease(),
            leaf_lifetime: default_leaf(),
        }
    }

    /// Reads a bootstrap file (JSON).
    ///
    /// # Errors
    /// A file that cannot be read, or that says something unknown or wrong.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(Error::io("read", path))?;
        let bootstrap: Self = serde_json::from_slice(&text)
            .map_err(|error| Error::Bootstrap(format!("{}: {error}", path.display())))?;
        bootstrap.check()?;
        Ok(bootstrap)
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    /// A lifetime out of range, or a socket path too long for the system.
    pub fn check(&self) -> Result<(), Error> {
        if self.manifests.is_some() == self.kubernetes.is_some() {
            let text = "give one of manifests (a folder) and kubernetes ({} is enough in a pod)";
            return Err(Error::Bootstrap(text.into()));
        }
        let lease = self.lease.as_millis();
        if !(100..=3_600_000).contains(&lease) {
            return Err(Error::Bootstrap("lease: must be 100 ms to 1 h".into()));
        }
        let leaf = self.leaf_lifetime.as_secs();
        if !(1..=90 * 24 * 3600).contains(&leaf) {
            return Err(Error::Bootstrap(
                "leafLifetime: must be 1 s to 90 days".into(),
            ));
        }
        if self.admin_socket.as_os_str().len() > 100 {
            return Err(Error::Bootstrap(format!(
                "adminSocket: {} is longer than the 100 bytes a Unix socket can have",
                self.admin_socket.display()
            )));
        }
        Ok(())
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_secs)
    }
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 15012).into()
}

fn default_lease() -> Duration {
    Duration::from_secs(10)
}

fn default_leaf() -> Duration {
    DEFAULTS.leaf_lifetime
}

#[expect(clippy::expect_used, reason = "the text is a name")]
static DEFAULT_NAMESPACE: LazyLock<Namespace> =
    LazyLock::new(|| "mesh-system".parse().expect("mesh-system is a name"));
#[expect(clippy::expect_used, reason = "the text is a name")]
static DEFAULT_SERVICE: LazyLock<Name> =
    LazyLock::new(|| "mesh-control".parse().expect("mesh-control is a name"));
