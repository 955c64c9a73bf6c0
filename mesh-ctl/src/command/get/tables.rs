//! Tables of `get`, names, and lines for /etc/hosts.

use anyhow::bail;
use serde_json::Value;

use super::kind::Kinds;
use crate::render::{Cell, Rows, Tone, Width, lines};
use crate::source::json::{items, list, text, text_or_dash, texts};

/// Resources with how they stand, then every fault at its place.
pub(super) fn resources(found: &Value, width: Width) -> String {
    let mut titles = vec![
        "KIND",
        "NAMESPACE",
        "NAME",
        "ACCEPTED",
        "RESOLVED",
        "SOURCE",
    ];
    if width == Width::Wide {
        titles.extend(["LABELS", "IN FORCE"]);
    }
    let mut rows = Rows::new(&titles);
    let mut faults = Vec::new();
    for object in items(found) {
        let file = object["file"].as_str().unwrap_or("registration");
        let source = match object["line"].as_u64() {
            Some(line) if line > 0 => format!("{file}:{line}"),
            _ => file.to_owned(),
        };
        let mut row = vec![
            Cell::from(text_or_dash(object, "kind")),
            text_or_dash(object, "namespace").into(),
            text_or_dash(object, "name").into(),
            condition(object, "Accepted"),
            condition(object, "ResolvedRefs"),
            source.into(),
        ];
        if width == Width::Wide {
            row.push(labels(object).into());
            row.push(in_force(object));
        }
        rows.push(row);
        faults.extend(unresolved(object, file));
        for fault in list(object, "faults") {
            let place = format!("{file}:{}:{}", fault["line"], fault["column"]);
            let (path, reason) = (text(fault, "path"), text(fault, "reason"));
            let path = if path.is_empty() {
                String::new()
            } else {
                format!("{path}: ")
            };
            faults.push(format!("{place}: {path}{reason}"));
        }
    }
    format!("{}{}", rows.to_text(), lines(faults))
}

/// Services, one line per port, with the endpoints behind it.
pub(super) fn services(found: &Value, width: Width) -> String {
    let mut titles = vec!["NAMESPACE", "NAME", "PORT", "PROTOCOL", "ENDPOINTS"];
    if width == Width::Wide {
        titles.extend(["VIRTUAL IPS", "LABELS"]);
    }
    let mut rows = Rows::new(&titles);
    for service in items(found) {
        let (namespace, name) = (text(service, "namespace"), text(service, "name"));
        let wide = || match width {
            Width::Narrow => Vec::new(),
            Width::Wide => vec![
                Cell::from(or_dash(texts(service, "addresses").join(", "))),
                labels(service).into(),
            ],
        };
        if list(service, "ports").is_empty() {
            let row = [namespace, name, "-", "-", "-"].map(Cell::from);
            rows.push(row.into_iter().chain(wide()));
        }
        for port in list(service, "ports") {
            let names = list(port, "endpoints").iter().map(endpoint);
            let names: Vec<String> = names.collect();
            let endpoints = match names.as_slice() {
                [] => Cell::toned("none", Tone::Bad),
                names => names.join(", ").into(),
            };
            let row = [
                namespace.into(),
                name.into(),
                port["port"].to_string().into(),
                text(port, "protocol").into(),
                endpoints,
            ];
            rows.push(row.into_iter().chain(wide()));
        }
    }
    rows.to_text()
}

/// Workloads and the services that select them.
pub(super) fn workloads(found: &Value, width: Width) -> String {
    let mut titles = vec![
        "NAMESPACE",
        "NAME",
        "ADDRESS",
        "SERVICE ACCOUNT",
        "SERVICES",
        "LEASE",
    ];
    if width == Width::Wide {
        titles.push("LABELS");
    }
    let mut rows = Rows::new(&titles);
    for workload in items(found) {
        let lease = match text(workload, "source") {
            "file" => "file".into(),
            _ if workload["stale"] == true => Cell::state("stale"),
            _ => Cell::state("held"),
        };
        let mut row = vec![
            Cell::from(text(workload, "namespace")),
            text(workload, "name").into(),
            text(workload, "address").into(),
            text(workload, "serviceAccount").into(),
            or_dash(texts(workload, "services").join(", ")).into(),
            lease,
        ];
        if width == Width::Wide {
            row.push(labels(workload).into());
        }
        rows.push(row);
    }
    rows.to_text()
}

