//! Pods that still run an older sidecar, by what restarts them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::render::{count, lines};
use crate::source::cluster::Cluster;
use crate::source::json::{self, list};

/// What restarts pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    namespace: String,
    kind: String,
    name: String,
}

/// Pods with a sidecar of another version: how many by each owner.
pub(crate) async fn find(cluster: &Cluster) -> anyhow::Result<BTreeMap<Owner, usize>> {
    let path = "/api/v1/pods?labelSelector=mesh.dev/proxy%3Dsidecar";
    Ok(by_owner(&cluster.list(path).await?, mesh_api::version()))
}

/// The commands that restart them.
pub(crate) fn text(stale: &BTreeMap<Owner, usize>) -> String {
    let all: usize = stale.values().sum();
    let mut text = format!(
        "{} still with an older sidecar. It goes on to work; restart to renew it:\n",
        count(all, "pod")
    );
    text.push_str(&lines(stale.iter().map(|(owner, pods)| {
        let Owner {
            namespace,
            kind,
            name,
        } = owner;
        match kind.as_str() {
            "pod" => {
                format!("  kubectl delete pod -n {namespace} {name}     # it has no controller")
            }
            "job" => format!("  job {namespace}/{name}: ends by itself"),
            _ => format!(
                "  kubectl rollout restart -n {namespace} {kind}/{name}     # {}",
                count(*pods, "pod")
            ),
        }
    })));
    text.trim_end().to_owned()
}

fn by_owner(pods: &[Value], version: &str) -> BTreeMap<Owner, usize> {
    let mut owners = BTreeMap::new();
    for pod in pods {
        let metadata = &pod["metadata"];
        if text_of(metadata, "annotations", "mesh.dev/version") == version {
            continue;
        }
        *owners.entry(owner(metadata)).or_default() += 1;
    }
    owners
}

/// The object to restart: a ReplicaSet is a Deployment's, whose name it has before the hash.
fn owner(metadata: &Value) -> Owner {
    let namespace = field(metadata, "namespace");
    let controller = list(metadata, "ownerReferences")
        .iter()
        .find(|owner| owner["controller"] == true);
    let (kind, name) = match controller {
        None => ("pod".to_owned(), field(metadata, "name")),
        Some(owner) if owner["kind"] == "ReplicaSet" => {
            let set = field(owner, "name");
            let hash = text_of(metadata, "labels", "pod-template-hash");
            let deployment = set
                .strip_suffix(hash)
                .and_then(|name| name.strip_suffix('-'));
            (
                "deployment".to_owned(),
                deployment.unwrap_or(&set).to_owned(),
            )
        }
        Some(owner) => (field(owner, "kind").to_lowercase(), field(owner, "name")),
    };
    Owner {
        namespace,
        kind,
        name,
    }
}

fn field(value: &Value, name: &str) -> String {
    json::text(value, name).to_owned()
}

/// A label or an annotation.
fn text_of<'a>(metadata: &'a Value, map: &str, key: &str) -> &'a str {
    json::text(&metadata[map], key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_grouped_by_what_restarts_them() {
        let pod = |version: &str, kind: &str, name: &str| {
            json!({"metadata": {
                "name": "p", "namespace": "n",
                "annotations": {"mesh.dev/version": version},
                "labels": {"pod-template-hash": "abc"},
                "ownerReferences": [{"controller": true, "kind": kind, "name": name}],
            }})
        };
        let pods = [
            pod("1", "ReplicaSet", "shop-abc"),
            pod("1", "ReplicaSet", "shop-abc"),
            pod("2", "ReplicaSet", "new-abc"),
            pod("1", "StatefulSet", "db"),
            json!({"metadata": {"name": "alone", "namespace": "n"}}),
        ];
        let text = text(&by_owner(&pods, "2"));
        assert_eq!(
            text,
            "4 pods still with an older sidecar. It goes on to work; restart to renew it:\n  \
             kubectl rollout restart -n n deployment/shop     # 2 pods\n  \
             kubectl delete pod -n n alone     # it has no controller\n  \
             kubectl rollout restart -n n statefulset/db     # 1 pod"
        );
    }
}
