//! Checks of policies that let more pass than they need to.

use jiff::civil::Date;
use serde_json::Value;

use super::facts::Facts;
use super::finding::{Finding, Verdict};
use crate::source::json::text;

/// Days before `until` from which its end is worth a look.
const SOON: i64 = 7;
/// Workloads named in a finding; of more, their number.
const NAMED: usize = 5;

pub(super) fn strict(facts: &Facts) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let mut findings = Vec::new();
    for row in &control.resources {
        let spec = &row["object"]["spec"];
        match text(row, "kind") {
            "Mesh" => findings.extend(loose(
                row,
                "spec.mutualTLS.mode",
                &spec["mutualTLS"]["mode"],
                "",
            )),
            "MutualTLSPolicy" => {
                let whose = whose(row, &control.workloads);
                findings.extend(loose(row, "spec.mode", &spec["mode"], &whose));
                for (port, settings) in spec["ports"].as_object().into_iter().flatten() {
                    let path = format!("spec.ports.{port}.mode");
                    findings.extend(loose(row, &path, &settings["mode"], &whose));
                }
            }
            _ => {}
        }
    }
    Verdict::Looked(findings)
}

pub(super) fn until(facts: &Facts) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let today = jiff::Timestamp::from_second(facts.now).unwrap_or_default();
    let today = today.to_zoned(jiff::tz::TimeZone::UTC).date();
    let finding = |row: &Value, port: Option<&str>, held: &Value| {
        let end: Date = text(held, "until").parse().ok()?;
        let left = i64::from(today.until(end).ok()?.get_days());
        let at = port.map_or_else(String::new, |port| format!(" at port {port}"));
        let who = format!("{}{at}", name(row));
        let fix = format!(
            "make {who} Strict ({}), or give it a later date",
            place(row)
        );
        match left {
            ..0 => Some(Finding::fault(
                format!("{who} was to end by {end}"),
                "the exception from strict mutual TLS is overdue; nothing changes by itself",
                fix,
            )),
            0..=SOON => Some(Finding::warning(
                format!("{who} is to end by {end}"),
                "the exception from strict mutual TLS is nearly over",
                fix,
            )),
            _ => None,
        }
    };
    let mut findings = Vec::new();
    for row in &control.resources {
        let spec = &row["object"]["spec"];
        findings.extend(finding(row, None, spec));
        for (port, held) in spec["ports"].as_object().into_iter().flatten() {
            findings.extend(finding(row, Some(port), held));
        }
    }
    Verdict::Looked(findings)
}

pub(super) fn unknown(facts: &Facts) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let mesh = control
        .resources
        .iter()
        .find(|row| text(row, "kind") == "Mesh");
    let said = mesh.map(|row| &row["object"]["spec"]["outbound"]["unknownDestinations"]);
    let by = match said.and_then(Value::as_str) {
        Some("Deny") => return Verdict::Looked(Vec::new()),
        Some(_) => "Mesh default spec.outbound.unknownDestinations",
        None => "the default",
    };
    Verdict::Looked(vec![Finding::warning(
        "calls to destinations outside the mesh pass, whatever they are",
        format!("unknownDestinations is Allow, by {by}"),
        "set spec.outbound.unknownDestinations of the Mesh to Deny once what is called is known",
    )])
}

fn loose(row: &Value, path: &str, mode: &Value, whose: &str) -> Option<Finding> {
    let what = match mode.as_str()? {
        "Permissive" => "plaintext is accepted beside mutual TLS",
        "Disabled" => "mutual TLS is not required, and plaintext is accepted",
        _ => return None,
    };
    let who = name(row);
    Some(Finding::warning(
        format!("{who} is {} at {path}", mode.as_str().unwrap_or_default()),
        format!("{what}{whose}"),
        format!(
            "when every caller is in the mesh, make it Strict ({})",
            place(row)
        ),
    ))
}

/// The workloads that a MutualTLSPolicy selects, as the end of a sentence.
fn whose(row: &Value, workloads: &[Value]) -> String {
    let selector = &row["object"]["spec"]["selector"]["matchLabels"];
    let is_of = |workload: &&Value| {
        let mut wanted = selector.as_object().into_iter().flatten();
        text(workload, "namespace") == text(row, "namespace")
            && wanted.all(|(key, value)| workload["labels"][key] == *value)
    };
    let found: Vec<String> = workloads.iter().filter(is_of).map(full).collect();
    let named = found.get(..NAMED).unwrap_or(&found).join(", ");
    match found.len().saturating_sub(NAMED) {
        _ if found.is_empty() => ", by no workload that runs now".to_owned(),
        0 => format!(", by {named}"),
        more => format!(", by {named} and {more} more"),
    }
}

