//! One object of the API server, whatever its shape, and what the index keeps of it.
//!
//! The envelope is all that a watch needs, so an object of a shape that is not known never stops a
//! watch: it becomes that object's fault. May use `index`.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ApiResource, DynamicResourceScope};
use mesh_api::error::Invalid;
use mesh_api::name::ObjectName;
use mesh_api::resource::{Kind, Resource, ResourceKey};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::index::{ObjectChange, ObjectState};

/// An object as it came, and the part of its metadata that a watch goes on by.
#[derive(Clone, Debug)]
pub(super) struct Object {
    metadata: ObjectMeta,
    value: Value,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        let text = |field: &str| {
            let field = value.get("metadata")?.get(field)?;
            Some(field.as_str()?.to_owned())
        };
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, value })
    }
}

impl kube::Resource for Object {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Object {
    /// `namespace/name`, or the name.
    pub(super) fn name(&self) -> String {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        match &self.metadata.namespace {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        }
    }

    /// The texts of a list of the object's spec.
    pub(super) fn list(&self, field: &str) -> Vec<&str> {
        let list = self.value.get("spec").and_then(|spec| spec.get(field));
        let texts = list.and_then(Value::as_array).into_iter().flatten();
        texts.filter_map(Value::as_str).collect()
    }

    /// The object as a type of its own.
    pub(super) fn decode<T: serde::de::DeserializeOwned>(self) -> serde_json::Result<T> {
        serde_json::from_value(self.value)
    }

    /// The change that its presence is; `None` if its name is none of ours.
    pub(super) fn present(self, kind: Kind) -> Option<ObjectChange> {
        let key = self.key(kind)?;
        let state = match read(kind, self.value) {
            Ok(resource) => ObjectState::Present(Box::new(resource)),
            Err(fault) => ObjectState::Unreadable(fault),
        };
        Some(ObjectChange { key, state })
    }

    /// The change that its absence is.
    pub(super) fn absent(&self, kind: Kind) -> Option<ObjectChange> {
        Some(ObjectChange {
            key: self.key(kind)?,
            state: ObjectState::Absent,
        })
    }

    fn key(&self, kind: Kind) -> Option<ResourceKey> {
        let name = self.metadata.name.as_deref()?.parse().ok()?;
        if !kind.is_namespaced() {
            return Some(ResourceKey {
                kind,
                namespace: None,
                name,
            });
        }
        let namespace = self.metadata.namespace.as_deref()?.parse().ok()?;
        Some(ResourceKey::namespaced(
            kind,
            ObjectName::new(namespace, name),
        ))
    }
}

/// Reads what the index keeps. Lists leave `apiVersion` and `kind` out, and what changes without
/// meaning is dropped, so that an object that says the same is the same.
fn read(kind: Kind, mut value: Value) -> Result<Resource, Invalid> {
    if let Some(object) = value.as_object_mut() {
        object.insert("apiVersion".into(), kind.api_version().into());
        object.insert("kind".into(), kind.as_str().into());
        if !has_status(kind) {
            object.remove("status");
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in [
                "managedFields",
                "resourceVersion",
                "selfLink",
                "ownerReferences",
            ] {
                metadata.remove(field);
            }
            if !keeps_annotations(kind) {
                metadata.remove("annotations");
            } else if let Some(annotations) = metadata.get_mut("annotations") {
                let annotations = annotations.as_object_mut();
                annotations.map(|map| map.remove(LAST_APPLIED));
            }
        }
    }
    Resource::from_value(value)
}

/// Of these the index reads what others say of them; of our own kinds the writer of status compares.
fn has_status(kind: Kind) -> bool {
    !matches!(kind, Kind::Namespace | Kind::Service | Kind::EndpointSlice)
}

fn keeps_annotations(kind: Kind) -> bool {
    !matches!(kind, Kind::EndpointSlice | Kind::Pod)
}

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn an_object_of_a_wrong_shape_is_its_own_fault() {
        let good = json!({
            "metadata": {"name": "a", "namespace": "demo", "resourceVersion": "7"},
            "spec": {"ports": [{"port": 80}]},
        });
        let mut later = good.clone();
        later["metadata"]["resourceVersion"] = "8".into();
        later["status"] = json!({"loadBalancer": {}});
        let state = |value| object(value).present(Kind::Service).unwrap().state;
        let before = state(good.clone());
        assert!(matches!(before, ObjectState::Present(_)));
        assert_eq!(before, state(later), "nothing that means anything changed");
        let mut bad = good;
        bad["spec"]["ports"] = json!("none");
        let ObjectState::Unreadable(fault) = state(bad) else {
            panic!("is readable");
        };
        assert!(fault.to_string().contains("invalid type"), "{fault}");
        let nameless = object(json!({"metadata": {}}));
        assert!(nameless.present(Kind::Service).is_none());
    }
}
