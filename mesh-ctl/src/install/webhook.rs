//! Admission: injection and validation. Their certificate bundle is patched by the control plane.
//! May use nothing of this crate.

use serde_json::{Value, json};

use super::template::Template;
use super::{CONTROL, NAMESPACE, cluster_metadata};

/// The name of the configuration of injection.
pub(crate) const INJECTOR: &str = "mesh-injector";
/// The name of the configuration of validation.
pub(crate) const VALIDATOR: &str = "mesh-validator";
/// The label that opts a namespace or a pod in, or out.
pub(crate) const LABEL: &str = "mesh.dev/inject";

/// Both configurations.
pub(crate) fn all() -> Vec<Template> {
    [validator(), injector()]
        .into_iter()
        .map(Template::always)
        .collect()
}

/// Two entries, so that a pod is asked about once: those of a namespace that opted in, and those
/// that opted in by themselves elsewhere. Who opted in waits for the mesh; nobody else does.
fn injector() -> Value {
    let opted_in = json!([outside(), { "key": LABEL, "operator": "In", "values": ["enabled"] }]);
    let not_opted_in =
        json!([outside(), { "key": LABEL, "operator": "NotIn", "values": ["enabled"] }]);
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": cluster_metadata(INJECTOR, CONTROL),
        "webhooks": [
            inject(
                "namespace.mesh.dev",
                &opted_in,
                &json!([{ "key": LABEL, "operator": "NotIn", "values": ["disabled"] }]),
            ),
            inject(
                "pod.mesh.dev",
                &not_opted_in,
                &json!([{ "key": LABEL, "operator": "In", "values": ["enabled"] }]),
            ),
        ],
    })
}

fn inject(name: &str, namespaces: &Value, pods: &Value) -> Value {
    let mut entry = entry(name, "/inject", "Fail");
    entry["namespaceSelector"] = json!({ "matchExpressions": namespaces });
    entry["objectSelector"] = json!({ "matchExpressions": pods });
    // Another webhook may add containers after ours: their probes must be seen as well.
    entry["reinvocationPolicy"] = "IfNeeded".into();
    entry["rules"] = json!([{
        "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
        "operations": ["CREATE"], "scope": "Namespaced",
    }]);
    entry
}

/// Our own kinds are refused while nobody can check them; those of others are never held up.
fn validator() -> Value {
    let mut own = entry("own.mesh.dev", "/validate", "Fail");
    own["rules"] = json!([{
        "apiGroups": ["mesh.dev"], "apiVersions": ["*"], "resources": ["*"],
        "operations": ["CREATE", "UPDATE"], "scope": "*",
    }]);
    let mut gateway = entry("gateway.mesh.dev", "/validate", "Ignore");
    gateway["rules"] = json!([{
        "apiGroups": ["gateway.networking.k8s.io"],
        "apiVersions": ["*"],
        "resources": ["httproutes", "grpcroutes", "tcproutes", "tlsroutes"],
        "operations": ["CREATE", "UPDATE"],
        "scope": "Namespaced",
    }]);
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": cluster_metadata(VALIDATOR, CONTROL),
        "webhooks": [own, gateway],
    })
}

fn entry(name: &str, path: &str, failure: &str) -> Value {
    json!({
        "name": name,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": failure,
        "matchPolicy": "Equivalent",
        "timeoutSeconds": "${webhook.timeoutSeconds}",
        "clientConfig": { "service": {
            "name": CONTROL, "namespace": NAMESPACE, "path": path, "port": 443,
        } },
    })
}

/// Never the cluster's own pods, nor ours: they must start without the mesh.
fn outside() -> Value {
    json!({
        "key": "kubernetes.io/metadata.name",
        "operator": "NotIn",
        "values": ["kube-system", NAMESPACE],
    })
}
