//! What injection and the proxy in a pod agree on: names, ports, and the texts that travel from one
//! to the other. May use `error` and `name`.

mod exclusions;
mod probes;

pub use exclusions::{Exclusions, range};
pub use ipnet::IpNet;
pub use probes::{Action, GrpcProbe, HttpHeader, HttpProbe, Probe, ProbeKind, Probes, Scheme};

/// User and group of the proxy in a pod: nobody else's, for its traffic is not captured.
pub const PROXY_UID: u32 = 15008;
/// What a pod dials is redirected here.
pub const OUTBOUND_PORT: u16 = 15001;
/// Dialled by the proxy itself, on loopback only, to see whether it is redirected.
pub const CHECK_PORT: u16 = 15003;
/// What others dial at a pod is redirected here.
pub const INBOUND_PORT: u16 = 15006;
/// Tunnels.
pub const TUNNEL_PORT: u16 = 15008;
/// Metrics, readiness, and the relay of the kubelet's probes.
pub const OBSERVE_PORT: u16 = 15020;
/// Ports of a pod that are the proxy's.
pub const RESERVED_PORTS: [u16; 5] = [
    OUTBOUND_PORT,
    CHECK_PORT,
    INBOUND_PORT,
    TUNNEL_PORT,
    OBSERVE_PORT,
];

/// The container that writes the rules of capture, and ends.
pub const INIT_CONTAINER: &str = "mesh-init";
/// The proxy's container.
pub const PROXY_CONTAINER: &str = "mesh-proxy";

/// Audience of the token that a pod joins with.
pub const TOKEN_AUDIENCE: &str = "mesh.dev/control";
/// Where the kubelet keeps that token.
pub const TOKEN_FOLDER: &str = "/var/run/secrets/mesh.dev/token";
/// Its file there.
pub const TOKEN_FILE: &str = "token";
/// In memory: the identity's folder and the admin socket.
pub const MEMORY_FOLDER: &str = "/run/mesh";
/// The last good configuration.
pub const STATE_FOLDER: &str = "/var/lib/mesh";

/// Labels, of pods and namespaces.
pub mod label {
    /// `enabled` or `disabled`; of a pod before that of its namespace.
    pub const INJECT: &str = "mesh.dev/inject";
    /// `sidecar` once a proxy was added.
    pub const PROXY: &str = "mesh.dev/proxy";
}

/// Annotations of pods.
pub mod annotation {
    /// The version that injected.
    pub const VERSION: &str = "mesh.dev/version";
    /// Ports dialled past the proxy, as a comma list.
    pub const EXCLUDE_OUTBOUND_PORTS: &str = "mesh.dev/exclude-outbound-ports";
    /// Ports reached past the proxy, as a comma list.
    pub const EXCLUDE_INBOUND_PORTS: &str = "mesh.dev/exclude-inbound-ports";
    /// Addresses dialled past the proxy, as a comma list of CIDRs.
    pub const EXCLUDE_OUTBOUND_CIDRS: &str = "mesh.dev/exclude-outbound-cidrs";
    /// Probes as they were before the relay stood in for them, as JSON.
    pub const PROBES: &str = "mesh.dev/probes";
    /// Processor time asked for the proxy.
    pub const PROXY_CPU: &str = "mesh.dev/proxy-cpu";
    /// Memory asked for the proxy.
    pub const PROXY_MEMORY: &str = "mesh.dev/proxy-memory";
    /// What the proxy logs.
    pub const LOG_LEVEL: &str = "mesh.dev/log-level";
    /// Whether the proxy writes a line for each exchange: `true` or `false`.
    pub const ACCESS_LOG: &str = "mesh.dev/access-log";
    /// How long the proxy's open connections may take to end.
    pub const DRAIN: &str = "mesh.dev/drain";
}

/// Environment of the proxy in a pod.
pub mod env {
    /// Name of the pod.
    pub const POD_NAME: &str = "MESH_POD_NAME";
    /// Its namespace.
    pub const POD_NAMESPACE: &str = "MESH_POD_NAMESPACE";
    /// Its service account.
    pub const SERVICE_ACCOUNT: &str = "MESH_SERVICE_ACCOUNT";
    /// Its addresses, as a comma list.
    pub const POD_IPS: &str = "MESH_POD_IPS";
    /// Where the control plane listens.
    pub const CONTROL: &str = "MESH_CONTROL";
    /// SHA-256 of the trusted roots, hexadecimal, as a comma list.
    pub const ROOT_HASHES: &str = "MESH_ROOT_HASHES";
    /// Probes to relay, as JSON.
    pub const PROBES: &str = "MESH_PROBES";
    /// How long open connections may take to end.
    pub const DRAIN_SECONDS: &str = "MESH_DRAIN_SECONDS";
    /// What is logged.
    pub const LOG: &str = "MESH_LOG";
    /// Whether a line is written for each exchange: `true` or `false`.
    pub const ACCESS_LOG: &str = "MESH_ACCESS_LOG";
    /// Worker threads.
    pub const WORKERS: &str = "MESH_WORKERS";
}
