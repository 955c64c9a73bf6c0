//! `meshctl get`: what the control plane holds.

use clap::Args;
use serde_json::Value;

use crate::render::{Output, Rows, show};
use crate::source::admin::Admin;
use crate::source::state::StateArg;

/// Arguments of `meshctl get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// `resources`, `services`, `workloads`, or a kind such as `HTTPRoute`.
    #[arg(value_name = "WHAT", default_value = "resources")]
    what: String,
    /// Only the object of this name, `name` or `namespace/name`.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Prints the objects asked for.
pub(crate) async fn run(get: Get, state: &StateArg) -> anyhow::Result<u8> {
    let admin = Admin::of(&state.folder()?);
    let what = get.what.to_ascii_lowercase();
    let mut found = match what.as_str() {
        "services" | "service" => admin.get("/services").await?,
        "workloads" | "workload" => admin.get("/workloads").await?,
        _ => admin.get("/resources").await?,
    };
    if let Value::Array(objects) = &mut found {
        objects.retain(|object| {
            let kind =
                !is_kind(&what) || text_of(object, "kind").eq_ignore_ascii_case(singular(&what));
            kind && get
                .name
                .as_deref()
                .is_none_or(|name| is_named(object, name))
        });
        if objects.is_empty()
            && let Some(name) = &get.name
        {
            anyhow::bail!(
                "no {} named {name}; `meshctl get {}` lists what there is",
                get.what,
                get.what
            );
        }
    }
    show(get.output, &found, || match what.as_str() {
        "services" | "service" => services(&found),
        "workloads" | "workload" => rows(&found).to_text(),
        _ => resources(&found),
    })?;
    Ok(0)
}

/// Resources with how they stand, then every fault at its place.
fn resources(found: &Value) -> String {
    let mut rows = Rows::new(&[
        "KIND",
        "NAMESPACE",
        "NAME",
        "ACCEPTED",
        "RESOLVED",
        "SOURCE",
    ]);
    let mut faults = String::new();
    for object in found.as_array().into_iter().flatten() {
        let condition = |kind: &str| {
            let mut all = object["conditions"].as_array().into_iter().flatten();
            let one = all.find(|condition| condition["type"] == kind);
            one.map_or_else(|| "-".to_owned(), |one| text_of(one, "status").to_owned())
        };
        let file = object["file"].as_str().unwrap_or("registration");
        rows.push([
            text_of(object, "kind").to_owned(),
            object["namespace"].as_str().unwrap_or("-").to_owned(),
            text_of(object, "name").to_owned(),
            condition("Accepted"),
            condition("ResolvedRefs"),
            format!("{file}:{}", object["line"]),
        ]);
        for fault in object["faults"].as_array().into_iter().flatten() {
            let (line, column) = (&fault["line"], &fault["column"]);
            let (path, reason) = (text_of(fault, "path"), text_of(fault, "reason"));
            faults.push_str(&[file, ":", &line.to_string(), ":", &column.to_string()].concat());
            faults.push_str(&[": ", path, ": ", reason, "\n"].concat());
        }
    }
    format!("{}{faults}", rows.to_text())
}

/// Services, one line per port, with the endpoints behind it.
fn services(found: &Value) -> String {
    let mut rows = Rows::new(&["NAMESPACE", "NAME", "PORT", "PROTOCOL", "ENDPOINTS"]);
    for service in found.as_array().into_iter().flatten() {
        for port in service["ports"].as_array().into_iter().flatten() {
            let endpoints = port["endpoints"].as_array().into_iter().flatten();
            let endpoints: Vec<&str> = endpoints.map(|one| text_of(one, "workload")).collect();
            rows.push([
                text_of(service, "namespace").to_owned(),
                text_of(service, "name").to_owned(),
                port["port"].to_string(),
                text_of(port, "protocol").to_owned(),
                endpoints.join(", "),
            ]);
        }
    }
    rows.to_text()
}

/// A list of flat objects as a table: one column per field of the first.
pub(crate) fn rows(objects: &Value) -> Rows {
    let objects: &[Value] = objects.as_array().map_or(&[], Vec::as_slice);
    let mut columns: Vec<String> = Vec::new();
    for key in objects
        .iter()
        .filter_map(Value::as_object)
        .flat_map(|object| object.keys())
    {
        if !columns.contains(key) {
            columns.push(key.clone());
        }
    }
    // Names come first, whatever order the fields have.
    columns.sort_by_key(|column| match column.as_str() {
        "destination" | "kind" => 0,
        "namespace" => 1,
        "name" | "workload" | "backend" | "route" => 2,
        "state" | "status" => 3,
        _ => 4,
    });
    let header: Vec<String> = columns.iter().map(|column| title(column)).collect();
    let mut rows = Rows::new(&header.iter().map(String::as_str).collect::<Vec<_>>());
    for object in objects {
        rows.push(columns.iter().map(|column| cell(object.get(column))));
    }
    rows
}

fn is_kind(what: &str) -> bool {
    !matches!(
        what,
        "resources" | "services" | "service" | "workloads" | "workload"
    )
}

fn singular(what: &str) -> &str {
    match what {
        "policies" => "policy",
        _ => what
            .strip_suffix('s')
            .filter(|_| !what.ends_with("ss"))
            .unwrap_or(what),
    }
}

fn is_named(object: &Value, name: &str) -> bool {
    let (own, namespace) = (text_of(object, "name"), text_of(object, "namespace"));
    own == name || own.rsplit('/').next() == Some(name) || format!("{namespace}/{own}") == name
}

fn text_of<'a>(object: &'a Value, field: &str) -> &'a str {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// `camelCase` as a heading.
fn title(field: &str) -> String {
    let mut title = String::new();
    for c in field.chars() {
        if c.is_ascii_uppercase() {
            title.push(' ');
        }
        title.push(c.to_ascii_uppercase());
    }
    title
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => {
            let items: Vec<_> = items.iter().map(|item| cell(Some(item))).collect();
            items.join(", ")
        }
        Some(Value::Object(fields)) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(key, value)| format!("{key}={}", cell(Some(value))))
                .collect();
            fields.join(" ")
        }
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_become_rows_with_names_first() {
        let objects = json!([
            { "addresses": ["127.0.0.1"], "kind": "Service", "name": "demo/shop" },
            { "kind": "Mesh", "name": "default", "leafLifetime": 3 },
        ]);
        let text = rows(&objects).to_text();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["KIND", "NAME", "ADDRESSES", "LEAF", "LIFETIME"]);
        assert_eq!(lines[1], ["Service", "demo/shop", "127.0.0.1", "-"]);
    }
}
