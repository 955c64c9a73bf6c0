//! What a proxy is started with: a JSON file, or built in code by `meshctl`.
//!
//! One struct per section, each with its own check; [`Bootstrap::check`] only lists them, and every
//! fault names its field. May use `mesh_api` and `telemetry`.

mod pod;
mod section;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_api::decide::Caller;
use mesh_api::error::{Faults, Invalid};
use mesh_api::name::{Name, ObjectName};
use mesh_api::pod::Probes;
use serde::{Deserialize, Serialize};

pub use crate::bootstrap::section::{
    AccessLog, AppAddress, Capture, Ends, JoinTokenSource, Registration, RootHash,
    ServiceAccountToken, TokenUnreadable, UpstreamListener,
};

/// Where the forward proxy listens when asked for without an address.
pub const FORWARD_PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15002);
/// The usual port of metrics and readiness.
pub const OBSERVE_PORT: u16 = 15020;
/// Longest path of a Unix socket that every platform takes, in bytes.
const MAX_SOCKET_PATH: usize = 100;

/// How one proxy starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bootstrap {
    /// The workload it serves.
    pub workload: ObjectName,
    /// The service account of its identity; the namespace is the workload's.
    pub service_account: Name,
    /// The control plane, `host:port`; absent: the join token's, or none (what is on disk serves).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
    /// How it gets its first certificate; absent: one must be in `identityDir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<JoinTokenSource>,
    /// How a pod gets it: by the token of its service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_token: Option<ServiceAccountToken>,
    /// Where key and chain live: memory-backed, mode 0700.
    pub identity_dir: PathBuf,
    /// Where the last good configuration lives.
    pub state_dir: PathBuf,
    /// The admin socket; mode 0600.
    pub admin_socket: PathBuf,
    /// The workload's address, as peers reach it.
    pub address: IpAddr,
    /// Its further addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_addresses: Vec<IpAddr>,
    /// Where the app listens.
    #[serde(default)]
    pub app_address: AppAddress,
    /// Explicit outbound listeners.
    #[serde(default)]
    pub upstreams: Vec<UpstreamListener>,
    /// The HTTP forward proxy; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_proxy: Option<SocketAddr>,
    /// Listeners that the system redirects the workload's connections to; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    /// Metrics and readiness, read-only; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observe: Option<SocketAddr>,
    /// Probes that are relayed to the app on the `observe` listener.
    #[serde(default, skip_serializing_if = "no_probes")]
    pub probes: Probes,
    /// Worker threads, 1 to 64.
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// Where access log lines go.
    #[serde(default)]
    pub access_log: AccessLog,
    /// How long exchanges may take to end once the proxy stops, at most one hour.
    #[serde(
        rename = "drainSeconds",
        default = "default_drain",
        with = "section::seconds"
    )]
    pub drain: Duration,
    /// Whether its app is still there when it stops.
    #[serde(default)]
    pub ends: Ends,
    /// The lease this proxy keeps for its workload; absent: a manifest names the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
}

/// Why a bootstrap was refused.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a bootstrap in JSON.
    #[error("not a bootstrap")]
    Parse(#[from] serde_json::Error),
    /// Fields are wrong.
    #[error("{}", Joined(.0))]
    Invalid(Vec<Invalid>),
}

