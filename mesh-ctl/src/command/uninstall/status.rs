//! What the control plane wrote into the status of routes that are others'.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::core::discovery::ApiResource;
use serde_json::{Value, json};

use crate::source::cluster::{Cluster, reason};
use crate::source::json::{list, text};

/// The group of the routes.
const GROUP: &str = "gateway.networking.k8s.io";
/// Who wrote it.
const CONTROLLER: &str = "mesh.dev/control";
/// The kinds that we write to, with their versions.
const ROUTES: [(&str, &str); 4] = [
    ("HTTPRoute", "v1"),
    ("GRPCRoute", "v1"),
    ("TLSRoute", "v1"),
    ("TCPRoute", "v1"),
];

/// Takes our entries out of the status of every route.
pub(crate) async fn clean(cluster: &Cluster) -> anyhow::Result<()> {
    for (kind, version) in ROUTES {
        let resource = resource(kind, version);
        for route in marked(cluster, &resource).await? {
            let metadata = &route["metadata"];
            let client = cluster.client.clone();
            let api: Api<DynamicObject> =
                Api::namespaced_with(client, text(metadata, "namespace"), &resource);
            let rest = json!({ "status": { "parents": others(&route) } });
            let patch = Patch::Merge(rest);
            let parameters = PatchParams::default();
            match api
                .patch_status(text(metadata, "name"), &parameters, &patch)
                .await
            {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(reason(error)),
                Ok(_) => {}
            }
        }
    }
    Ok(())
}

/// Routes whose status still has an entry of ours.
pub(crate) async fn remaining(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for (kind, version) in ROUTES {
        for route in marked(cluster, &resource(kind, version)).await? {
            let metadata = &route["metadata"];
            let (namespace, name) = (text(metadata, "namespace"), text(metadata, "name"));
            found.push(format!("status of {kind} {namespace}/{name}"));
        }
    }
    Ok(found)
}

async fn marked(cluster: &Cluster, resource: &ApiResource) -> anyhow::Result<Vec<Value>> {
    let path = format!(
        "/apis/{}/{}/{}",
        resource.group, resource.version, resource.plural
    );
    let mut routes = cluster.list(&path).await?;
    routes.retain(|route| others(route).len() < list(&route["status"], "parents").len());
    Ok(routes)
}

/// The entries that are not ours.
fn others(route: &Value) -> Vec<&Value> {
    let parents = list(&route["status"], "parents").iter();
    parents
        .filter(|parent| text(parent, "controllerName") != CONTROLLER)
        .collect()
}

fn resource(kind: &str, version: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, version, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_others_stay() {
        let route = json!({"status": {"parents": [
            {"controllerName": "mesh.dev/control"}, {"controllerName": "example.com/gateway"},
        ]}});
        assert_eq!(
            others(&route),
            [&json!({"controllerName": "example.com/gateway"})]
        );
    }
}
