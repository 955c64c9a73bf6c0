//! Our kinds as Kubernetes `CustomResourceDefinition`s, from the types that read them.
//!
//! The schema says all that a schema can: types, bounds, unions. The rest is the webhook's, which runs the
//! checks themselves. May use nothing of this crate.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mesh_api::resource::{
    AuthorizationPolicy, DirectResponse, Kind, MESH_API_VERSION, Mesh, MutualTLSPolicy,
    RateLimitPolicy, RouteMatch, TrafficPolicy, Workload,
};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// Every kind of ours, as an API server takes it.
#[expect(
    clippy::expect_used,
    reason = "made of constants and types; a test makes each"
)]
pub fn all() -> Vec<CustomResourceDefinition> {
    let made = kinds().into_iter().map(|described| {
        serde_json::from_value(definition(described)).expect("a definition of our own making")
    });
    made.collect()
}

/// A kind, and what its definition says beside the schema.
struct Described {
    kind: Kind,
    plural: &'static str,
    short: &'static str,
    schema: Schema,
    status: Value,
    /// Name, type and path of columns that `kubectl get` prints.
    columns: &'static [(&'static str, &'static str, &'static str)],
}

/// Shown of each policy.
const ACCEPTED: (&str, &str, &str) = (
    "Accepted",
    "string",
    ".status.ancestors[0].conditions[?(@.type==\"Accepted\")].status",
);

fn kinds() -> Vec<Described> {
    let mut all = subjects();
    all.extend(policies());
    all.extend(filters());
    all
}

/// What policies are about.
fn subjects() -> Vec<Described> {
    vec![
        Described {
            kind: Kind::Mesh,
            plural: "meshes",
            short: "",
            schema: schema::<Mesh>(),
            status: with_conditions(),
            columns: &[
                ("Trust domain", "string", ".spec.trustDomain"),
                ("Mutual TLS", "string", ".spec.mutualTLS.mode"),
            ],
        },
        Described {
            kind: Kind::Workload,
            plural: "workloads",
            short: "wl",
            schema: schema::<Workload>(),
            status: with_conditions(),
            columns: &[
                ("Address", "string", ".spec.address"),
                ("Service account", "string", ".spec.serviceAccount"),
            ],
        },
    ]
}

fn policies() -> Vec<Described> {
    vec![
        Described {
            kind: Kind::TrafficPolicy,
            plural: "trafficpolicies",
            short: "tp",
            schema: schema::<TrafficPolicy>(),
            status: with_ancestors(),
            columns: &[
                ("Target", "string", ".spec.targetRefs[0].kind"),
                ("Name of target", "string", ".spec.targetRefs[0].name"),
                ACCEPTED,
            ],
        },
        Described {
            kind: Kind::MutualTLSPolicy,
            plural: "mutualtlspolicies",
            short: "mtls",
            schema: schema::<MutualTLSPolicy>(),
            status: with_ancestors(),
            columns: &[
                ("Mode", "string", ".spec.mode"),
                ("Until", "string", ".spec.until"),
                ACCEPTED,
            ],
        },
        Described {
            kind: Kind::AuthorizationPolicy,
            plural: "authorizationpolicies",
            short: "azp",
            schema: schema::<AuthorizationPolicy>(),
            status: with_ancestors(),
            columns: &[
                ("Action", "string", ".spec.action"),
                ("Enforcement", "string", ".spec.enforcement"),
                ACCEPTED,
            ],
        },
        Described {
            kind: Kind::RateLimitPolicy,
            plural: "ratelimitpolicies",
            short: "rlp",
            schema: schema::<RateLimitPolicy>(),
            status: with_ancestors(),
            columns: &[
                ("Limit", "string", ".spec.limits[0].name"),
                ("Requests", "integer", ".spec.limits[0].requests"),
                ("Per", "string", ".spec.limits[0].per"),
                ACCEPTED,
            ],
        },
    ]
}

/// Filters of routes.
fn filters() -> Vec<Described> {
    vec![
        Described {
            kind: Kind::RouteMatch,
            plural: "routematches",
            short: "rm",
            schema: schema::<RouteMatch>(),
            status: with_conditions(),
            columns: &[("Cookie", "string", ".spec.cookie.name")],
        },
        Described {
            kind: Kind::DirectResponse,
            plural: "directresponses",
            short: "dr",
            schema: schema::<DirectResponse>(),
            status: with_conditions(),
            columns: &[("Answer", "integer", ".spec.status")],
        },
    ]
}

/// The schema of a kind, every part in its place: a definition has no references.
fn schema<T: JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<T>()
}

