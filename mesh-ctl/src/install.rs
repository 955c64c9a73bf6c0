//! The mesh as objects of a Kubernetes cluster: values in, an ordered list of objects out.
//!
//! Pure. Objects are written once, as [`template::Template`]s with holes for values; `render`
//! fills the holes for `meshctl install`, and `helm` prints the same templates as a Helm chart.
//! May use nothing of this crate.

pub(crate) mod cni;
pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod crd;
pub(crate) mod helm;
pub(crate) mod object;
pub(crate) mod page;
pub(crate) mod rbac;
pub(crate) mod record;
pub(crate) mod set;
pub(crate) mod template;
pub(crate) mod values;
pub(crate) mod webhook;

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use object::Object;
use template::Template;
use values::Values;

/// The namespace that everything of the mesh lives in.
pub(crate) const NAMESPACE: &str = "mesh-system";
/// The name of the control plane's Deployment, Service and ServiceAccount.
pub(crate) const CONTROL: &str = "mesh-control";

/// Every object of the mesh, in the order to create them.
pub(crate) fn templates() -> Vec<Template> {
    let mut all = vec![namespace()];
    all.extend(crd::all());
    all.extend(rbac::all());
    all.extend(config::all());
    all.extend(control::all());
    all.extend(cni::all());
    all.extend(webhook::all());
    all.push(record::template());
    all
}

/// The objects for `values`, in the order to create them.
pub(crate) fn render(values: &Values) -> Vec<Object> {
    let values = values.tree();
    templates()
        .iter()
        .filter_map(|template| template.fill(&values))
        .map(Object::new)
        .collect()
}

/// Labels of every object: what `meshctl uninstall` finds them by.
pub(crate) fn labels(component: &str) -> Value {
    json!({
        "app.kubernetes.io/name": component,
        "app.kubernetes.io/part-of": "mesh",
        "app.kubernetes.io/managed-by": "meshctl",
        "app.kubernetes.io/version": mesh_api::version(),
    })
}

/// The metadata of a namespaced object of ours.
fn metadata(name: &str, component: &str) -> Value {
    json!({ "name": name, "namespace": NAMESPACE, "labels": labels(component) })
}

/// The metadata of a cluster-scoped object of ours.
fn cluster_metadata(name: &str, component: &str) -> Value {
    json!({ "name": name, "labels": labels(component) })
}

/// Our own namespace. The CNI plug-in needs the host, and `restricted` forbids that.
fn namespace() -> Template {
    let mut metadata = cluster_metadata(NAMESPACE, "mesh");
    metadata["labels"]["pod-security.kubernetes.io/enforce"] =
        json!("${cni.enabled?privileged:restricted}");
    metadata["labels"]["mesh.dev/inject"] = json!("disabled");
    Template::always(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
}
