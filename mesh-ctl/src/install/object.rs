//! One rendered object, and what names it. May use nothing of this crate.

use std::fmt;

use kube::core::GroupVersionKind;
use kube::core::discovery::ApiResource;
use serde::Serialize;
use serde_json::Value;

/// An object as it is applied.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub(crate) struct Object(Value);

impl Object {
    /// The object that `body` describes.
    pub(crate) fn new(body: Value) -> Self {
        Self(body)
    }

    /// Its fields.
    pub(crate) fn body(&self) -> &Value {
        &self.0
    }

    /// Its kind.
    pub(crate) fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or_default()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Its namespace; `None` if it belongs to the cluster.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.0["metadata"]["namespace"].as_str()
    }

    /// The resource of the API server that it is one of.
    pub(crate) fn resource(&self) -> ApiResource {
        let version = self.0["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, self.kind()))
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_knows_its_resource() {
        for (version, kind, expected) in [
            ("v1", "Namespace", ("", "v1", "namespaces")),
            ("apps/v1", "Deployment", ("apps", "v1", "deployments")),
            (
                "policy/v1",
                "PodDisruptionBudget",
                ("policy", "v1", "poddisruptionbudgets"),
            ),
        ] {
            let object = Object::new(json!({"apiVersion": version, "kind": kind}));
            let found = object.resource();
            let found = (&*found.group, &*found.version, &*found.plural);
            assert_eq!(found, expected);
        }
    }
}