fn name(row: &Value) -> String {
    format!("{} {}", text(row, "kind"), full(row))
}

fn full(row: &Value) -> String {
    match text(row, "namespace") {
        "" => text(row, "name").to_owned(),
        namespace => format!("{namespace}/{}", text(row, "name")),
    }
}

/// Where a resource is written: its line, or how to change what the cluster has.
fn place(row: &Value) -> String {
    match (row["file"].as_str(), text(row, "namespace")) {
        (Some(file), _) => format!("{file}:{}", row["line"]),
        (None, "") => format!("kubectl edit {}", typed(row)),
        (None, namespace) => format!("kubectl edit -n {namespace} {}", typed(row)),
    }
}

fn typed(row: &Value) -> String {
    format!("{}/{}", text(row, "kind").to_lowercase(), text(row, "name"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Severity;
    use super::super::report::tests::{good, severities};
    use super::*;

    fn with(kind: &str, spec: &Value) -> Facts {
        let mut facts = good();
        if let Ok(control) = &mut facts.control {
            control.resources = vec![json!({
                "kind": kind, "name": "x", "file": "m.yaml", "line": 1, "object": {"spec": spec},
            })];
        }
        facts
    }

    #[test]
    fn modes_below_strict_and_their_ends_are_found() {
        let mesh = with("Mesh", &json!({"mutualTLS": {"mode": "Strict"}}));
        assert_eq!(severities(&strict(&mesh)), []);
        let policy = |until: &str| {
            with(
                "MutualTLSPolicy",
                &json!({"mode": "Permissive", "until": until, "ports": {"9100": {"mode": "Disabled"}}}),
            )
        };
        assert_eq!(
            severities(&strict(&policy("2030-01-01"))),
            [Severity::Warning; 2]
        );
        // The clock of the facts says 2026-01-01.
        for (date, expected) in [
            ("2025-12-31", &[Severity::Fault][..]),
            ("2026-01-01", &[Severity::Warning]),
            ("2026-01-08", &[Severity::Warning]),
            ("2026-01-09", &[]),
            ("", &[]),
        ] {
            assert_eq!(severities(&until(&policy(date))), expected, "{date}");
            let port =
                json!({"mode": "Strict", "ports": {"9100": {"mode": "Disabled", "until": date}}});
            let facts = with("MutualTLSPolicy", &port);
            assert_eq!(severities(&until(&facts)), expected, "port, {date}");
        }
    }

    #[test]
    fn workloads_that_take_plaintext_are_named() {
        let mut facts = with(
            "MutualTLSPolicy",
            &json!({"mode": "Permissive", "selector": {"matchLabels": {"app": "shop"}}}),
        );
        let mut causes = |shops: usize| {
            let Ok(control) = &mut facts.control else {
                unreachable!("the facts are there")
            };
            control.resources[0]["namespace"] = "a".into();
            let workload = |place: &str, app: &str, number: usize| json!({"namespace": place, "name": format!("{app}-{number}"), "labels": {"app": app}});
            control.workloads = vec![workload("a", "other", 0), workload("b", "shop", 0)];
            let more = (0..shops).map(|number| workload("a", "shop", number));
            control.workloads.extend(more);
            let Verdict::Looked(findings) = strict(&facts) else {
                unreachable!("the facts are there")
            };
            findings[0].cause.clone()
        };
        let what = "plaintext is accepted beside mutual TLS";
        assert_eq!(
            place(&json!({"kind": "Mesh", "name": "default"})),
            "kubectl edit mesh/default"
        );
        assert_eq!(causes(0), format!("{what}, by no workload that runs now"));
        assert_eq!(causes(1), format!("{what}, by a/shop-0"));
        assert!(causes(7).ends_with("a/shop-4 and 2 more"));
    }

    #[test]
    fn unknown_destinations_are_denied_or_warned_of() {
        let deny = with(
            "Mesh",
            &json!({"outbound": {"unknownDestinations": "Deny"}}),
        );
        assert_eq!(severities(&unknown(&deny)), []);
        let default = with("Mesh", &json!({}));
        assert_eq!(severities(&unknown(&default)), [Severity::Warning]);
    }
}