fn definition(described: Described) -> Value {
    let Described {
        kind,
        plural,
        short,
        schema,
        status,
        columns,
    } = described;
    let mut schema = Value::from(schema);
    // The API server knows these itself, and its own metadata is long.
    for (field, known) in [
        ("apiVersion", json!({ "type": "string" })),
        ("kind", json!({ "type": "string" })),
        ("metadata", json!({ "type": "object" })),
        ("status", status),
    ] {
        schema["properties"][field] = known;
    }
    make_structural(&mut schema);
    if kind == Kind::Mesh {
        schema["x-kubernetes-validations"] = json!([{ "rule": "self.metadata.name == 'default'", "message": "the Mesh is named default" }]);
    }
    let columns = columns
        .iter()
        .map(|(name, of, path)| json!({ "name": name, "type": of, "jsonPath": path }));
    let age = json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" });
    let (group, version) = MESH_API_VERSION.split_once('/').unwrap_or_default();
    let short: Vec<&str> = Some(short)
        .filter(|name| !name.is_empty())
        .into_iter()
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.{group}"),
            "labels": { "app.kubernetes.io/part-of": "mesh" },
        },
        "spec": {
            "group": group,
            "names": {
                "kind": kind.as_str(),
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": kind.as_str().to_lowercase(),
                "shortNames": short,
                "categories": ["mesh"],
            },
            "scope": if kind.is_namespaced() { "Namespaced" } else { "Cluster" },
            "preserveUnknownFields": false,
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": schema },
                "subresources": { "status": {} },
                "additionalPrinterColumns": columns.chain([age]).collect::<Vec<_>>(),
            }],
        },
    })
}

/// Says in a definition's words what a JSON Schema says: each value has a type, and what may be anything
/// is kept as it is.
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
    for unknown in ["$schema", "title", "default"] {
        fields.remove(unknown);
    }
    // Kubernetes knows signed whole numbers of two sizes; bounds say what unsigned ones do.
    if !matches!(
        fields.get("format").and_then(Value::as_str),
        Some("int32" | "int64" | "date-time")
    ) {
        fields.remove("format");
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

/// The status of a policy, in the Gateway API's form (`PolicyStatus`).
fn with_ancestors() -> Value {
    let text = |most: u32| json!({ "type": "string", "maxLength": most });
    json!({
        "description": "What was made of it: written by the control plane.",
        "type": "object",
        "properties": {
            "ancestors": {
                "type": "array",
                "maxItems": 16,
                "items": {
                    "type": "object",
                    "required": ["ancestorRef", "controllerName", "conditions"],
                    "properties": {
                        "ancestorRef": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {
                                "group": text(253),
                                "kind": text(63),
                                "namespace": text(63),
                                "name": text(253),
                                "sectionName": text(253),
                                "port": { "type": "integer", "minimum": 1, "maximum": 65535 },
                            },
                        },
                        "controllerName": text(253),
                        "conditions": conditions(),
                    },
                },
            },
        },
    })
}

/// The status of an object that applies to nothing else.
fn with_conditions() -> Value {
    json!({
        "description": "What was made of it: written by the control plane.",
        "type": "object",
        "properties": { "conditions": conditions() },
    })
}

/// `metav1.Condition`s.
fn conditions() -> Value {
    json!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": { "type": "string", "maxLength": 316 },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "reason": { "type": "string", "minLength": 1, "maxLength": 1024 },
                "message": { "type": "string", "maxLength": 32768 },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every schema within a definition, with its path.
    fn walk(schema: &Value, path: &str, seen: &mut Vec<(String, Value)>) {
        seen.push((path.to_owned(), schema.clone()));
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            walk(field, &format!("{path}.{name}"), seen);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(&schema[inner], &format!("{path}.{inner}"), seen);
            }
        }
    }

    /// The rules of structural schemas that an API server holds a definition to.
    #[test]
    fn schemas_are_structural() {
        let all = all();
        assert_eq!(all.len(), 8);
        for definition in &all {
            let name = definition.metadata.name.clone().unwrap();
            let value = serde_json::to_value(definition).unwrap();
            let version = &value["spec"]["versions"][0];
            assert_eq!(version["subresources"]["status"], json!({}), "{name}");
            let mut seen = Vec::new();
            walk(&version["schema"]["openAPIV3Schema"], "", &mut seen);
            for (path, schema) in seen {
                let free = schema["x-kubernetes-preserve-unknown-fields"] == json!(true);
                assert!(free || schema["type"].is_string(), "{name}{path}: {schema}");
                for word in ["anyOf", "oneOf", "$ref", "allOf", "const", "default"] {
                    assert!(schema.get(word).is_none(), "{name}{path}: {word}");
                }
                let both = schema.get("properties").is_some()
                    && schema.get("additionalProperties").is_some();
                assert!(!both, "{name}{path}");
                assert_eq!(
                    schema["type"] == json!("array"),
                    schema["items"].is_object(),
                    "{name}{path}"
                );
            }
        }
    }

    #[test]
    fn rules_and_words_of_the_types_arrive() {
        let value = serde_json::to_value(all()).unwrap();
        let text = value.to_string();
        for part in [
            "sets one of selector and targetRefs",
            "the Mesh is named default",
            "oldSelf.trustDomain",
            "\"enum\":[\"Disabled\",\"Permissive\",\"Strict\"]",
            "A date, `2026-12-31`, after which `check` fails",
            "\"maximum\":65535",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }
}