/// One line per virtual IP: the address and the names that callers have for its service, the bare
/// one only where all are of one namespace.
pub(super) fn hosts(
    found: &[Value],
    domain: &str,
    is_one_namespace: bool,
) -> anyhow::Result<String> {
    let mut lines = String::new();
    for service in found {
        let name = format!("{}.{}", text(service, "name"), text(service, "namespace"));
        let bare = if is_one_namespace {
            text(service, "name")
        } else {
            ""
        };
        for address in texts(service, "addresses") {
            let line = format!("{address} {name}.svc.{domain} {name}.svc {name} {bare}");
            lines.push_str(line.trim_end());
            lines.push('\n');
        }
    }
    if lines.is_empty() && !found.is_empty() {
        bail!(
            "no service has a virtual IP: write one as `spec.clusterIP` of the Service, such as 240.0.0.10"
        );
    }
    Ok(lines)
}

/// `kind/namespace/name` in lower case as programs take it.
pub(super) fn name(row: &Value, kinds: &Kinds) -> String {
    let kind = match (row["kind"].as_str(), kinds) {
        (Some(kind), _) => kind.to_ascii_lowercase(),
        (None, Kinds::One(kind)) => kind.as_str().to_ascii_lowercase(),
        (None, _) => String::new(),
    };
    format!("{kind}/{}", full_name(row))
}

/// `namespace/name`, or the name of what has no namespace.
pub(super) fn full_name(row: &Value) -> String {
    match text(row, "namespace") {
        "" => text(row, "name").to_owned(),
        namespace => format!("{namespace}/{}", text(row, "name")),
    }
}

fn condition(object: &Value, kind: &str) -> Cell {
    let mut all = list(object, "conditions").iter();
    let one = all.find(|condition| condition["type"] == kind);
    one.map_or_else(|| "-".into(), |one| Cell::state(text(one, "status")))
}

/// Why references of an object lead nowhere.
fn unresolved(object: &Value, file: &str) -> Vec<String> {
    let conditions = list(object, "conditions").iter();
    let bad = conditions.filter(|one| one["type"] == "ResolvedRefs" && one["status"] == "False");
    let texts = bad.flat_map(|one| text(one, "message").lines());
    texts
        .map(|reason| format!("{file}:{}: {reason}", object["line"]))
        .collect()
}

/// Which version is in force, where that is not the one written.
fn in_force(object: &Value) -> Cell {
    let is_accepted = list(object, "conditions")
        .iter()
        .any(|one| one["type"] == "Accepted" && one["status"] == "True");
    match object["stale"] == true {
        true => Cell::toned("an earlier version", Tone::Warning),
        false if is_accepted => "this".into(),
        false => Cell::toned("nothing", Tone::Bad),
    }
}

fn endpoint(endpoint: &Value) -> String {
    let name = endpoint["workload"]
        .as_str()
        .unwrap_or(text(endpoint, "address"));
    if endpoint["stale"] == true {
        format!("{name} (stale)")
    } else {
        name.to_owned()
    }
}

fn labels(object: &Value) -> String {
    let labels = object["labels"].as_object().into_iter().flatten();
    let texts: Vec<String> = labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    or_dash(texts.join(","))
}

fn or_dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hosts_name_every_virtual_ip() {
        let service =
            json!({"name": "a", "namespace": "demo", "addresses": ["240.0.0.1", "fd00::1"]});
        let lines = |bare| hosts(std::slice::from_ref(&service), "cluster.local", bare).unwrap();
        assert!(lines(true).ends_with(" a.demo a\n"));
        assert_eq!(
            lines(false),
            "240.0.0.1 a.demo.svc.cluster.local a.demo.svc a.demo\n\
             fd00::1 a.demo.svc.cluster.local a.demo.svc a.demo\n"
        );
        let none = hosts(&[json!({"name": "a", "namespace": "demo"})], "x", false).unwrap_err();
        assert!(none.to_string().contains("spec.clusterIP"));
    }

    #[test]
    fn faults_follow_the_table_at_their_place() {
        let found = json!([{
            "kind": "HTTPRoute", "namespace": "demo", "name": "a", "file": "a.yaml", "line": 2,
            "conditions": [{"type": "Accepted", "status": "False"}], "stale": false,
            "faults": [{"path": "spec.x", "reason": "is wrong", "line": 7, "column": 3}],
        }]);
        let text = resources(&found, Width::Narrow);
        assert!(
            text.ends_with("a.yaml:2\na.yaml:7:3: spec.x: is wrong\n"),
            "{text}"
        );
        assert!(resources(&found, Width::Wide).contains("nothing"));
    }
}
