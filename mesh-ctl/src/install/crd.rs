//! The definitions of our kinds. May use nothing of this crate.

use serde_json::{Value, json};

use super::labels;
use super::template::Template;

/// Every definition, in the order of their names.
pub(crate) fn all() -> Vec<Template> {
    [("Mesh", "meshes"), ("Workload", "workloads"), ("TrafficPolicy", "trafficpolicies"), ("MutualTLSPolicy", "mutualtlspolicies")]
        .iter()
        .map(|(kind, plural)| {
            let scope = if *kind == "Mesh" { "Cluster" } else { "Namespaced" };
            Template::always(json!({
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": { "name": format!("{plural}.mesh.dev"), "labels": labels("mesh") },
                "spec": {
                    "group": "mesh.dev", "scope": scope,
                    "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
                    "versions": [{
                        "name": "v1alpha1", "served": true, "storage": true,
                        "subresources": { "status": {} },
                        "schema": { "openAPIV3Schema": Value::from_iter([("type", json!("object")), ("x-kubernetes-preserve-unknown-fields", json!(true))]) },
                    }],
                },
            }))
        })
        .collect()
}
