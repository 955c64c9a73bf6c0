//! Checks of proxies, as the control plane sees them and as they see themselves.

use serde_json::Value;

use super::facts::{Control, Facts, Proxy};
use super::finding::{Finding, Verdict};
use crate::render::time::age;
use crate::source::json::{list, text, texts};

/// How long an answer may be outstanding before it is worth a look, in seconds.
const PATIENCE: u64 = 10;

pub(super) fn connected(facts: &Facts) -> Verdict {
    each(facts, |row| {
        if has_left(facts, text(row, "workload")) {
            return None;
        }
        let gone = age(row["ageSeconds"].as_u64().unwrap_or_default());
        let who = text(row, "workload");
        (text(row, "state") == "DISCONNECTED").then(|| {
            Finding::fault(
                format!("{who} has been away for {gone}"),
                "it ended, or it cannot reach the control plane; it serves what it last knew",
                format!(
                    "start it again with `meshctl run`, or see meshctl logs {who} --source proxy"
                ),
            )
        })
    })
}

/// True if a proxy's pod is gone: in a cluster that is how pods are replaced. A workload outside of it
/// has its lease, and stays.
fn has_left(facts: &Facts, workload: &str) -> bool {
    let (Some(_), Ok(control)) = (&facts.cluster, &facts.control) else {
        return false;
    };
    let (namespace, name) = workload.split_once('/').unwrap_or_default();
    let is_it = |row: &Value| text(row, "namespace") == namespace && text(row, "name") == name;
    !control.workloads.iter().any(is_it)
}

pub(super) fn current(facts: &Facts) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let mut findings = Vec::new();
    for row in &control.proxies {
        let who = text(row, "workload");
        let seconds = row["ageSeconds"].as_u64().unwrap_or_default();
        match text(row, "state") {
            "NACKED" => findings.extend(refusals(row)),
            "STALE" if seconds >= PATIENCE => findings.push(Finding::warning(
                format!("{who} has been STALE for {}", age(seconds)),
                "it did not answer what was sent to it",
                format!("meshctl logs {who} --source proxy; start it again if it hangs"),
            )),
            _ => {}
        }
    }
    Verdict::Looked(findings)
}

pub(super) fn ready(facts: &Facts) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let finding = |proxy: &Proxy| {
        let who = &proxy.workload;
        if proxy.ready.is_null() {
            let fix = format!("meshctl logs {who} --source proxy");
            return Some(Finding::fault(
                format!("{who} does not say whether it is ready"),
                "it did not answer within 5 s",
                fix,
            ));
        }
        let waiting = texts(&proxy.ready, "waitingFor").join(", ");
        match (
            proxy.ready["ready"] == true,
            proxy.ready["draining"] == true,
        ) {
            (true, _) => None,
            (_, true) => Some(Finding::warning(
                format!("{who} drains"),
                "it was told to end",
                "nothing to do: it leaves when its exchanges are done",
            )),
            _ => Some(Finding::fault(
                format!("{who} is not ready: it waits for its {waiting}"),
                "no traffic reaches it",
                format!("meshctl logs {who} --source proxy says what holds it up"),
            )),
        }
    };
    Verdict::Looked(control.asked.iter().filter_map(finding).collect())
}

pub(super) fn build(facts: &Facts) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let finding = |row: &Value| differs(row, control);
    Verdict::Looked(control.proxies.iter().filter_map(finding).collect())
}

fn differs(row: &Value, control: &Control) -> Option<Finding> {
    let (who, build) = (text(row, "workload"), text(row, "build"));
    (build != control.build).then(|| {
        Finding::warning(
            format!("{who} is {build}, the control plane is {}", control.build),
            "one of them was upgraded alone; a proxy refuses what it does not know",
            format!("start {who} again with the control plane's version"),
        )
    })
}

fn refusals(row: &Value) -> Vec<Finding> {
    let who = text(row, "workload");
    let entries = list(row, "entries").iter();
    let faults = entries.flat_map(|entry| {
        list(entry, "faults")
            .iter()
            .map(move |fault| (entry, fault))
    });
    let finding = |(entry, fault): (&Value, &Value)| {
        Finding::fault(
            format!("{who} refused {}", text(entry, "name")),
            format!("{}: {}", text(fault, "path"), text(fault, "reason")),
            "mend what is named; the last good configuration stays in force meanwhile",
        )
    };
    faults.map(finding).collect()
}

fn each(facts: &Facts, look: impl Fn(&Value) -> Option<Finding>) -> Verdict {
    match &facts.control {
        Ok(control) => Verdict::Looked(control.proxies.iter().filter_map(look).collect()),
        Err(_) => Verdict::Blind,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::facts::Cluster;
    use super::super::finding::Severity;
    use super::super::report::tests::{good, severities};
    use super::*;

    fn with(row: Value) -> Facts {
        let mut facts = good();
        if let Ok(control) = &mut facts.control {
            control.proxies = vec![row];
        }
        facts.cluster = None;
        facts
    }

    #[test]
    fn a_pod_that_is_gone_is_not_away() {
        let mut facts = with(json!({"workload": "a/b", "state": "DISCONNECTED", "ageSeconds": 70}));
        facts.cluster = Some(Cluster::default());
        assert_eq!(severities(&connected(&facts)), []);
        if let Ok(control) = &mut facts.control {
            control.workloads = vec![json!({"namespace": "a", "name": "b"})];
        }
        assert_eq!(severities(&connected(&facts)), [Severity::Fault]);
    }

    #[test]
    fn proxies_that_are_away_behind_or_refusing_are_found() {
        let gone = with(
            json!({"workload": "a/b", "state": "DISCONNECTED", "ageSeconds": 70, "build": "1"}),
        );
        assert_eq!(severities(&connected(&gone)), [Severity::Fault]);
        for (state, age, expected) in [
            ("SYNCED", 99, &[][..]),
            ("STALE", 3, &[]),
            ("STALE", 30, &[Severity::Warning]),
        ] {
            let facts = with(json!({"workload": "a/b", "state": state, "ageSeconds": age}));
            assert_eq!(severities(&current(&facts)), expected, "{state} {age}");
        }
        let refused = with(json!({"workload": "a/b", "state": "NACKED", "entries": [
            {"name": "mesh", "faults": [{"path": "x", "reason": "y"}, {"path": "z", "reason": "y"}]},
        ]}));
        assert_eq!(severities(&current(&refused)), [Severity::Fault; 2]);
        let old = with(json!({"workload": "a/b", "state": "SYNCED", "build": "0"}));
        assert_eq!(severities(&build(&old)), [Severity::Warning]);
    }

    #[test]
    fn readiness_is_what_the_proxy_says() {
        for (answer, expected) in [
            (json!({"ready": true}), &[][..]),
            (
                json!({"ready": false, "draining": true}),
                &[Severity::Warning],
            ),
            (
                json!({"ready": false, "waitingFor": ["listeners"]}),
                &[Severity::Fault],
            ),
            (Value::Null, &[Severity::Fault]),
        ] {
            let mut facts = good();
            if let Ok(control) = &mut facts.control {
                control.asked[0].ready = answer.clone();
            }
            assert_eq!(severities(&ready(&facts)), expected, "{answer}");
        }
    }
}
