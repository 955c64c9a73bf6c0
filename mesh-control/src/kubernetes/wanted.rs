//! The status that an object should have, and what of it is missing. Does no I/O. May use `status` and
//! `index`.
//!
//! A route has an entry for each parent of ours, a policy one for each target, other kinds plain
//! conditions. Entries of other controllers stay as they are.

use mesh_api::resource::Kind;
use serde_json::{Map, Value, json};

use crate::index::Judged;
use crate::status::Condition;

/// Who we are in the status of the Gateway API's kinds.
pub(super) const CONTROLLER: &str = "mesh.dev/control";

/// The status of an object as it was judged; `None` if it is so already, or if nothing of it is ours to
/// say. `now` is the time as RFC 3339.
pub(super) fn status(kind: Kind, judged: &Judged, now: &str) -> Option<Value> {
    let Judged {
        object, conditions, ..
    } = judged;
    let generation = object["metadata"]["generation"].as_i64();
    let before = &object["status"];
    let made = Made { generation, now };
    match kind {
        Kind::HTTPRoute | Kind::GRPCRoute | Kind::TLSRoute | Kind::TCPRoute => {
            let parents = list(&object["spec"]["parentRefs"]);
            let parents = parents.iter().enumerate();
            let ours = parents.filter(|(_, parent)| is_service(parent));
            let wanted = ours.map(|(place, parent)| Wanted {
                named: parent.clone(),
                conditions: judged.parents.get(&place).unwrap_or(conditions),
            });
            made.entries(before, "parents", "parentRef", wanted.collect())
        }
        Kind::Mesh | Kind::Workload | Kind::RouteMatch | Kind::DirectResponse => {
            let conditions = made.conditions(&before["conditions"], conditions);
            differs(&before["conditions"], &conditions).then(|| json!({ "conditions": conditions }))
        }
        Kind::Namespace | Kind::Service | Kind::EndpointSlice | Kind::Pod => None,
        // Policies.
        _ => {
            let mut targets: Vec<Value> = list(&object["spec"]["targetRefs"])
                .iter()
                .map(|target| ancestor(target, object))
                .collect();
            if targets.is_empty() {
                targets.push(json!({
                    "group": "", "kind": "Namespace", "name": object["metadata"]["namespace"],
                }));
            }
            let wanted = targets
                .into_iter()
                .map(|named| Wanted { named, conditions });
            made.entries(before, "ancestors", "ancestorRef", wanted.collect())
        }
    }
}

/// An entry of ours.
struct Wanted<'a> {
    /// The parent or the target.
    named: Value,
    /// How the object stands there.
    conditions: &'a [Condition],
}

struct Made<'a> {
    generation: Option<i64>,
    now: &'a str,
}

impl Made<'_> {
    /// A list with an entry of ours for each of `wanted`, after those of others.
    fn entries(
        &self,
        before: &Value,
        list_name: &str,
        ref_name: &str,
        wanted: Vec<Wanted<'_>>,
    ) -> Option<Value> {
        let held = list(&before[list_name]);
        let is_ours = |entry: &&Value| entry["controllerName"] == CONTROLLER;
        let mut entries: Vec<Value> = held
            .iter()
            .filter(|entry| !is_ours(entry))
            .cloned()
            .collect();
        let places = MAX_ENTRIES.saturating_sub(entries.len());
        for Wanted { named, conditions } in wanted.into_iter().take(places) {
            let same = |entry: &&Value| entry[ref_name] == named;
            let before = held.iter().filter(is_ours).find(same);
            let before = before.map_or(&Value::Null, |entry| &entry["conditions"]);
            let conditions = self.conditions(before, conditions);
            let mut entry = Map::new();
            entry.insert(ref_name.into(), named);
            entry.insert("controllerName".into(), CONTROLLER.into());
            entry.insert("conditions".into(), conditions);
            entries.push(Value::Object(entry));
        }
        let entries = Value::Array(entries);
        if !differs(&before[list_name], &entries) {
            return None;
        }
        Some(json!({ list_name: entries }))
    }

    /// Conditions; each keeps the time of its last change.
    fn conditions(&self, before: &Value, conditions: &[Condition]) -> Value {
        let held = list(before);
        let conditions = conditions.iter().map(|condition| {
            let status = condition.status;
            let since = held
                .iter()
                .find(|held| held["type"] == condition.kind && held["status"] == status)
                .and_then(|held| held["lastTransitionTime"].as_str());
            let mut made = json!({
                "type": condition.kind,
                "status": status,
                "reason": condition.reason,
                "message": shorten(&condition.message),
                "lastTransitionTime": since.unwrap_or(self.now),
            });
            if let Some(generation) = self.generation {
                made["observedGeneration"] = generation.into();
            }
            made
        });
        Value::Array(conditions.collect())
    }
}

