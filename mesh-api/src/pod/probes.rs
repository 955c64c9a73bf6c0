//! The kubelet's probes of a pod's containers, as the proxy relays them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Probes by container and kind: all that the relay calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Probes(pub BTreeMap<String, BTreeMap<ProbeKind, Probe>>);

/// What the kubelet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeKind {
    /// Whether to restart the container.
    Liveness,
    /// Whether to send it traffic.
    Readiness,
    /// Whether it has started.
    Startup,
    /// Tells it that it has started.
    PostStart,
    /// Tells it that it will be stopped.
    PreStop,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// How long it may take.
    #[serde(default = "one_second")]
    pub timeout_seconds: u32,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// A GET whose status tells.
    HttpGet(HttpProbe),
    /// A connection.
    TcpSocket {
        /// Where to.
        port: u16,
    },
    /// The call `grpc.health.v1.Health/Check`.
    Grpc(GrpcProbe),
}

/// A probe by HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpProbe {
    /// The container's port.
    pub port: u16,
    /// Path and query.
    #[serde(default = "root")]
    pub path: String,
    /// Plain or not; a certificate is not checked, as the kubelet does not.
    #[serde(default)]
    pub scheme: Scheme,
    /// Header fields to send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_headers: Vec<HttpHeader>,
}

/// Of a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// Plain.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

/// A field of a head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

/// A probe by gRPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrpcProbe {
    /// The container's port.
    pub port: u16,
    /// Whose health; empty: the server's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
}

impl Probes {
    /// The probe that `path` of the relay stands for.
    pub fn find(&self, path: &str) -> Option<&Probe> {
        let (container, kind) = path.strip_prefix(PATH)?.split_once('/')?;
        let probes = self.0.get(container)?;
        let mut all = probes.iter();
        all.find_map(|(known, probe)| (known.as_str() == kind).then_some(probe))
    }
}

impl ProbeKind {
    /// As in a path of the relay.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Startup => "startup",
            Self::PostStart => "postStart",
            Self::PreStop => "preStop",
        }
    }

    /// Where the relay, on [`super::OBSERVE_PORT`], answers for a container.
    pub fn path(self, container: &str) -> String {
        format!("{PATH}{container}/{}", self.as_str())
    }
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where paths of the relay start.
const PATH: &str = "/probe/";

fn root() -> String {
    "/".to_owned()
}

fn one_second() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_found_by_their_path() {
        let text = r#"{"app":{"liveness":{"grpc":{"port":9}},"readiness":{"httpGet":{"path":"/ready","port":8080},"timeoutSeconds":3}}}"#;
        let probes: Probes = serde_json::from_str(text).unwrap();
        let found = probes.find(&ProbeKind::Readiness.path("app")).unwrap();
        assert_eq!(found.timeout_seconds, 3);
        let grpc = probes.find("/probe/app/liveness").unwrap();
        assert_eq!(grpc.timeout_seconds, 1);
        for none in [
            "/probe/app/startup",
            "/probe/other/liveness",
            "/probe/app",
            "/ready",
        ] {
            assert!(probes.find(none).is_none(), "{none}");
        }
        let again = serde_json::to_string(&probes).unwrap();
        assert_eq!(serde_json::from_str::<Probes>(&again).unwrap(), probes);
    }
}
