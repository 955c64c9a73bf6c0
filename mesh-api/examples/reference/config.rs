//! The page of configuration: every field, its type, its meaning, and what is refused.

use mesh_api::resource::Kind;
use serde_json::{Value, json};

use crate::kinds::{self, Described};
use crate::probe::{inner, minimal, reasons, type_of, variants};

const HEAD: &str = "\
# Configuration

<!-- Written by `cargo xtask codegen`; do not edit. -->

Every kind that the mesh reads, with every field. A field may be absent unless it is marked with \\*; the text says what
holds then. A duration is as in the Gateway API: `250ms`, `10s`, `1h30m`. What is not listed is refused, with the nearest known
name. The last column is what the checks say: of the field itself, or of a value. `meshctl validate` prints the same.

Objects are in a namespace (`default` where `metadata.namespace` is absent), but a Mesh is not.

";

const CORE: &str = "\
## Core kinds of Kubernetes

They are read as Kubernetes defines them. What the mesh uses:

| kind | fields |
|---|---|
| Namespace | its name |
| Service | `spec.selector`, `spec.clusterIP`, `spec.clusterIPs`, and of `spec.ports[]`: `name`, `port`, `targetPort`, `protocol`, `appProtocol` |
| EndpointSlice | the label `kubernetes.io/service-name`, `addressType`, `ports[]`, and of `endpoints[]`: `addresses`, `conditions`, `targetRef` |
| Pod | `metadata.labels`, `metadata.deletionTimestamp`, `spec.serviceAccountName`, `spec.hostNetwork`, the `ports` of containers, `status.phase`, `status.podIPs` |

What is spoken on a port: [Protocols and detection](../concept/protocols.md).

";

/// Kinds of ours that are planned, and kinds of the Gateway API: those that are read have a section.
const OTHERS: [&str; 16] = [
    "ExternalService",
    "RateLimitPolicy",
    "RequestAuthentication",
    "Telemetry",
    "RouteMatch",
    "DirectResponse",
    "GRPCRoute",
    "TCPRoute",
    "TLSRoute",
    "UDPRoute",
    "Gateway",
    "GatewayClass",
    "ListenerSet",
    "ReferenceGrant",
    "BackendTLSPolicy",
    "Secret",
];

/// The page.
pub(crate) fn page() -> String {
    let mut parts = vec![HEAD.to_owned()];
    parts.extend(kinds::all().iter().map(section));
    parts.push(CORE.to_owned());
    parts.push("## Kinds that are not read\n\n| kind | why |\n|---|---|\n".to_owned());
    let refused = OTHERS.iter().filter_map(|name| {
        let fault = Kind::of("", name)
            .err()
            .filter(|fault| fault.path == "kind")?;
        Some(format!("| {name} | {} |\n", cell(&fault.reason)))
    });
    parts.extend(refused);
    parts.concat()
}

fn section(kind: &Described) -> String {
    let mut rows = Vec::new();
    walk(kind, &kind.schema["properties"]["spec"], "spec", &mut rows);
    let scope = if kind.kind.is_namespaced() {
        "in a namespace"
    } else {
        "one, named `default`"
    };
    format!(
        "## {}\n\n`apiVersion: {}`, {scope}.\n\n| field | type | what | refused |\n|---|---|---|---|\n{}\n",
        kind.kind,
        kind.kind.api_version(),
        rows.concat(),
    )
}

fn walk(kind: &Described, schema: &Value, path: &str, rows: &mut Vec<String>) {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let told = kind.elsewhere.iter().find(|(field, _)| *field == path);
        rows.push(row(
            kind,
            field,
            &path,
            required.contains(&json!(name)),
            told,
        ));
        if told.is_none() {
            let inner = inner(field);
            walk(kind, inner, &path, rows);
            walk(kind, &inner["items"], &format!("{path}[]"), rows);
            walk(
                kind,
                &inner["additionalProperties"],
                &format!("{path}.*"),
                rows,
            );
        }
    }
}

fn row(
    kind: &Described,
    field: &Value,
    path: &str,
    required: bool,
    told: Option<&(&str, &str)>,
) -> String {
    let mark = if required { "\\*" } else { "" };
    let what = match told {
        Some((_, place)) => format!("{place}."),
        None => field["description"].as_str().unwrap_or_default().to_owned(),
    };
    let refused = reasons(kind, path, &values(kind, inner(field), path)).join("; ");
    let type_text = type_text(field);
    let cells = [&type_text, &what, &refused].map(|text| cell(text));
    format!("| `{path}`{mark} | {} |\n", cells.join(" | "))
}

/// What to try: a small value, each name of an enum, and numbers and texts that nothing takes.
fn values(kind: &Described, schema: &Value, path: &str) -> Vec<Value> {
    let named = kind.names.iter().find(|(field, _)| *field == path);
    let mut values = match named {
        Some(_) => Vec::new(),
        None => vec![minimal(schema)],
    };
    values.extend(
        named
            .into_iter()
            .flat_map(|(_, names)| names.iter().map(|name| json!(name))),
    );
    values.extend(variants(schema));
    match type_of(schema) {
        "integer" => values.extend([json!(-1), json!(0), json!(u32::MAX)]),
        "array" => {
            let names = variants(inner(&schema["items"]));
            values.extend(names.into_iter().map(|name| json!([name])));
        }
        "string" if schema.get("pattern").is_some() => values.push(json!("0s")),
        _ => {}
    }
    values
}

fn type_text(schema: &Value) -> String {
    let schema = inner(schema);
    let names = variants(schema);
    if !names.is_empty() {
        let names: Vec<String> = names
            .iter()
            .filter_map(Value::as_str)
            .map(|name| format!("`{name}`"))
            .collect();
        return names.join(", ");
    }
    if let Some(either) = schema["anyOf"].as_array() {
        let each: Vec<String> = either.iter().map(type_text).collect();
        return each.join(" or ");
    }
    match type_of(schema) {
        "array" => format!("list of {}", type_text(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map to {}", type_text(&schema["additionalProperties"]))
        }
        "string" if schema.get("pattern").is_some() => "duration".to_owned(),
        "string" => "text".to_owned(),
        "integer" => "number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "" => "anything".to_owned(),
        other => other.to_owned(),
    }
}

/// Text that cannot break a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}
