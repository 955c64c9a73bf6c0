//! Our types of the Gateway API's kinds beside its own definitions: each field and each value of an
//! enumeration is in a type, or on the list of what is refused.

use std::collections::BTreeSet;

use e2e::figure::say;
use e2e::replica::gateway_files;
use mesh_api::resource::{Kind, Resource};
use serde_json::{Map, Value, json};

/// Fields that no type of ours has: an object that sets one is refused by name.
const REFUSED: [&str; 0] = [];
/// The kinds that are read, and the files of their definitions.
const KINDS: [(Kind, &str); 4] = [
    (Kind::HTTPRoute, "httproutes"),
    (Kind::GRPCRoute, "grpcroutes"),
    (Kind::TLSRoute, "tlsroutes"),
    (Kind::TCPRoute, "tcproutes"),
];

#[test]
#[ignore = "downloads a Go module: cargo xtask e2e"]
fn gateway_api_fields_are_in_a_type_or_refused() -> anyhow::Result<()> {
    let folder = gateway_files()?.join("config/crd/experimental");
    let mut unknown = BTreeSet::new();
    let mut count = 0;
    for (kind, plural) in KINDS {
        let file = folder.join(format!("gateway.networking.k8s.io_{plural}.yaml"));
        let definition: Value = serde_saphyr::from_str(&std::fs::read_to_string(file)?)?;
        let version = kind.api_version().rsplit('/').next();
        let versions = definition["spec"]["versions"].as_array();
        let mut versions = versions.into_iter().flatten();
        let found = versions.find(|held| held["name"].as_str() == version);
        let schema = found.map(|held| &held["schema"]["openAPIV3Schema"]["properties"]["spec"]);
        let schema = schema.ok_or_else(|| anyhow::anyhow!("{plural} lack {version:?}"))?;
        let before = count;
        for (place, spec) in samples("spec", schema) {
            count += 1;
            if let Some(fault) = miss(kind, &spec) {
                unknown.insert(format!("{kind} {place}: {fault}"));
            }
        }
        assert!(count > before + 10, "{plural} have a schema");
    }
    say(format!(
        "{count} fields and values of {} kinds",
        KINDS.len()
    ));
    unknown.retain(|place| !REFUSED.iter().any(|refused| place.starts_with(refused)));
    assert!(unknown.is_empty(), "{unknown:#?}");
    Ok(())
}

#[test]
fn a_field_that_no_type_has_is_found() {
    let shiny = json!({"type": "object", "properties": {
        "parentRefs": {"type": "array", "items": {"type": "object", "properties": {
            "name": {"type": "string"}, "shiny": {"type": "integer"},
        }, "required": ["name"]}},
    }});
    let missed: Vec<String> = samples("spec", &shiny)
        .into_iter()
        .filter(|(_, spec)| miss(Kind::HTTPRoute, spec).is_some())
        .map(|(place, _)| place)
        .collect();
    assert_eq!(missed, ["spec.parentRefs[].shiny"]);
}

/// Why an object with `spec` has something that its type lacks.
fn miss(kind: Kind, spec: &Value) -> Option<String> {
    let object = json!({
        "apiVersion": kind.api_version(), "kind": kind.as_str(),
        "metadata": {"name": "probe", "namespace": "demo"}, "spec": spec,
    });
    let fault = Resource::from_value(object).err()?.to_string();
    let is_unknown = fault.contains("unknown field") || fault.contains("unknown variant");
    is_unknown.then_some(fault)
}

/// For each field below `schema`, and each value of an enumeration, a value that has it and beside it
/// only what must be there.
fn samples(place: &str, schema: &Value) -> Vec<(String, Value)> {
    if let Some(values) = schema["enum"].as_array() {
        let each = values.iter();
        return each
            .map(|value| (format!("{place}={value}"), value.clone()))
            .collect();
    }
    if let Some(items) = schema.get("items") {
        let inner = samples(&format!("{place}[]"), items).into_iter();
        return inner.map(|(at, value)| (at, json!([value]))).collect();
    }
    let Some(fields) = schema["properties"].as_object() else {
        return vec![(place.to_owned(), least(schema))];
    };
    let needed = least(schema);
    let mut found = Vec::new();
    for (name, field) in fields {
        for (at, value) in samples(&format!("{place}.{name}"), field) {
            let mut object = needed.clone();
            object[name.as_str()] = value;
            found.push((at, object));
        }
    }
    found
}

/// A value with only what must be there.
fn least(schema: &Value) -> Value {
    if let Some(values) = schema["enum"].as_array() {
        return values[0].clone();
    }
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten();
            let names = required.filter_map(Value::as_str);
            let fields: Map<String, Value> = names
                .map(|name| (name.to_owned(), least(&schema["properties"][name])))
                .collect();
            Value::Object(fields)
        }
        Some("array") => json!([]),
        Some("integer") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(true),
        // Durations are among the texts.
        _ => json!("1s"),
    }
}