/// True if a parent is one that we serve.
fn is_service(parent: &Value) -> bool {
    parent["kind"] == "Service"
        && parent["group"].as_str().unwrap_or_default().is_empty()
        && parent["group"].is_string()
}

/// A target of a policy, in the form of an ancestor.
fn ancestor(target: &Value, policy: &Value) -> Value {
    let kind = target["kind"].as_str().unwrap_or_default();
    let usual = match kind {
        "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" => "gateway.networking.k8s.io",
        _ => "",
    };
    let mut made = json!({
        "group": target["group"].as_str().unwrap_or(usual),
        "kind": kind,
        "name": target["name"],
        "namespace": policy["metadata"]["namespace"],
    });
    for field in ["sectionName", "port"] {
        if !target[field].is_null() {
            made[field] = target[field].clone();
        }
    }
    made
}

/// True if two lists differ, whatever their order of fields.
fn differs(before: &Value, wanted: &Value) -> bool {
    before != wanted && !(before.is_null() && list(wanted).is_empty())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn shorten(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}

/// The Gateway API's limit.
const MAX_ENTRIES: usize = 32;
/// The limit of a condition's message, with room for what follows ASCII.
const MAX_MESSAGE: usize = 8_192;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn accepted() -> Vec<Condition> {
        vec![Condition {
            kind: "Accepted",
            status: "True",
            reason: "Accepted",
            message: String::new(),
        }]
    }

    fn judged(object: &Value) -> Judged {
        Judged {
            object: object.clone(),
            conditions: accepted(),
            parents: BTreeMap::new(),
        }
    }

    fn route() -> Value {
        json!({
            "metadata": {"name": "a", "namespace": "demo", "generation": 3},
            "spec": {"parentRefs": [
                {"group": "", "kind": "Service", "name": "shop", "port": 80},
                {"name": "edge"},
            ]},
            "status": {"parents": [
                {"parentRef": {"name": "edge"}, "controllerName": "other/one", "conditions": []},
            ]},
        })
    }

    #[test]
    fn each_parent_of_ours_gets_an_entry_and_others_keep_theirs() {
        let mut route = route();
        let status_at = |route: &Value, now| status(Kind::HTTPRoute, &judged(route), now);
        let first = status_at(&route, "2026-01-01T00:00:00Z").unwrap();
        let parents = first["parents"].as_array().unwrap();
        assert_eq!(parents.len(), 2, "{first}");
        assert_eq!(parents[0]["controllerName"], "other/one");
        assert_eq!(parents[1]["parentRef"]["port"], 80);
        assert_eq!(parents[1]["conditions"][0]["observedGeneration"], 3);
        route["status"] = first;
        assert_eq!(status_at(&route, "2026-01-02T00:00:00Z"), None, "no change");

        route["metadata"]["generation"] = 4.into();
        let next = status_at(&route, "2026-01-02T00:00:00Z").unwrap();
        let condition = &next["parents"][1]["conditions"][0];
        assert_eq!(condition["observedGeneration"], 4);
        assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
        // A parent that is gone takes its entry along.
        route["spec"]["parentRefs"] = json!([{"name": "edge"}]);
        let last = status_at(&route, "2026-01-03T00:00:00Z").unwrap();
        assert_eq!(last["parents"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_route_of_others_only_is_left_alone() {
        let mut route = route();
        route["spec"]["parentRefs"] = json!([{"name": "edge"}]);
        assert_eq!(status(Kind::HTTPRoute, &judged(&route), "t"), None);
    }

    #[test]
    fn each_parent_has_what_became_of_the_route_there() {
        let mut route = route();
        route["spec"]["parentRefs"] = json!([
            {"name": "edge"},
            {"group": "", "kind": "Service", "name": "shop"},
            {"group": "", "kind": "Service", "name": "gone"},
        ]);
        let mut judged = judged(&route);
        let mut refused = accepted();
        refused[0].status = "False";
        refused[0].reason = "NoMatchingParent";
        judged.parents = BTreeMap::from([(1, accepted()), (2, refused)]);
        let made = status(Kind::HTTPRoute, &judged, "t").unwrap();
        let statuses: Vec<&Value> = (1..3)
            .map(|entry| &made["parents"][entry]["conditions"][0]["status"])
            .collect();
        assert_eq!(statuses, ["True", "False"], "{made}");
        assert_eq!(made["parents"][0]["controllerName"], "other/one");
        assert_eq!(made["parents"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn policies_have_ancestors() {
        let policy = json!({
            "metadata": {"name": "a", "namespace": "demo", "generation": 1},
            "spec": {"targetRefs": [{"kind": "HTTPRoute", "name": "r"}]},
        });
        let made = status(Kind::TrafficPolicy, &judged(&policy), "t").unwrap();
        let ancestor = &made["ancestors"][0]["ancestorRef"];
        assert_eq!(ancestor["group"], "gateway.networking.k8s.io");
        assert_eq!(ancestor["namespace"], "demo");
    }
}
