//! Checks of workloads: their leases, their processes, their addresses.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::facts::{Facts, Run};
use super::finding::{Finding, Verdict};
use crate::source::json::{list, text};

pub(super) fn leases(facts: &Facts) -> Verdict {
    let Ok(control) = &facts.control else {
        return Verdict::Blind;
    };
    let finding = |row: &Value| {
        let who = format!("{}/{}", text(row, "namespace"), text(row, "name"));
        (row["stale"] == true).then(|| {
            Finding::warning(
                format!("the lease of {who} was not renewed"),
                "it ended without notice, or over half of its service's workloads lost the control plane at \
                 once; its endpoint is kept, marked stale",
                format!("see whether it runs, and meshctl logs {who} --source proxy"),
            )
        })
    };
    Verdict::Looked(control.workloads.iter().filter_map(finding).collect())
}

pub(super) fn sidecars(facts: &Facts) -> Verdict {
    let finding = |run: &Run| {
        let who = &run.workload;
        let supervisor = run.supervisor?;
        if !supervisor.is_alive {
            return Some(Finding::warning(
                format!(
                    "{who} ended without leaving: process {} is gone",
                    supervisor.process
                ),
                "`meshctl run` was killed",
                "start it again; that replaces what it left",
            ));
        }
        (!supervisor.has_sidecar).then(|| {
            Finding::fault(
                format!("{who} runs without its sidecar"),
                "the sidecar ended and is started again and again",
                format!("meshctl logs {who} --source proxy says why it ends"),
            )
        })
    };
    let Some(state) = &facts.state else {
        return Verdict::Blind;
    };
    Verdict::Looked(state.workloads.iter().filter_map(finding).collect())
}

pub(super) fn addresses(facts: &Facts) -> Verdict {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut note = |address: &str, workload: &str| {
        if !address.is_empty() && !workload.is_empty() {
            users
                .entry(address.to_owned())
                .or_default()
                .insert(workload.to_owned());
        }
    };
    // A workload that does not run takes no port.
    let runs = facts.state.iter().flat_map(|state| &state.workloads);
    for run in runs.filter(|run| run.supervisor.is_some_and(|one| one.is_alive)) {
        run.listeners.iter().for_each(|at| note(at, &run.workload));
    }
    if let Ok(control) = &facts.control {
        // Each pod has a network of its own.
        let beside = facts.cluster.is_none();
        for proxy in control.asked.iter().filter(|_| beside) {
            proxy
                .listeners
                .iter()
                .for_each(|one| note(text(one, "address"), &proxy.workload));
        }
        for port in control
            .services
            .iter()
            .flat_map(|service| list(service, "ports"))
        {
            for endpoint in list(port, "endpoints") {
                note(text(endpoint, "address"), text(endpoint, "workload"));
            }
        }
    }
    let shared = users
        .into_iter()
        .filter(|(_, workloads)| workloads.len() > 1);
    let finding = |(address, workloads): (String, BTreeSet<String>)| {
        let who = Vec::from_iter(workloads).join(" and ");
        Finding::fault(
            format!("{who} share {address}"),
            "only one of them can listen there; calls reach either",
            "give one another --address, --port or --upstream address",
        )
    };
    Verdict::Looked(shared.map(finding).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::facts::Supervisor;
    use super::super::finding::Severity;
    use super::super::report::tests::{good, severities};
    use super::*;

    #[test]
    fn crashes_and_missing_sidecars_are_told_apart() {
        let with = |supervisor: Option<(bool, bool)>| {
            let mut facts = good();
            facts.state.as_mut().unwrap().workloads[0].supervisor =
                supervisor.map(|(is_alive, has_sidecar)| Supervisor {
                    process: 7,
                    is_alive,
                    has_sidecar,
                });
            severities(&sidecars(&facts))
        };
        assert_eq!(with(None), []);
        assert_eq!(with(Some((true, true))), []);
        assert_eq!(with(Some((false, false))), [Severity::Warning]);
        assert_eq!(with(Some((true, false))), [Severity::Fault]);
    }

    #[test]
    fn pods_listen_on_the_same_ports() {
        let mut facts = good();
        if let Ok(control) = &mut facts.control {
            let mut other = control.asked[0].clone();
            other.workload = "a/c".into();
            control.asked.push(other);
        }
        assert_eq!(severities(&addresses(&facts)), []);
        facts.cluster = None;
        assert_eq!(severities(&addresses(&facts)), [Severity::Fault]);
    }

    #[test]
    fn an_address_used_twice_is_found_and_one_workload_may_name_it_often() {
        let mut facts = good();
        assert_eq!(severities(&addresses(&facts)), []);
        if let Ok(control) = &mut facts.control {
            let at = |workload| json!({"address": "127.0.0.9:80", "workload": workload});
            control.services = vec![json!({"ports": [{"endpoints": [at("a/b"), at("a/c")]}]})];
            control.workloads = vec![json!({"namespace": "a", "name": "b", "stale": true})];
        }
        assert_eq!(severities(&addresses(&facts)), [Severity::Fault]);
        assert_eq!(severities(&leases(&facts)), [Severity::Warning]);
    }
}
