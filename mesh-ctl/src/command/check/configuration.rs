//! Checks of resources, as the control plane judges them.

use serde_json::Value;

use super::facts::Facts;
use super::finding::{Finding, Verdict};
use crate::source::json::{list, text};

pub(super) fn accepted(facts: &Facts) -> Verdict {
    refused(facts, "Accepted", "is refused")
}

pub(super) fn resolved(facts: &Facts) -> Verdict {
    refused(facts, "ResolvedRefs", "names what is not there")
}

pub(super) fn endpoints(facts: &Facts) -> Verdict {
    ports(facts, |service, port| {
        if !list(port, "endpoints").is_empty() {
            return None;
        }
        let name = place(service, port);
        let what = format!("{name} has no endpoints");
        let fix = if facts.cluster.is_some() {
            "run pods that have its labels and are ready, or compare the Service's selector with \
             `kubectl get pods --show-labels`"
        } else {
            "start one (`meshctl run` with --label and --port), or compare the Service's selector with \
             `meshctl get workloads -o wide`"
        };
        Some(match callers(facts, &name).as_slice() {
            [] => Finding::warning(
                what,
                "no workload with its labels and port is registered: a call would fail with 503",
                fix,
            ),
            callers => Finding::fault(
                what,
                format!(
                    "no workload with its labels and port is registered: calls of {} fail with 503",
                    callers.join(", ")
                ),
                fix,
            ),
        })
    })
}

/// Workloads whose proxies hold this destination: they call it, or may at any moment.
fn callers<'a>(facts: &'a Facts, destination: &str) -> Vec<&'a str> {
    let proxies = facts
        .control
        .as_ref()
        .map_or(&[][..], |control| &control.proxies);
    let entry = format!("destination/{destination}");
    let holds = |row: &&Value| {
        list(row, "entries")
            .iter()
            .any(|held| text(held, "name") == entry)
    };
    proxies
        .iter()
        .filter(holds)
        .map(|row| text(row, "workload"))
        .collect()
}

pub(super) fn protocols(facts: &Facts) -> Verdict {
    ports(facts, |service, port| {
        let name = place(service, port);
        (text(port, "protocol") == "detect").then(|| {
            Finding::warning(
                format!("{name} does not declare its protocol"),
                "it is told by the first bytes: 100 ms are lost where the server speaks first",
                "write `appProtocol: http` (http2, grpc, tls, tcp) at the port of the Service",
            )
        })
    })
}

/// Every resource whose condition of this type is False.
fn refused(facts: &Facts, condition: &str, trouble: &str) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let finding = |row: &Value| {
        let conditions = list(row, "conditions").iter();
        let mut bad = conditions.filter(|one| one["type"] == condition && one["status"] == "False");
        let message = text(bad.next()?, "message").replace('\n', "; ");
        let file = row["file"].as_str().unwrap_or("its registration");
        let line = match row["line"].as_u64() {
            Some(line) if line > 0 => format!(":{line}"),
            _ => String::new(),
        };
        let effect = if row["stale"] == true {
            "; an earlier version stays in force"
        } else {
            ""
        };
        Some(Finding::fault(
            format!("{} {trouble} ({condition}=False)", name(row)),
            format!("{message}{effect}"),
            format!("mend {file}{line}; `meshctl validate` shows every fault at its place"),
        ))
    };
    Verdict::Looked(control.resources.iter().filter_map(finding).collect())
}

/// What a look at every port of every service finds.
fn ports(facts: &Facts, look: impl Fn(&Value, &Value) -> Option<Finding>) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let mut findings = Vec::new();
    for service in &control.services {
        findings.extend(
            list(service, "ports")
                .iter()
                .filter_map(|port| look(service, port)),
        );
    }
    Verdict::Looked(findings)
}

fn place(service: &Value, port: &Value) -> String {
    format!(
        "{}/{}:{}",
        text(service, "namespace"),
        text(service, "name"),
        port["port"]
    )
}

fn name(row: &Value) -> String {
    match (text(row, "kind"), text(row, "namespace"), text(row, "name")) {
        ("", _, _) => "a document".to_owned(),
        (kind, "", name) => format!("{kind} {name}"),
        (kind, namespace, name) => format!("{kind} {namespace}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::finding::Severity;
    use super::super::report::tests::{good, severities};
    use super::*;

    #[test]
    fn refused_resources_say_where_and_why() {
        let mut facts = good();
        if let Ok(control) = &mut facts.control {
            control.resources = vec![json!({
                "kind": "HTTPRoute", "namespace": "demo", "name": "a", "file": "a.yaml", "line": 3,
                "stale": true,
                "conditions": [
                    {"type": "Accepted", "status": "False", "message": "spec.x: is wrong"},
                    {"type": "ResolvedRefs", "status": "True", "message": ""},
                ],
            })];
        }
        assert_eq!(severities(&resolved(&facts)), []);
        let Verdict::Looked(found) = accepted(&facts) else {
            unreachable!("there are facts")
        };
        assert_eq!(
            found[0].what,
            "HTTPRoute demo/a is refused (Accepted=False)"
        );
        assert_eq!(
            found[0].cause,
            "spec.x: is wrong; an earlier version stays in force"
        );
        assert!(
            found[0].fix.starts_with("mend a.yaml:3;"),
            "{}",
            found[0].fix
        );
    }

    #[test]
    fn ports_without_endpoints_or_protocol_are_warned_of() {
        let mut facts = good();
        if let Ok(control) = &mut facts.control {
            control.services = vec![json!({"namespace": "demo", "name": "a", "ports": [
                {"port": 80, "protocol": "detect", "endpoints": []},
                {"port": 81, "protocol": "http", "endpoints": [{}]},
            ]})];
        }
        assert_eq!(severities(&endpoints(&facts)), [Severity::Warning]);
        let called = json!({"workload": "demo/b", "entries": [{"name": "destination/demo/a:80"}]});
        if let Ok(control) = &mut facts.control {
            control.proxies = vec![called];
        }
        assert_eq!(severities(&endpoints(&facts)), [Severity::Fault]);
        assert_eq!(severities(&protocols(&facts)), [Severity::Warning]);
    }
}
