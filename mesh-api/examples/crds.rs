//! Prints our kinds as Kubernetes `CustomResourceDefinition`s, or as JSON Schemas.
//!
//! `cargo run -p mesh-api --example crds` prints YAML that `kubectl apply -f -` takes;
//! `... --example crds -- json` prints one JSON object with a schema for each kind.

#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use mesh_api::resource::{Kind, MESH_API_VERSION, Mesh, MutualTLSPolicy, TrafficPolicy, Workload};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let kinds = [
        (Kind::Mesh, schema::<Mesh>()),
        (Kind::Workload, schema::<Workload>()),
        (Kind::TrafficPolicy, schema::<TrafficPolicy>()),
        (Kind::MutualTLSPolicy, schema::<MutualTLSPolicy>()),
    ];
    if std::env::args().nth(1).as_deref() == Some("json") {
        let all = kinds.map(|(kind, schema)| (kind.to_string(), Value::from(schema)));
        println!("{:#}", Value::Object(all.into_iter().collect()));
        return Ok(());
    }
    for (kind, schema) in kinds {
        println!("---\n{}", serde_saphyr::to_string(&crd(kind, schema))?);
    }
    Ok(())
}

/// The schema of a kind, every part in its place: a CRD has no references.
fn schema<T: JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    // Kubernetes knows its own metadata, and it is long.
    if let Some(properties) = schema.get_mut("properties") {
        properties["metadata"] = json!({ "type": "object" });
    }
    schema
}

fn crd(kind: Kind, schema: Schema) -> Value {
    let mut schema = Value::from(schema);
    make_structural(&mut schema);
    // The API server checks these itself.
    for field in ["apiVersion", "kind"] {
        schema["properties"][field] = json!({ "type": "string" });
    }
    let (group, version) = MESH_API_VERSION.split_once('/').unwrap_or_default();
    let singular = kind.as_str().to_lowercase();
    let plural = singular
        .strip_suffix('y')
        .map_or(format!("{singular}s"), |stem| format!("{stem}ies"));
    let plural = plural.replace("meshs", "meshes");
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group,
            "names": { "kind": kind.as_str(), "plural": plural, "singular": singular },
            "scope": if kind.is_namespaced() { "Namespaced" } else { "Cluster" },
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": schema },
                "subresources": { "status": {} },
            }],
        },
    })
}

/// Says in a CRD's words what a JSON Schema says: each value has a type, and what may be anything is
/// kept as it is.
fn make_structural(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        // `true` and `{}` allow anything.
        *schema = json!({ "x-kubernetes-preserve-unknown-fields": true });
        return;
    };
    if let Some(inner) = optional(fields) {
        let description = fields.remove("description");
        *fields = inner;
        fields.insert("nullable".to_owned(), json!(true));
        fields.extend(description.map(|text| ("description".to_owned(), text)));
    }
    for unknown in ["$schema", "title", "format", "default"] {
        fields.remove(unknown);
    }
    // Unknown fields are pruned or refused by the API server, which does not take this word.
    if fields.get("additionalProperties") == Some(&Value::Bool(false)) {
        fields.remove("additionalProperties");
    }
    if let Some(names) = named_variants(fields) {
        fields.remove("oneOf");
        fields.insert("type".to_owned(), json!("string"));
        fields.insert("enum".to_owned(), names);
    }
    if fields.remove("anyOf").is_some() || !fields.contains_key("type") {
        fields.insert(
            "x-kubernetes-preserve-unknown-fields".to_owned(),
            json!(true),
        );
    }
    for (key, value) in fields {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                properties.values_mut().for_each(make_structural);
            }
            ("items" | "additionalProperties", inner @ (Value::Object(_) | Value::Bool(_))) => {
                make_structural(inner);
            }
            _ => {}
        }
    }
}

/// What a value may be that may also be null.
fn optional(fields: &Map<String, Value>) -> Option<Map<String, Value>> {
    let either = fields.get("anyOf")?.as_array()?;
    let [inner, null] = either.as_slice() else {
        return None;
    };
    null.get("nullable")?;
    inner.as_object().cloned()
}

/// The names of an enum whose variants each have a description.
fn named_variants(fields: &Map<String, Value>) -> Option<Value> {
    let variants = fields.get("oneOf")?.as_array()?.iter();
    let names = variants.map(|one| match (one.get("const"), &one["enum"]) {
        (Some(name), _) => Some(vec![name.clone()]),
        (None, Value::Array(names)) => Some(names.clone()),
        _ => None,
    });
    Some(Value::Array(names.collect::<Option<Vec<_>>>()?.concat()))
}
