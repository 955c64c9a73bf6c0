//! Checks of `RateLimitPolicy`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::Faults;
use crate::model::fault::FaultMatch;
use crate::model::ratelimit::{KeyPart, Rate, RateLimit};
use crate::name::{HeaderName, Name, Namespace};
use crate::resource::Kind;
use crate::resource::fault::FaultMatchField;
use crate::resource::ratelimit::{
    RateKeyField, RateLimitField, RateLimitPolicy, RateLimitPolicySpec, RateScope,
};
use crate::translate::check_fault::{MAX_EXPRESSIONS, match_of, of_route};
use crate::translate::check_match;
use crate::translate::check_policy::{MAX_TARGETS, traffic_target};
use crate::translate::check_reference::at_most;
use crate::translate::check_workload::whole;
use crate::translate::checked::{CheckedRateLimits, RateTargets, TrafficTarget};

/// Why what instances would share is refused.
const UNTIL_GLOBAL: &str =
    "is not supported until instances count together: a limit is Local, of each instance by itself";
/// Why a claim is refused.
const UNTIL_TOKENS: &str =
    "is not supported until requests are authenticated by tokens: use identity, header or sourceIP";
/// Why a caller's labels are refused.
const UNKNOWN_LABELS: &str =
    "is not known to the receiving side: use sourceNamespaces, or by with identity";

