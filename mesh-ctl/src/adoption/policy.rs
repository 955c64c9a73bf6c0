//! NetworkPolicies that were written before the mesh: calls between its pods arrive on the tunnel
//! port, and sidecars call the control plane.

use serde_json::{Value, json};

use super::Breakage;
use super::objects::{Objects, name, namespace, owner, selects, unique};
use crate::source::json::{list, text};

/// Where a sidecar takes calls of others.
const TUNNEL: u64 = 15008;
/// Where the control plane takes sidecars.
const CONTROL: u64 = 15012;

/// Every policy that keeps pods of the mesh apart.
pub(crate) fn network_policies(objects: &Objects) -> Vec<Breakage> {
    let mut found = Vec::new();
    for policy in &objects.policies {
        let selector = &policy["spec"]["podSelector"];
        let is_selected =
            |pod: &&Value| namespace(pod) == namespace(policy) && selects(pod, selector);
        let pods: Vec<&Value> = objects.meshed().filter(is_selected).collect();
        if pods.is_empty() {
            continue;
        }
        let owners = unique(pods.iter().map(|pod| owner(pod)));
        found.extend(ingress(objects, policy, &pods, &owners));
        found.extend(egress(objects, policy, &pods, &owners));
    }
    found
}

/// A rule that lets callers in by ports alone lets none in by the tunnel.
fn ingress(
    objects: &Objects,
    policy: &Value,
    pods: &[&Value],
    owners: &[String],
) -> Option<Breakage> {
    if !is_of(policy, "Ingress") {
        return None;
    }
    let rules = list(&policy["spec"], "ingress");
    let lacking = rules.iter().filter(|rule| !opens(rule, TUNNEL));
    let lacking: Vec<&Value> = lacking
        .filter(|rule| !is_opened_elsewhere(objects, pods, &rule["from"]))
        .collect();
    let first = lacking.first()?;
    let rule = json!({ "from": first["from"], "ports": [{ "protocol": "TCP", "port": TUNNEL }] });
    let from = if first["from"].is_array() {
        "the same callers"
    } else {
        "everyone"
    };
    Some(Breakage {
        what: format!(
            "NetworkPolicy {}/{} lets {from} reach {}, but not on port {TUNNEL}",
            namespace(policy),
            name(policy),
            owners.join(", ")
        ),
        cause: format!(
            "calls between pods of the mesh arrive on port {TUNNEL}, whatever the app's port"
        ),
        fix: format!("add to its spec.ingress: {}", without_null(&rule)),
    })
}

/// A policy of outgoing traffic must let sidecars reach the control plane and each other.
fn egress(
    objects: &Objects,
    policy: &Value,
    pods: &[&Value],
    owners: &[String],
) -> Option<Breakage> {
    if !is_of(policy, "Egress") {
        return None;
    }
    let all = || policies_of(objects, pods).filter(|policy| is_of(policy, "Egress"));
    let is_open = |port: u64| {
        all().any(|policy| {
            list(&policy["spec"], "egress")
                .iter()
                .any(|rule| opens(rule, port))
        })
    };
    let closed: Vec<u64> = [TUNNEL, CONTROL]
        .into_iter()
        .filter(|&port| !is_open(port))
        .collect();
    if closed.is_empty() {
        return None;
    }
    let ports: Vec<Value> = closed
        .iter()
        .map(|port| json!({ "protocol": "TCP", "port": port }))
        .collect();
    let numbers: Vec<String> = closed.iter().map(ToString::to_string).collect();
    Some(Breakage {
        what: format!(
            "NetworkPolicy {}/{} does not let {} call port {}",
            namespace(policy),
            name(policy),
            owners.join(", "),
            numbers.join(" and ")
        ),
        cause: format!(
            "sidecars call each other on port {TUNNEL} and the control plane on port {CONTROL}"
        ),
        fix: format!("add to its spec.egress: {}", json!({ "ports": ports })),
    })
}

/// True if some policy lets at least the callers of `from` in on the tunnel port.
fn is_opened_elsewhere(objects: &Objects, pods: &[&Value], from: &Value) -> bool {
    policies_of(objects, pods).any(|policy| {
        let rules = list(&policy["spec"], "ingress").iter();
        rules.into_iter().any(|rule| {
            let is_wide = list(rule, "from").is_empty() || rule["from"] == *from;
            is_wide && opens(rule, TUNNEL)
        })
    })
}

/// Policies that select all of these pods.
fn policies_of<'a>(objects: &'a Objects, pods: &'a [&Value]) -> impl Iterator<Item = &'a Value> {
    objects.policies.iter().filter(|policy| {
        pods.iter().all(|pod| {
            namespace(pod) == namespace(policy) && selects(pod, &policy["spec"]["podSelector"])
        })
    })
}

/// True if a rule covers a port; one without ports covers all.
fn opens(rule: &Value, port: u64) -> bool {
    let ports = list(rule, "ports");
    let covers = |one: &Value| {
        let start = one["port"].as_u64();
        let end = one["endPort"].as_u64().or(start);
        matches!(text(one, "protocol"), "" | "TCP")
            && match (start, end) {
                (Some(start), Some(end)) => (start..=end).contains(&port),
                // A name is of a port of the app; no port at all is every one.
                _ => one["port"].is_null(),
            }
    };
    ports.is_empty() || ports.iter().any(covers)
}

/// What a policy is about; without a list it is Ingress, and Egress if it has such rules.
fn is_of(policy: &Value, direction: &str) -> bool {
    let spec = &policy["spec"];
    match list(spec, "policyTypes") {
        [] => direction == "Ingress" || !list(spec, "egress").is_empty(),
        types => types.iter().any(|one| one == direction),
    }
}

fn without_null(rule: &Value) -> Value {
    let mut rule = rule.clone();
    if let Some(fields) = rule.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    rule
}
