//! Which pods ask for a proxy.

use std::collections::BTreeMap;

use mesh_api::pod::label;
use serde_json::Value;

/// Namespaces whose pods never get a proxy: the cluster's own, and ours.
const NEVER: [&str; 4] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "mesh-system",
];
/// Set by the kubelet on the API server's picture of a pod it runs from a file.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The namespace of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels: opt-in, and Pod Security.
    pub labels: BTreeMap<String, String>,
}

impl Namespace {
    /// True if its pods get a proxy unless they say otherwise.
    pub fn is_opted_in(&self) -> bool {
        self.labels.get(label::INJECT).map(String::as_str) == Some("enabled")
    }
}

/// Why `pod` gets no proxy, if nobody asks for one or it cannot be meant.
pub(super) fn left_alone(pod: &Value, namespace: &Namespace) -> Option<String> {
    if NEVER.contains(&namespace.name.as_str()) {
        return Some(format!(
            "pods of namespace {} never get one",
            namespace.name
        ));
    }
    if pod["metadata"]["annotations"][MIRROR].is_string() {
        return Some("the kubelet runs it from a file, and takes no change".to_owned());
    }
    let inject = label::INJECT;
    match pod["metadata"]["labels"][inject].as_str() {
        Some("disabled") => Some(format!("its label {inject} says disabled")),
        None if !namespace.is_opted_in() => Some(format!(
            "neither it nor its namespace has the label {inject}: enabled"
        )),
        // Another word than these two is refused later.
        Some(_) | None => None,
    }
}
