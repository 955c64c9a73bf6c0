//! Asks the checks about one field: what they say when it is set, and when its value is absurd.

use mesh_api::resource::Resource;
use mesh_api::translate::faults;
use serde_json::{Value, json};

use crate::kinds::Described;

/// Why a field of `kind` is refused with each of these values; each reason once.
pub(crate) fn reasons(kind: &Described, path: &str, values: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    for value in values {
        let mut object = json!({
            "apiVersion": kind.kind.api_version(),
            "kind": kind.kind.as_str(),
            "metadata": { "name": "default" },
            "spec": kind.spec,
        });
        set(&kind.schema, &mut object, path, value);
        let Ok(resource) = Resource::from_value(object) else {
            continue;
        };
        let concrete = path.replace("[]", "[0]").replace(".*", ".a");
        let first = format!("{concrete}[0]");
        for fault in faults(&resource) {
            let here = fault.path == concrete || fault.path == first;
            let reason = general(&fault.reason, value);
            // Which member a union may have follows from the value of another field.
            if here && !reason.contains("the filter's type") && !found.contains(&reason) {
                found.push(reason);
            }
        }
    }
    found
}

/// A reason without the value that was tried.
fn general(reason: &str, value: &Value) -> String {
    let tried = match value {
        Value::Array(items) => items.first().unwrap_or(value),
        value => value,
    };
    let bare = reason.strip_prefix(&tried.to_string());
    let quoted = reason.strip_prefix(&format!("\"{tried}\""));
    bare.or(quoted).unwrap_or(reason).trim().to_owned()
}

/// Sets the field at `path` and what must be there around it.
fn set(schema: &Value, object: &mut Value, path: &str, value: &Value) {
    let (mut schema, mut at) = (schema, object);
    for segment in path.split('.') {
        let (name, is_list) = segment
            .strip_suffix("[]")
            .map_or((segment, false), |name| (name, true));
        if !at.is_object() {
            *at = minimal(schema);
        }
        schema = if name == "*" {
            &schema["additionalProperties"]
        } else {
            inner(&schema["properties"][name])
        };
        at = &mut at[if name == "*" { "a" } else { name }];
        if is_list {
            schema = &schema["items"];
            if !at.is_array() {
                *at = json!([minimal(schema)]);
            }
            at = &mut at[0];
        }
    }
    *at = value.clone();
}

/// The smallest value that a schema takes.
pub(crate) fn minimal(schema: &Value) -> Value {
    let schema = inner(schema);
    if let Some(first) = variants(schema).first() {
        return first.clone();
    }
    match type_of(schema) {
        "object" => {
            let required = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            let fields =
                required.map(|name| (name.to_owned(), minimal(&schema["properties"][name])));
            Value::Object(fields.collect())
        }
        "array" => json!([minimal(&schema["items"])]),
        "integer" | "number" => json!(1),
        "boolean" => json!(true),
        "string" if schema.get("pattern").is_some() => json!("1s"),
        "string" => json!("a"),
        _ => json!({ "a": 1 }),
    }
}

/// The type's name, without `null`.
pub(crate) fn type_of(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(name) => name,
        Value::Array(names) => names.first().and_then(Value::as_str).unwrap_or_default(),
        _ => "",
    }
}

/// The schema of a value that may also be null.
pub(crate) fn inner(schema: &Value) -> &Value {
    match schema["anyOf"].as_array().map(Vec::as_slice) {
        Some([one, null]) if null["type"] == "null" => one,
        _ => schema,
    }
}

/// The names of an enum.
pub(crate) fn variants(schema: &Value) -> Vec<Value> {
    let listed = |schema: &Value| schema["enum"].as_array().cloned().unwrap_or_default();
    let Some(each) = schema["oneOf"].as_array() else {
        return listed(schema);
    };
    let names = each.iter().map(|one| {
        one.get("const")
            .map_or_else(|| listed(one), |name| vec![name.clone()])
    });
    names.collect::<Vec<_>>().concat()
}
