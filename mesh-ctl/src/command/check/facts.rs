//! What checks look at: plain values, gathered once.

use std::path::PathBuf;

use serde_json::Value;

/// Everything known at one moment.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// This machine's clock, seconds since the epoch.
    pub(super) now: i64,
    /// The version of this binary.
    pub(super) build: String,
    /// The state folder.
    pub(super) state: State,
    /// The certificates that the control plane keeps in the state folder.
    pub(super) authority: Authority,
    /// The control plane, or why it does not answer.
    pub(super) control: Result<Control, String>,
}

/// The state folder.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Where it is.
    pub(super) root: PathBuf,
    /// Whether it is there.
    pub(super) exists: bool,
    /// Private files that others may read, with their modes.
    pub(super) loose: Vec<(PathBuf, u32)>,
    /// Workloads run here.
    pub(super) workloads: Vec<Run>,
}

/// A workload run with the state folder.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// `namespace/name`.
    pub(super) workload: String,
    /// Its supervisor, where it left word of itself.
    pub(super) supervisor: Option<Supervisor>,
    /// Listeners that its bootstrap names.
    pub(super) listeners: Vec<String>,
}

/// A supervisor that said it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Supervisor {
    /// Its process.
    pub(super) process: u32,
    /// True if that lives.
    pub(super) is_alive: bool,
    /// True if its sidecar runs.
    pub(super) has_sidecar: bool,
}

/// Certificates of the authority.
#[derive(Clone, Debug, Default)]
pub(super) struct Authority {
    /// What signs the intermediate.
    pub(super) root: Option<Certificate>,
    /// What signs leaves.
    pub(super) intermediate: Option<Certificate>,
    /// Every root that is trusted.
    pub(super) roots: Vec<Certificate>,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Certificate {
    /// Its file.
    pub(super) file: String,
    /// SHA-256 of its DER; empty if it cannot be read.
    pub(super) sha256: String,
    /// Start of its life, seconds since the epoch.
    pub(super) not_before: i64,
    /// End of its life, seconds since the epoch.
    pub(super) not_after: i64,
}

/// What the control plane says.
#[derive(Clone, Debug, Default)]
pub(super) struct Control {
    /// Its version.
    pub(super) build: String,
    /// Its clock, where it tells.
    pub(super) clock: Option<i64>,
    /// Where proxies connect.
    pub(super) listen: String,
    /// Why nothing takes connections there.
    pub(super) refused: Option<String>,
    /// Rows of `/proxies`.
    pub(super) proxies: Vec<Value>,
    /// Rows of `/resources`, with objects.
    pub(super) resources: Vec<Value>,
    /// Rows of `/services`.
    pub(super) services: Vec<Value>,
    /// Rows of `/workloads`.
    pub(super) workloads: Vec<Value>,
    /// What connected proxies say of themselves.
    pub(super) asked: Vec<Proxy>,
}

/// A connected proxy's own answers; null where it did not answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxy {
    /// `namespace/name`.
    pub(super) workload: String,
    /// Its `/certificates`.
    pub(super) certificates: Value,
    /// Its `/ready`.
    pub(super) ready: Value,
    /// Listeners of its `/config`.
    pub(super) listeners: Vec<Value>,
}
