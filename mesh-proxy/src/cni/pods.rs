//! The pods of a node: which of them want rules, which miss them, and where their networks are.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use mesh_api::pod::{Exclusions, INIT_CONTAINER, PROXY_CONTAINER, label};
use serde::Deserialize;

/// Most bytes read of a process's list of groups.
const MAX_GROUPS: u64 = 16 * 1024;

/// A list of the API server.
#[derive(Debug, Deserialize)]
pub(super) struct PodList {
    #[serde(default)]
    pub(super) items: Vec<Pod>,
}

/// What matters here of a pod.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Metadata,
    spec: Spec,
    status: Status,
}

/// What names it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: String,
    uid: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    host_network: bool,
    init_containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    name: String,
    ready: bool,
}

impl Pod {
    /// What is not captured of it; `None` for a pod that wants no rules from the node.
    pub(super) fn wants(&self) -> Option<Result<Exclusions, String>> {
        let has = |name: &str| self.spec.init_containers.iter().any(|one| one.name == name);
        let is_meshed =
            self.metadata.labels.get(label::PROXY).map(String::as_str) == Some("sidecar");
        if !is_meshed || self.spec.host_network || !has(PROXY_CONTAINER) || has(INIT_CONTAINER) {
            return None;
        }
        let read = Exclusions::of(&self.metadata.annotations);
        Some(read.map_err(|faults| {
            let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
            texts.join("; ")
        }))
    }

    /// True if it runs and its proxy is not ready: its rules may be missing.
    pub(super) fn may_miss_rules(&self) -> bool {
        let mut statuses = self.status.init_container_statuses.iter();
        let is_ready = statuses.any(|one| one.name == PROXY_CONTAINER && one.ready);
        !is_ready && matches!(self.status.phase.as_str(), "Pending" | "Running")
    }

    /// A handle of its network, by one of its processes.
    pub(super) fn network(&self) -> Option<PathBuf> {
        if self.metadata.uid.is_empty() {
            return None;
        }
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut folders = processes.map(|entry| entry.path());
        let own = folders.find(|folder| {
            let is_process = folder
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit));
            is_process && self.holds(&groups(folder))
        });
        own.map(|folder| folder.join("ns/net"))
    }

    /// True if `groups`, of a process, are the pod's: the kubelet names them by its UID.
    fn holds(&self, groups: &str) -> bool {
        let uid = &self.metadata.uid;
        groups.contains(&format!("pod{uid}"))
            || groups.contains(&format!("pod{}", uid.replace('-', "_")))
    }
}

fn groups(folder: &std::path::Path) -> String {
    let mut text = String::new();
    if let Ok(file) = fs::File::open(folder.join("cgroup")) {
        // A process that ends meanwhile has none.
        file.take(MAX_GROUPS)
            .read_to_string(&mut text)
            .unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> Pod {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn only_meshed_pods_without_an_init_container_want_rules() {
        let meshed = r#"{"metadata":{"labels":{"mesh.dev/proxy":"sidecar"},"annotations":{"mesh.dev/exclude-outbound-ports":"53"}},
            "spec":{"initContainers":[{"name":"mesh-proxy"}]},
            "status":{"phase":"Running","initContainerStatuses":[{"name":"mesh-proxy","ready":false}]}}"#;
        let wanted = pod(meshed).wants().unwrap().unwrap();
        assert_eq!(wanted.outbound_ports, [53]);
        assert!(pod(meshed).may_miss_rules());
        assert!(!pod(&meshed.replace("false", "true")).may_miss_rules());
        assert!(!pod(&meshed.replace("Running", "Succeeded")).may_miss_rules());
        assert!(pod(&meshed.replace("sidecar", "gateway")).wants().is_none());
        let with_init = meshed.replace(
            r#"[{"name":"mesh-proxy"}]"#,
            r#"[{"name":"mesh-init"},{"name":"mesh-proxy"}]"#,
        );
        assert!(pod(&with_init).wants().is_none());
        assert!(
            pod(&meshed.replace("\"53\"", "\"x\""))
                .wants()
                .unwrap()
                .is_err()
        );
    }

    #[test]
    fn a_pods_processes_are_told_by_their_groups() {
        let pod = pod(r#"{"metadata":{"uid":"12-ab"}}"#);
        assert!(pod.holds("0::/kubepods.slice/kubepods-pod12_ab.slice/cri-x.scope"));
        assert!(pod.holds("4:memory:/kubepods/burstable/pod12-ab/x"));
        assert!(!pod.holds("0::/kubepods/pod12-ac/x"));
    }
}
