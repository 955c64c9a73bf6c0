//! The same templates as a Helm chart: holes become expressions of Helm, switches become blocks.
//!
//! `cargo xtask codegen` writes the chart to `charts/mesh`. May use `template`, `values`.

use anyhow::ensure;
use serde_json::{Value, json};

use super::template::{HASH_DIGITS, Part, Template, parts};
use super::values::{Profile, Values};

/// One file of the chart.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Relative to the chart's folder.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
}

/// Every file of the chart, and the page that lists the values.
pub(crate) fn chart() -> anyhow::Result<Vec<File>> {
    let mut files = vec![
        file("Chart.yaml", yaml(&about())?),
        file("README.md", README.to_owned()),
        file("values.schema.json", schema()?),
        file("values.md", super::page::values()),
        file("values.yaml", defaults(Profile::Default)?),
    ];
    for profile in [Profile::Ha, Profile::Minimal] {
        let name = format!("values-{}.yaml", profile.as_str());
        files.push(file(&name, defaults(profile)?));
    }
    for template in super::templates() {
        let text = print(&template)?;
        let name = template_file(&template);
        match files.iter_mut().find(|known| known.path == name) {
            Some(known) => known.text.push_str(&text),
            None => files.push(file(&name, text)),
        }
    }
    Ok(files)
}

fn about() -> Value {
    json!({
        "apiVersion": "v2",
        "name": "mesh",
        "description": "A service mesh: control plane, injection, admission",
        "type": "application",
        "version": mesh_api::version(),
        "appVersion": mesh_api::version(),
        "kubeVersion": ">= 1.31.0-0",
    })
}

fn defaults(profile: Profile) -> anyhow::Result<String> {
    let text = yaml(&Values::of(profile).tree())?;
    Ok(format!(
        "# The profile `{}`. Every value is described in docs/reference/values.md.\n{text}",
        profile.as_str()
    ))
}

/// What Helm checks values by: unknown ones are refused here as `meshctl install` refuses them.
fn schema() -> anyhow::Result<String> {
    let mut schema = schemars::schema_for!(Values).to_value();
    // Helm may add this key to the values of a chart.
    schema["properties"]["global"] = json!({ "type": "object" });
    Ok(format!("{}\n", serde_json::to_string_pretty(&schema)?))
}

/// Objects of one kind of concern stand together.
fn template_file(template: &Template) -> String {
    let name = match template.body["kind"].as_str().unwrap_or_default() {
        "Namespace" => "namespace",
        "CustomResourceDefinition" => "crds",
        "ServiceAccount" | "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding" => "rbac",
        "ConfigMap" => "config",
        "DaemonSet" => "cni",
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => "webhooks",
        _ => "control",
    };
    format!("templates/{name}.yaml")
}

/// One document of a template file.
fn print(template: &Template) -> anyhow::Result<String> {
    let mut holes = Vec::new();
    let body = mark(&template.body, &mut holes);
    let mut text = yaml(&body)?;
    ensure!(
        !text.contains("{{"),
        "{} has what Helm takes for an expression",
        template.body["metadata"]["name"]
    );
    for (index, expression) in holes.iter().enumerate().rev() {
        text = text.replace(&marker(index), &format!("{{{{ {expression} }}}}"));
    }
    Ok(match template.when {
        None => format!("---\n{text}"),
        Some(switch) => format!("{{{{- if .Values.{switch} }}}}\n---\n{text}{{{{- end }}}}\n"),
    })
}

/// The body with a plain word in the place of each text with holes, and their expressions.
fn mark(body: &Value, holes: &mut Vec<String>) -> Value {
    match body {
        Value::String(text) => {
            let parts = parts(text);
            if parts.iter().all(|part| matches!(part, Part::Text(_))) {
                return body.clone();
            }
            holes.push(expression(&parts));
            Value::String(marker(holes.len() - 1))
        }
        Value::Array(items) => items.iter().map(|item| mark(item, holes)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), mark(field, holes)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// A word that YAML prints as it is.
fn marker(index: usize) -> String {
    format!("MESH-HOLE-{index}-")
}

/// What Helm evaluates: JSON is YAML, so every value is printed as JSON, whatever its type.
fn expression(parts: &[Part<'_>]) -> String {
    if let [Part::Value(path)] = parts {
        return format!("toJson {}", at(path));
    }
    let mut format = String::new();
    let mut arguments = String::new();
    for part in parts {
        let argument = match part {
            Part::Text(text) => {
                format.push_str(&text.replace('%', "%%"));
                continue;
            }
            Part::Value(path) => format!("(toString {})", at(path)),
            Part::Json(path) => format!("(toJson {})", at(path)),
            Part::Hash(path) => {
                format!("(toJson {} | sha256sum | trunc {HASH_DIGITS})", at(path))
            }
            Part::Switch { path, yes, no } => format!("(ternary {yes:?} {no:?} {})", at(path)),
        };
        format.push_str("%s");
        arguments.push(' ');
        arguments.push_str(&argument);
    }
    // A text of JSON is a text of Go as well.
    let format = Value::String(format);
    format!("printf {format}{arguments} | toJson")
}

fn at(path: &str) -> String {
    match path {
        "." => ".Values".to_owned(),
        path => format!(".Values.{path}"),
    }
}

fn file(path: &str, text: String) -> File {
    File {
        path: path.to_owned(),
        text,
    }
}

fn yaml(value: &Value) -> anyhow::Result<String> {
    Ok(serde_saphyr::to_string(value)?)
}

const README: &str = "\
# mesh, as a Helm chart

Written by `cargo xtask codegen` from what `meshctl install` applies; change that, not these files.

    helm install mesh charts/mesh --namespace default
    helm install mesh charts/mesh --namespace default -f charts/mesh/values-ha.yaml

The chart makes the namespace `mesh-system` itself, so the release is kept in another one. Values are those of
`meshctl install`, described in `docs/reference/values.md`. A mesh installed by Helm is changed and removed by Helm;
`meshctl check` and every other command work with it all the same.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_become_expressions() {
        for (text, expected) in [
            ("${a.b}", "toJson .Values.a.b"),
            (
                "x%${a}y",
                r#"printf "x%%%sy" (toString .Values.a) | toJson"#,
            ),
            (
                "{\"k\":${json:a}}",
                r#"printf "{\"k\":%s}" (toJson .Values.a) | toJson"#,
            ),
            (
                "${hash:.}",
                r#"printf "%s" (toJson .Values | sha256sum | trunc 10) | toJson"#,
            ),
            (
                "${on?a:}",
                r#"printf "%s" (ternary "a" "" .Values.on) | toJson"#,
            ),
        ] {
            assert_eq!(expression(&parts(text)), expected);
        }
    }

    #[test]
    fn a_switch_becomes_a_block() {
        let template = Template::when("cni.enabled", json!({"kind": "A", "name": "${x}"}));
        assert_eq!(
            print(&template).unwrap(),
            "{{- if .Values.cni.enabled }}\n---\nkind: A\nname: {{ toJson .Values.x }}\n{{- end }}\n"
        );
        let clash = Template::always(json!({"n": "{{"}));
        assert!(print(&clash).is_err());
    }

    #[test]
    fn the_committed_chart_is_the_one_that_is_written() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/mesh");
        for file in chart().unwrap() {
            if file.path == "values.md" {
                continue;
            }
            let committed = std::fs::read_to_string(root.join(&file.path)).unwrap_or_default();
            assert!(
                committed == file.text,
                "{}: run cargo xtask codegen",
                file.path
            );
        }
    }
}
