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

    /// The object as it came.
    pub(super) fn into_value(self) -> Value {
        self.value
    }

    /// The object as a type of its own.
    pub(super) fn decode<T: serde::de::DeserializeOwned>(self) -> serde_json::Result<T> {
        serde_json::from_value(self.value)
    }

    /// The change that its presence is; `None` if its name is none of ours.
    pub(super) fn present(self, kind: Kind) -> Option<ObjectChange> {
        let key = self.key(kind)?;
        let outline = outline(&self.value);
        let state = match read(kind, self.value) {
            Ok(resource) => ObjectState::Present(Box::new(resource)),
            Err(fault) => ObjectState::Unreadable(fault, outline),
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
            let status = object.remove("status");
            let balanced = status.and_then(balancer).filter(|_| kind == Kind::Service);
            object.extend(balanced.map(|status| ("status".to_owned(), status)));
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

/// The part of a Service's status that means something to the mesh: where its load balancer answers.
fn balancer(mut status: Value) -> Option<Value> {
    let ingress = status.get_mut("loadBalancer")?.get_mut("ingress")?.take();
    let has_any = ingress.as_array().is_some_and(|list| !list.is_empty());
    has_any.then(|| serde_json::json!({ "loadBalancer": { "ingress": ingress } }))
}

/// What the status of an object needs of it.
fn outline(value: &Value) -> Value {
    let of = |section: &str, field: &str| value.get(section)?.get(field).cloned();
    let metadata = ["name", "namespace", "generation"].map(|field| (field, of("metadata", field)));
    let spec = ["parentRefs", "targetRefs"].map(|field| (field, of("spec", field)));
    let object = |fields: Vec<(&str, Option<Value>)>| -> Value {
        let present = fields.into_iter();
        let present = present.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(present.collect())
    };
    let whole = vec![
        ("metadata", Some(object(metadata.to_vec()))),
        ("spec", Some(object(spec.to_vec()))),
        ("status", value.get("status").cloned()),
    ];
    object(whole)
}

/// Of pods the index reads it; of what we write status of, the writer compares.
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
        assert_eq!(
            before,
            state(later.clone()),
            "nothing that means anything changed"
        );
        later["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
        assert_ne!(before, state(later), "an address is something");
        let mut bad = good;
        bad["spec"]["ports"] = json!("none");
        let ObjectState::Unreadable(fault, _) = state(bad) else {
            panic!("is readable");
        };
        assert!(fault.to_string().contains("invalid type"), "{fault}");
        let nameless = object(json!({"metadata": {}}));
        assert!(nameless.present(Kind::Service).is_none());
    }
}
