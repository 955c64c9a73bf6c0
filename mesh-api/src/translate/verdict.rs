//! What became of a resource: accepted or refused, references, conflicts.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::Invalid;
use crate::name::{Name, ObjectName};
use crate::resource::{Kind, ResourceKey};
use crate::translate::checked::{CheckedRoute, CheckedTraffic, Parent, RateTargets, TrafficTarget};
use crate::translate::conflict::{self, Standing};
use crate::translate::extension;
use crate::translate::index::{Dated, Index, RouteKey};
use crate::translate::outbound::resolve;
use crate::translate::ratelimit;
use crate::translate::settings::Section;

/// What became of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// True if the resource as written is in force.
    pub accepted: bool,
    /// Why a reference of it does not resolve: `BackendNotFound: Service demo/x not found`.
    pub resolved_refs: Result<(), String>,
    /// Everything wrong with it, each at its field.
    pub faults: Vec<Invalid>,
    /// True if it was refused and an older version stays in force.
    pub keeps_last_good: bool,
    /// The status conditions, in the Gateway API's words.
    pub conditions: Vec<Condition>,
    /// Of a route: those of each parent of ours, by its place in `spec.parentRefs`. Empty if the route
    /// was refused as a whole.
    pub parents: BTreeMap<usize, Vec<Condition>>,
}

impl Default for Verdict {
    fn default() -> Self {
        Self {
            accepted: true,
            resolved_refs: Ok(()),
            faults: Vec::new(),
            keeps_last_good: false,
            conditions: Vec::new(),
            parents: BTreeMap::new(),
        }
    }
}

/// A status condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `Accepted`, `ResolvedRefs` or `Conflicted`.
    pub kind: &'static str,
    /// Whether it holds.
    pub status: bool,
    /// A word: `Accepted`, `UnsupportedValue`, `NoMatchingParent`, `BackendNotFound` ...
    pub reason: &'static str,
    /// A sentence.
    pub message: String,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            status,
            reason,
            message,
        } = self;
        write!(f, "{kind}={status} {reason}")?;
        if message.is_empty() {
            Ok(())
        } else {
            write!(f, ": {message}")
        }
    }
}

impl Verdict {
    pub(super) fn refused(faults: Vec<Invalid>, keeps_last_good: bool) -> Self {
        let message = faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        let conditions = vec![Condition {
            kind: "Accepted",
            status: false,
            reason: "UnsupportedValue",
            message,
        }];
        Self {
            accepted: false,
            faults,
            keeps_last_good,
            conditions,
            ..Self::default()
        }
    }

    /// Records a condition; one that fails `Accepted` also takes the acceptance away.
    fn add(&mut self, kind: &'static str, status: bool, reason: &'static str, message: String) {
        if kind == "Accepted" && !status {
            self.accepted = false;
        }
        self.conditions.push(Condition {
            kind,
            status,
            reason,
            message,
        });
    }
}

/// The verdict on a resource that passed its checks.
pub(super) fn of(index: &Index, key: &ResourceKey) -> Verdict {
    let mut verdict = Verdict::default();
    match (key.kind, key.object()) {
        (
            kind @ (Kind::HTTPRoute | Kind::GRPCRoute | Kind::TLSRoute | Kind::TCPRoute),
            Some(name),
        ) => {
            route(index, &RouteKey { kind, name }, &mut verdict);
        }
        (Kind::TrafficPolicy, Some(name)) => traffic(index, &name, &mut verdict),
        (Kind::RateLimitPolicy, Some(name)) => rate_limits(index, &name, &mut verdict),
        _ => verdict.add("Accepted", true, "Accepted", String::new()),
    }
    verdict
}

fn route(index: &Index, key: &RouteKey, verdict: &mut Verdict) {
    let Some(route) = index.route(key) else {
        return;
    };
    if route.value.parents.is_empty() {
        // Not the mesh's: there is nothing of ours to say.
        return;
    }
    for parent in &route.value.parents {
        let mut of_parent = Verdict::default();
        attached(
            index,
            key,
            route,
            std::slice::from_ref(parent),
            &mut of_parent,
        );
        verdict.parents.insert(parent.place, of_parent.conditions);
    }
    attached(index, key, route, &route.value.parents, verdict);
}

