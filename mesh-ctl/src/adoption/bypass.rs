//! Pods that a namespace meant to have in the mesh, and that are not.

use serde_json::Value;

use super::Breakage;
use super::objects::{Objects, has_sidecar, namespace, on_host, owner, unique};
use crate::source::json::text;

/// Pods on the network of their node: they cannot have a sidecar.
pub(crate) fn host_network(objects: &Objects) -> Vec<Breakage> {
    let is_meant = |pod: &&Value| objects.is_opted_in(pod) && on_host(pod) && is_alive(pod);
    let owners = unique(objects.pods.iter().filter(is_meant).map(owner));
    let breakage = |owner: &String| {
        Breakage {
        what: format!("{owner} asks for a sidecar and is on the network of its node"),
        cause: "capture would redirect the whole node: it gets no sidecar, calls in plaintext, and \
                strict workloads refuse it; a new pod of it is refused"
            .to_owned(),
        fix: "label its pods mesh.dev/inject: disabled; for what it calls, a MutualTLSPolicy of mode \
              Permissive with `until`, or run it without hostNetwork"
            .to_owned(),
    }
    };
    owners.iter().map(breakage).collect()
}

/// Pods that were started before their namespace opted in.
pub(crate) fn started_before(objects: &Objects) -> Vec<Breakage> {
    // Of a namespace that is only looked at as if, every pod did.
    let is_adopted = |pod: &Value| objects.adopted.iter().any(|one| one == namespace(pod));
    let is_meant = |pod: &&Value| {
        objects.is_opted_in(pod)
            && !is_adopted(pod)
            && !has_sidecar(pod)
            && !on_host(pod)
            && is_alive(pod)
    };
    let mut found = Vec::new();
    for owner in unique(objects.pods.iter().filter(is_meant).map(owner)) {
        let (kind, name) = owner.split_once(' ').unwrap_or_default();
        let (place, bare) = name.split_once('/').unwrap_or_default();
        let restart = match kind {
            "Deployment" | "StatefulSet" | "DaemonSet" => {
                format!(
                    "kubectl rollout restart -n {place} {}/{bare}",
                    kind.to_lowercase()
                )
            }
            "Job" => "it ends by itself; its next run has one".to_owned(),
            _ => format!("start it anew: kubectl delete pod -n {place} {bare}"),
        };
        found.push(Breakage {
            what: format!("{owner} runs without a sidecar in a namespace that opted in"),
            cause:
                "it started before that: it calls in plaintext, which strict workloads refuse, and \
                    is called in plaintext"
                    .to_owned(),
            fix: restart,
        });
    }
    found
}

/// A pod that ended does not count.
fn is_alive(pod: &Value) -> bool {
    !matches!(text(&pod["status"], "phase"), "Succeeded" | "Failed")
        && namespace(pod) != "mesh-system"
}