impl Bootstrap {
    /// Its workload as a caller, whose labels its configuration knows.
    pub fn caller(&self) -> Caller<'_> {
        Caller {
            namespace: &self.workload.namespace,
            labels: None,
            service_account: Some(&self.service_account),
            address: Some(self.address),
        }
    }

    /// A bootstrap with defaults, and every folder and socket under `folder`.
    pub fn new(
        workload: ObjectName,
        service_account: Name,
        address: IpAddr,
        folder: &Path,
    ) -> Self {
        Self {
            workload,
            service_account,
            control: None,
            join_token: None,
            service_account_token: None,
            identity_dir: folder.join("identity"),
            state_dir: folder.join("state"),
            admin_socket: folder.join("admin.sock"),
            address,
            more_addresses: Vec::new(),
            app_address: AppAddress::default(),
            upstreams: Vec::new(),
            forward_proxy: None,
            capture: None,
            observe: None,
            probes: Probes::default(),
            workers: default_workers(),
            access_log: AccessLog::Off,
            drain: default_drain(),
            ends: Ends::default(),
            registration: None,
        }
    }

    /// Reads and checks a JSON file.
    ///
    /// # Errors
    /// It cannot be read, is not a bootstrap, or has faults: all of them.
    pub fn load(path: &Path) -> Result<Self, BootstrapError> {
        let bytes = std::fs::read(path).map_err(|source| BootstrapError::Read {
            path: path.to_owned(),
            source,
        })?;
        let bootstrap: Self = serde_json::from_slice(&bytes)?;
        bootstrap.check()?;
        Ok(bootstrap)
    }

    /// Checks every section.
    ///
    /// # Errors
    /// Every fault with its field.
    pub fn check(&self) -> Result<(), BootstrapError> {
        let mut faults = Faults::default();
        self.check_paths(&mut faults);
        self.check_network(&mut faults);
        if let Some(token) = &self.join_token {
            faults.field("joinToken", |f| token.check(f));
        }
        if self.join_token.is_some() && self.service_account_token.is_some() {
            faults.field("serviceAccountToken", |f| {
                f.refuse("cannot stand beside `joinToken`: one way to the first certificate");
            });
        }
        if let Some(token) = &self.service_account_token {
            faults.field("serviceAccountToken", |f| token.check(f));
        }
        if self.control.is_none() && self.join_token.is_none() && self.registration.is_some() {
            faults.field("registration", |f| {
                f.refuse("needs `control` or `joinToken`: a lease is kept at a control plane");
            });
        }
        section::check_upstreams(&self.upstreams, &mut faults);
        faults.field("accessLog", |f| self.access_log.check(f));
        if let Some(capture) = &self.capture {
            faults.field("capture", |f| capture.check(f));
        }
        if let Some(registration) = &self.registration {
            faults.field("registration", |f| registration.check(f));
        }
        if !(1..=64).contains(&self.workers) {
            faults.field("workers", |f| f.refuse("must be 1 to 64"));
        }
        if self.drain > Duration::from_hours(1) {
            faults.field("drainSeconds", |f| f.refuse("must be at most 3600"));
        }
        if faults.is_empty() {
            Ok(())
        } else {
            Err(BootstrapError::Invalid(faults.into_vec()))
        }
    }

    /// The workload's addresses, the first one first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        [self.address]
            .into_iter()
            .chain(self.more_addresses.iter().copied())
    }

    /// Where the app listens for what was dialled at `own`, an address of the workload.
    pub fn app_at(&self, own: IpAddr) -> IpAddr {
        match self.app_address {
            AppAddress::Fixed(address) => address,
            AppAddress::Dialled => own,
        }
    }

    fn check_paths(&self, faults: &mut Faults) {
        for (field, path) in [
            ("identityDir", &self.identity_dir),
            ("stateDir", &self.state_dir),
            ("adminSocket", &self.admin_socket),
        ] {
            if !path.is_absolute() {
                faults.field(field, |f| f.refuse("must be an absolute path"));
            }
        }
        if self.identity_dir == self.state_dir {
            faults.field("identityDir", |f| {
                f.refuse("must not be `stateDir`: keys live in memory, configuration on disk");
            });
        }
        if self.admin_socket.as_os_str().len() > MAX_SOCKET_PATH {
            faults.field("adminSocket", |f| {
                f.refuse(format!(
                    "must be at most {MAX_SOCKET_PATH} bytes: a limit of Unix sockets"
                ));
            });
        }
    }

    fn check_network(&self, faults: &mut Faults) {
        if let Some(control) = &self.control {
            faults.field("control", |f| section::check_authority(control, f));
        }
        let app = match self.app_address {
            AppAddress::Fixed(address) => Some(("appAddress", address)),
            AppAddress::Dialled => None,
        };
        let more = self.more_addresses.iter();
        let more = more.map(|address| ("moreAddresses", *address));
        for (field, address) in [("address", self.address)]
            .into_iter()
            .chain(more)
            .chain(app)
        {
            if address.is_unspecified() || address.is_multicast() {
                faults.field(field, |f| f.refuse("must be one host's address"));
            }
        }
        if let Some(address) = self.forward_proxy
            && !address.ip().is_loopback()
        {
            faults.field("forwardProxy", |f| f.refuse("must be on loopback"));
        }
    }
}