/// What became of a route at `parents`.
fn attached(
    index: &Index,
    key: &RouteKey,
    route: &Dated<CheckedRoute>,
    parents: &[Parent],
    verdict: &mut Verdict,
) {
    let missing = parents.iter().find_map(|parent| not_found(index, parent));
    let Standing { decides, loses } = conflict::standing(index, key, route, parents);
    match (missing, loses) {
        (Some(message), _) => verdict.add("Accepted", false, "NoMatchingParent", message),
        (None, Some(message)) if !decides => {
            verdict.add("Accepted", false, "Conflicted", message);
        }
        (None, loses) => {
            verdict.add("Accepted", true, "Accepted", String::new());
            if let Some(message) = loses {
                verdict.add("Conflicted", true, "Conflicted", message);
            }
        }
    }
    let rules = route.value.rules.iter();
    let mirrors = rules.clone().flat_map(|rule| &rule.mirrors);
    let mirrors = mirrors.map(|mirror| &mirror.reference);
    let references = rules.clone().flat_map(|rule| &rule.backends).chain(mirrors);
    let broken = parents.iter().find_map(|parent| {
        references
            .clone()
            .find_map(|reference| resolve(index, &key.name, &parent.service, reference).err())
    });
    let broken = broken.or_else(|| {
        let mut rules = rules.clone();
        rules.find_map(|rule| extension::resolve(index, &key.name.namespace, rule).err())
    });
    match broken {
        Some(broken) => {
            verdict.resolved_refs = Err(format!("{}: {}", broken.reason, broken.message));
            verdict.add("ResolvedRefs", false, broken.reason, broken.message);
        }
        None => verdict.add("ResolvedRefs", true, "ResolvedRefs", String::new()),
    }
}

/// Why a parent is not there, as a sentence.
fn not_found(index: &Index, parent: &Parent) -> Option<String> {
    let Some(service) = index.services.find(&parent.service) else {
        return Some(format!("Service {} not found", parent.service));
    };
    let found = service.value.ports.iter().any(|port| parent.takes_in(port));
    (!found).then(|| {
        format!(
            "Service {} has no port that the parentRef names",
            parent.service
        )
    })
}

fn traffic(index: &Index, name: &ObjectName, verdict: &mut Verdict) {
    let Some(policy) = index.traffic.find(name) else {
        return;
    };
    match policy
        .value
        .targets
        .iter()
        .find_map(|target| missing(index, name, target))
    {
        Some(message) => verdict.add("Accepted", false, "TargetNotFound", message),
        None => verdict.add("Accepted", true, "Accepted", String::new()),
    }
    if let Some(message) = conflict(index, name, policy) {
        verdict.add("Conflicted", true, "Conflicted", message);
    }
}

fn rate_limits(index: &Index, name: &ObjectName, verdict: &mut Verdict) {
    let Some(policy) = index.rate_limits.find(name) else {
        return;
    };
    let targets = match &policy.value.targets {
        RateTargets::Workloads(_) => &[][..],
        RateTargets::Objects(targets) => targets.as_slice(),
    };
    let mut all = targets.iter();
    if let Some(message) = all.find_map(|target| missing(index, name, target)) {
        return verdict.add("Accepted", false, "TargetNotFound", message);
    }
    let mut all = targets.iter();
    match all.find_map(|target| ratelimit::unknowable(index, &name.namespace, target)) {
        Some(message) => verdict.add("Accepted", false, "UnsupportedValue", message),
        None => verdict.add("Accepted", true, "Accepted", String::new()),
    }
}

fn missing(index: &Index, policy: &ObjectName, target: &TrafficTarget) -> Option<String> {
    let object = |name: &Name| ObjectName::new(policy.namespace.clone(), name.clone());
    match target {
        TrafficTarget::Namespace => None,
        TrafficTarget::Service(name)
        | TrafficTarget::ServicePort(name, _)
        | TrafficTarget::ServicePortNamed(name, _) => {
            let service = object(name);
            let Some(found) = index.services.find(&service) else {
                return Some(format!("Service {service} not found"));
            };
            let has_port = found.value.ports.iter().any(|port| match target {
                TrafficTarget::ServicePort(_, number) => port.port == *number,
                TrafficTarget::ServicePortNamed(_, text) => port.name == *text,
                _ => true,
            });
            let names_port = !matches!(target, TrafficTarget::Service(_));
            (names_port && !has_port).then(|| format!("Service {service} has no such port"))
        }
        TrafficTarget::Route(kind, name) | TrafficTarget::Rule(kind, name, _) => {
            let (kind, name) = (*kind, object(name));
            let key = RouteKey { kind, name };
            let Some(found) = index.route(&key) else {
                return Some(format!("{kind} {} not found", key.name));
            };
            let TrafficTarget::Rule(_, _, rule) = target else {
                return None;
            };
            let has_rule = found
                .value
                .rules
                .iter()
                .any(|known| known.name.as_ref() == Some(rule));
            (!has_rule).then(|| format!("{kind} {} has no rule {rule}", key.name))
        }
    }
}

/// An older policy that sets a section of this one for the same target.
fn conflict(index: &Index, name: &ObjectName, policy: &Dated<CheckedTraffic>) -> Option<String> {
    let this = (policy.created, &name.name);
    index
        .traffic
        .within(&name.namespace)
        .filter(|(other, dated)| (dated.created, *other) < this)
        .find_map(|(other, dated)| {
            let shares_target = policy
                .value
                .targets
                .iter()
                .any(|target| dated.value.targets.contains(target));
            let both = |section: &Section| {
                section.is_in(&policy.value.sections) && section.is_in(&dated.value.sections)
            };
            let section = Section::ALL
                .into_iter()
                .find(both)
                .filter(|_| shares_target)?;
            Some(format!(
                "TrafficPolicy {}/{other} sets {} for the same target and wins",
                name.namespace,
                section.field()
            ))
        })
}
