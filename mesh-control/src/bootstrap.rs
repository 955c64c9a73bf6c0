//! Settings that a control plane starts with. May use `error`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_api::model::policy::DEFAULTS;
use mesh_api::name::TrustDomain;
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
    /// The folder of manifests.
    pub manifests: PathBuf,
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

impl Bootstrap {
    /// The defaults with everything kept under `state`.
    pub fn new(manifests: PathBuf, state: PathBuf) -> Self {
        Self {
            listen: default_listen(),
            manifests,
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
