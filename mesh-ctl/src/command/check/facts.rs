//! What checks look at: plain values, gathered once.

use std::path::PathBuf;

use serde_json::Value;

use crate::adoption::Objects;

/// Everything known at one moment.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// This machine's clock, seconds since the epoch.
    pub(super) now: i64,
    /// The version of this binary.
    pub(super) build: String,
    /// The state folder; none of a mesh in a cluster.
    pub(super) state: Option<State>,
    /// The certificates that the control plane keeps in the state folder.
    pub(super) authority: Authority,
    /// The control plane, or why it does not answer.
    pub(super) control: Result<Control, String>,
    /// The cluster; none of a mesh on this machine.
    pub(super) cluster: Option<Cluster>,
}

/// A Kubernetes cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct Cluster {
    /// Its version, major and minor.
    pub(super) version: (String, String),
    /// What these credentials lack to install a mesh, one line each; `None` if not asked.
    pub(super) missing_rights: Option<Vec<String>>,
    /// What may be in the mesh, and what calls it.
    pub(super) objects: Objects,
    /// Every definition of a custom resource, metadata and versions.
    pub(super) definitions: Vec<Value>,
    /// The settings of Cilium, where it is the network.
    pub(super) cilium: Option<Value>,
    /// What an installation of the mesh wrote about itself: its version.
    pub(super) installed: Option<String>,
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
    /// Whether something takes connections there, or why not; `None` if that cannot be tried from
    /// here.
    pub(super) takes: Option<Result<(), String>>,
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