fn no_probes(probes: &Probes) -> bool {
    probes.0.is_empty()
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(2))
}

fn default_drain() -> Duration {
    Duration::from_secs(25)
}

struct Joined<'f>(&'f [Invalid]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Bootstrap {
        Bootstrap::new(
            "demo/shop".parse().unwrap(),
            "shop".parse().unwrap(),
            "127.0.0.2".parse().unwrap(),
            Path::new("/run/mesh/shop"),
        )
    }

    #[test]
    fn files_read_back() {
        let mut bootstrap = good();
        bootstrap.control = Some("127.0.0.1:15012".into());
        bootstrap.upstreams = vec!["reviews.demo:9080=127.0.0.1:19080".parse().unwrap()];
        bootstrap.access_log = AccessLog::File("/var/log/mesh.log".into());
        bootstrap.registration = Some(Registration {
            ports: [("http".to_owned(), 8080)].into(),
            ..Registration::default()
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bootstrap.json");
        std::fs::write(&path, serde_json::to_vec(&bootstrap).unwrap()).unwrap();
        assert_eq!(Bootstrap::load(&path).unwrap(), bootstrap);
        let error = serde_json::from_str::<Bootstrap>(r#"{"workload": "demo/shop", "wrong": 1}"#);
        assert!(error.unwrap_err().to_string().contains("wrong"));
    }

    #[test]
    fn faults_name_their_field() {
        type Change = fn(&mut Bootstrap);
        let cases: &[(&str, Change)] = &[
            ("stateDir: must be an absolute path", |b| {
                b.state_dir = "x".into();
            }),
            ("identityDir: must not be", |b| {
                b.identity_dir = b.state_dir.clone();
            }),
            ("adminSocket: must be at most", |b| {
                b.admin_socket = format!("/{}", "a".repeat(101)).into();
            }),
            ("control: must be host:port", |b| {
                b.control = Some("localhost".into());
            }),
            ("joinToken: not a join token", |b| {
                b.join_token = Some(JoinTokenSource::new("mesh-join-1.zz"));
            }),
            ("address: must be one host's", |b| {
                b.address = [0, 0, 0, 0].into();
            }),
            ("forwardProxy: must be on loopback", |b| {
                b.forward_proxy = Some(([10, 0, 0, 1], 15002).into());
            }),
            ("workers: must be 1 to 64", |b| b.workers = 0),
            ("drainSeconds: must be", |b| {
                b.drain = Duration::from_secs(3601);
            }),
            ("upstreams[1].listen: is also", |b| {
                b.upstreams = vec![
                    "a:80=127.0.0.1:1080".parse().unwrap(),
                    "b:80=127.0.0.1:1080".parse().unwrap(),
                ];
            }),
            ("upstreams[0].host: ", |b| {
                b.upstreams = vec![UpstreamListener {
                    host: "A B".into(),
                    port: 80,
                    listen: ([127, 0, 0, 1], 1080).into(),
                }];
            }),
            ("registration: needs", |b| {
                b.registration = Some(Registration::default());
            }),
            ("registration.weight: must be", |b| {
                b.registration = Some(Registration {
                    weight: 0,
                    ..Registration::default()
                });
            }),
            ("registration.ports.http: must be", |b| {
                b.registration = Some(Registration {
                    ports: [("http".to_owned(), 0)].into(),
                    ..Registration::default()
                });
            }),
        ];
        assert!(good().check().is_ok());
        for (expected, change) in cases {
            let mut bootstrap = good();
            change(&mut bootstrap);
            let error = bootstrap.check().unwrap_err().to_string();
            assert!(
                error.lines().any(|line| line.starts_with(expected)),
                "{expected} not in {error}"
            );
        }
        let both = Bootstrap {
            workers: 0,
            drain: Duration::from_secs(9999),
            ..good()
        };
        assert_eq!(
            both.check().unwrap_err().to_string().lines().count(),
            2,
            "all at once"
        );
    }

    #[test]
    fn tokens_are_not_printed() {
        let mut bootstrap = good();
        bootstrap.join_token = Some(JoinTokenSource::new("mesh-join-1.secret.secret"));
        assert!(!format!("{bootstrap:?}").contains("secret"));
    }
}
