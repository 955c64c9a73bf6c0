//! Settings of injection: of the whole installation, kept in a ConfigMap.

use std::path::Path;

use mesh_api::pod::Exclusions;
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What every proxy is like, where its pod does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Image of the proxy.
    pub image: String,
    /// When the image is pulled.
    pub image_pull_policy: String,
    /// Who writes the rules of capture.
    pub mode: Mode,
    /// Where proxies find the control plane, `host:port`.
    pub control: String,
    /// What is asked for the proxy.
    pub resources: Resources,
    /// What the proxy logs.
    pub log_level: String,
    /// Whether the proxy writes a line for each exchange.
    pub access_log: bool,
    /// Longest time for open connections to end.
    pub drain_seconds: u64,
    /// How long an app that names no `preStop` hook of its own goes on serving after its pod is told
    /// to end, while callers learn of it; 0: not at all. Needs Kubernetes 1.30.
    pub app_stop_delay_seconds: u64,
    /// Worker threads of the proxy; absent: as many as it has processors, at most two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<u32>,
    /// Not captured in any pod.
    pub exclude: Exclusions,
}

/// Who writes the rules of capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// An init container of the pod.
    #[default]
    Init,
    /// The CNI plug-in of the node.
    Cni,
}

/// What is asked for a proxy, in Kubernetes' notation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Resources {
    /// Processor time.
    pub cpu: String,
    /// Memory.
    pub memory: String,
    /// Most memory; absent: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            image: format!("mesh.dev/mesh-proxy:{}", mesh_api::version()),
            image_pull_policy: "IfNotPresent".to_owned(),
            mode: Mode::default(),
            control: "mesh-control.mesh-system.svc:15012".to_owned(),
            resources: Resources::default(),
            log_level: "info".to_owned(),
            access_log: false,
            drain_seconds: 30,
            app_stop_delay_seconds: 2,
            workers: None,
            exclude: Exclusions::default(),
        }
    }
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu: "10m".to_owned(),
            memory: "32Mi".to_owned(),
            memory_limit: None,
        }
    }
}

impl Settings {
    /// Reads a file of JSON.
    ///
    /// # Errors
    /// It cannot be read, or is no settings.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(Error::io("read", path))?;
        serde_json::from_slice(&text)
            .map_err(|error| Error::Bootstrap(format!("{}: {error}", path.display())))
    }
}
