//! Objects as files declare them: what makes pods counts as the pod that it makes.

use serde_json::{Value, json};

use super::objects::Objects;
use crate::source::json::text;

/// Kinds that make pods, and where they hold the pod.
pub(crate) const HOLDERS: [(&str, &str); 8] = [
    ("Pod", ""),
    ("Deployment", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("ReplicationController", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
];

impl Objects {
    /// The objects of these documents, none of which is a list; what names no namespace is in `place`.
    pub(crate) fn declared<'a>(
        documents: impl IntoIterator<Item = &'a Value>,
        place: &str,
    ) -> Self {
        let mut objects = Self::default();
        for document in documents {
            let mut object = document.clone();
            if !object["metadata"]["namespace"].is_string() && object["metadata"].is_object() {
                object["metadata"]["namespace"] = place.into();
            }
            objects.declare(object);
        }
        objects
    }

    fn declare(&mut self, object: Value) {
        let kind = text(&object, "kind");
        if let Some((_, pointer)) = HOLDERS.iter().find(|(holder, _)| *holder == kind) {
            self.pods.push(pod(&object, pointer));
            return;
        }
        let of_kind = match kind {
            "Namespace" => &mut self.namespaces,
            "Service" => &mut self.services,
            "Ingress" => &mut self.ingresses,
            "HTTPRoute" | "GRPCRoute" => &mut self.routes,
            "NetworkPolicy" => &mut self.policies,
            "ValidatingWebhookConfiguration"
            | "MutatingWebhookConfiguration"
            | "CustomResourceDefinition"
            | "APIService" => &mut self.callers,
            "ServiceMonitor" | "PodMonitor" => &mut self.monitors,
            "MutualTLSPolicy" => &mut self.exceptions,
            _ => return,
        };
        of_kind.push(object);
    }
}

/// The pod that an object makes, by the name of the object.
fn pod(holder: &Value, pointer: &str) -> Value {
    let template = holder.pointer(pointer).unwrap_or(&Value::Null);
    let mut metadata = json!({
        "name": holder["metadata"]["name"],
        "namespace": holder["metadata"]["namespace"],
    });
    for field in ["labels", "annotations"] {
        metadata[field] = template["metadata"][field].clone();
    }
    json!({ "kind": holder["kind"], "metadata": metadata, "spec": template["spec"] })
}
