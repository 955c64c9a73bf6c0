//! The page that lists every value, from the types and their comments. May use `values`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::values::{Profile, Values};

/// `docs/reference/values.md`.
pub(crate) fn values() -> anyhow::Result<String> {
    let schema = schemars::schema_for!(Values).to_value();
    let defaults: BTreeMap<&str, Value> = Profile::ALL
        .map(|profile| (profile.as_str(), Values::of(profile).tree()))
        .into();
    let mut rows = Vec::new();
    walk(&schema, &schema, "", &defaults, &mut rows);
    Ok(format!("{HEAD}{}\n", rows.join("\n")))
}

/// One row per value below `schema`, which stands at `path`.
fn walk(
    root: &Value,
    schema: &Value,
    path: &str,
    defaults: &BTreeMap<&str, Value>,
    rows: &mut Vec<String>,
) {
    let empty = Map::new();
    let fields = schema["properties"].as_object().unwrap_or(&empty);
    for (name, field) in fields {
        let place = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        let inner = resolve(root, field);
        if inner["properties"].is_object() {
            walk(root, inner, &place, defaults, rows);
            continue;
        }
        let text = field["description"].as_str().unwrap_or_default();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        rows.push(format!(
            "| `{place}` | {} | {text} |",
            shown(&place, defaults)
        ));
    }
}

/// The default of each profile where they differ, else the one that all have.
fn shown(path: &str, defaults: &BTreeMap<&str, Value>) -> String {
    let of = |profile: &str| {
        let found = defaults
            .get(profile)
            .map(|tree| super::template::at(tree, path));
        format!("`{}`", found.unwrap_or(&Value::Null))
    };
    let (default, ha, minimal) = (of("default"), of("ha"), of("minimal"));
    if default == ha && ha == minimal {
        return default;
    }
    format!("{default}; ha {ha}; minimal {minimal}")
}

/// A schema behind a reference.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let reference = schema["$ref"]
        .as_str()
        .and_then(|text| text.strip_prefix('#'));
    reference
        .and_then(|pointer| root.pointer(pointer))
        .unwrap_or(schema)
}

const HEAD: &str = "\
# Values of an installation

What `meshctl install` takes by `--set key=value` and `-f values.yaml`, and the Helm chart by the same names. Written by
`cargo xtask codegen`.

A profile is a set of defaults: `meshctl install --profile ha`, or `profile: ha` in a file. A key that there is not is
refused. Keys below `requests`, `limits` and `nodeSelector` are your own; `null` takes one away.

| value | default | what it is |
|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_listed_with_its_comment() {
        let page = values().unwrap();
        for expected in [
            "| `control.replicas` | `2`; ha `3`; minimal `1` | Replicas; each serves. |",
            "| `cni.enabled` | `false` | Whether to use it. |",
            "| `proxy.memoryLimit` | `\"512Mi\"` | The most memory that each may use. |",
        ] {
            assert!(page.contains(expected), "{page}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        assert!(
            rows.clone().all(|row| !row.ends_with("|  |")),
            "each has a comment"
        );
        assert!(rows.count() > 20);
    }
}