/// Checks a `RateLimitPolicy`.
pub(super) fn rate_limits(
    policy: &RateLimitPolicy,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<CheckedRateLimits> {
    let spec = &policy.spec;
    faults.field("spec", |faults| {
        if spec.limits.is_empty() && spec.connections.is_none() {
            faults.refuse("has neither limits nor connections");
        }
        let targets = targets_of(spec, namespace, faults);
        let limits = faults.field("limits", |faults| limits_of(&spec.limits, faults));
        let connections = faults.field("connections", |faults| {
            let given = spec.connections.as_ref()?.per_second;
            let most = Rate::MOST;
            let number = faults.field("perSecond", |faults| whole(given, 1, most, faults))?;
            faults.take(Rate::new(number, Duration::from_secs(1), number))
        });
        let is_route = |target: &TrafficTarget| {
            matches!(target, TrafficTarget::Route(..) | TrafficTarget::Rule(..))
        };
        if let RateTargets::Objects(targets) = &targets
            && spec.connections.is_some()
            && targets.iter().any(is_route)
        {
            faults.field("connections", |faults| {
                faults.refuse("is for a Service, a Namespace or workloads, not for a route");
            });
        }
        Some(CheckedRateLimits {
            targets,
            limits,
            connections,
        })
    })
}

fn targets_of(
    spec: &RateLimitPolicySpec,
    namespace: &Namespace,
    faults: &mut Faults,
) -> RateTargets {
    let given = &spec.target_refs;
    if spec.selector.is_some() != given.is_empty() {
        faults.refuse("sets one of selector and targetRefs");
    }
    if let Some(selector) = &spec.selector {
        return RateTargets::Workloads(selector.match_labels.clone());
    }
    let mut targets = Vec::new();
    faults.field("targetRefs", |faults| {
        at_most(given.len(), MAX_TARGETS, "targets", faults);
        for (index, target) in given.iter().enumerate().take(MAX_TARGETS) {
            targets.extend(faults.index(index, |faults| {
                let target = traffic_target(target, namespace, faults)?;
                refuse_connections(&target, faults);
                Some(target)
            }));
        }
    });
    RateTargets::Objects(targets)
}

fn refuse_connections(target: &TrafficTarget, faults: &mut Faults) {
    if let TrafficTarget::Route(kind, _) | TrafficTarget::Rule(kind, ..) = target
        && matches!(kind, Kind::TLSRoute | Kind::TCPRoute)
    {
        faults.field("kind", |faults| {
            faults.refuse(format!(
                "a {kind} has no requests, and a receiver does not see which it was: target its Service"
            ));
        });
    }
}

fn limits_of(given: &[RateLimitField], faults: &mut Faults) -> Vec<RateLimit> {
    at_most(given.len(), RateLimit::MAX_LISTED, "limits", faults);
    let matches = given.iter().flat_map(|limit| &limit.r#match);
    let expressions = matches.map(|one| check_match::expressions(&of_route(one)));
    let what = "regular expressions in all limits together";
    at_most(expressions.sum(), MAX_EXPRESSIONS, what, faults);
    let mut names = BTreeSet::new();
    let mut checked = Vec::new();
    for (place, one) in (0..).zip(given).take(RateLimit::MAX_LISTED) {
        checked.extend(faults.index(place as usize, |faults| {
            if !names.insert(one.name.as_str()) {
                faults.field("name", |faults| faults.refuse("is another limit's too"));
            }
            limit(place, one, faults)
        }));
    }
    checked
}

fn limit(place: u32, given: &RateLimitField, faults: &mut Faults) -> Option<RateLimit> {
    let name = faults.field("name", |faults| faults.take(given.name.parse::<Name>()));
    let rate = rate(given, faults);
    let by = faults.field("by", |faults| {
        at_most(given.by.len(), RateLimit::MAX_PARTS, "parts", faults);
        let parts = given.by.iter().enumerate().take(RateLimit::MAX_PARTS);
        let parts = parts.filter_map(|(index, part)| faults.index(index, |f| part_of(part, f)));
        parts.collect()
    });
    let matches = faults.field("match", |faults| {
        at_most(
            given.r#match.len(),
            RateLimit::MAX_MATCHES,
            "matches",
            faults,
        );
        let matches = given.r#match.iter().enumerate();
        let matches = matches.take(RateLimit::MAX_MATCHES);
        let matches = matches.filter_map(|(index, one)| faults.index(index, |f| requests(one, f)));
        matches.collect()
    });
    if given.scope == Some(RateScope::Global) {
        faults.field("scope", |faults| {
            faults.refuse(format!("Global {UNTIL_GLOBAL}"));
        });
    }
    if given.on_unavailable.is_some() {
        faults.field("onUnavailable", |faults| faults.refuse(UNTIL_GLOBAL));
    }
    let status = given.on_exceeded.as_ref().and_then(|given| given.status);
    let status = match status {
        None => Some(RateLimit::STATUS),
        Some(status) => faults.field("onExceeded", |faults| {
            let status = faults.field("status", |faults| whole(status, 400, 599, faults));
            status.and_then(|status| u16::try_from(status).ok())
        }),
    };
    Some(RateLimit {
        place,
        name: name?,
        rate: rate?,
        by,
        matches,
        status: status?,
    })
}

fn rate(given: &RateLimitField, faults: &mut Faults) -> Option<Rate> {
    let most = Rate::MOST;
    let requests = faults.field("requests", |faults| whole(given.requests, 1, most, faults));
    let per = faults.field("per", |faults| {
        let per = faults.take(given.per.parse())?;
        let good = (Rate::SHORTEST..=Rate::LONGEST).contains(&per);
        if !good {
            faults.refuse("is not between 1ms and 24h");
        }
        good.then_some(per)
    });
    let burst = faults.field("burst", |faults| match given.burst {
        None => requests,
        Some(burst) => whole(burst, 1, most, faults),
    });
    let (requests, per, burst) = (requests?, per?, burst?);
    faults.field("requests", |faults| {
        faults.take(Rate::new(requests, per, burst))
    })
}

fn part_of(given: &RateKeyField, faults: &mut Faults) -> Option<KeyPart> {
    let RateKeyField {
        identity,
        header,
        claim,
        source_ip,
    } = given;
    if claim.is_some() {
        faults.field("claim", |faults| faults.refuse(UNTIL_TOKENS));
        return None;
    }
    match (identity, header, source_ip) {
        (Some(_), None, None) => Some(KeyPart::Identity),
        (None, None, Some(_)) => Some(KeyPart::SourceIp),
        (None, Some(name), None) => faults.field("header", |faults| {
            let name = name.to_ascii_lowercase().parse::<HeaderName>();
            faults.take(name).map(KeyPart::Header)
        }),
        _ => {
            faults.refuse("sets one of identity, header and sourceIP");
            None
        }
    }
}

fn requests(given: &FaultMatchField, faults: &mut Faults) -> Option<FaultMatch> {
    if given.source_workloads.is_some() {
        faults.field("sourceWorkloads", |faults| faults.refuse(UNKNOWN_LABELS));
        return None;
    }
    match_of(given, faults)
}
