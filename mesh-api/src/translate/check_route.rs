//! Checks of an `HTTPRoute`: parents, backends, timeouts, retries (Gateway API 1.6).

use crate::error::Faults;
use crate::model::policy::StatusRange;
use crate::model::route::RouteMatch;
use crate::name::{DestinationName, Name, Namespace, ObjectName};
use crate::resource::HTTPRoute;
use crate::resource::httproute::{HTTPBackendRef, HTTPRouteRetry, HTTPRouteRule, ParentReference};
use crate::translate::check::not_yet;
use crate::translate::check_filter::{self, Filters};
use crate::translate::check_match;
use crate::translate::check_section::{MAX_ATTEMPTS, MAX_LISTED, limit, positive};
use crate::translate::check_workload::{port, whole};
use crate::translate::checked::{
    BackendRef, CheckedRoute, CheckedRule, Parent, RefTarget, RuleRetry,
};

/// Most parents, rules, backends of a rule (Gateway API).
const MAX_PARENTS: usize = 32;
const MAX_RULES: usize = 16;
const MAX_BACKENDS: usize = 16;
/// Most matches of a rule, and of a route.
const MAX_MATCHES: usize = 64;
const MAX_ROUTE_MATCHES: usize = 128;
/// Most regular expressions of a route: a proxy holds at most 512 for one destination.
const MAX_EXPRESSIONS: usize = 32;

/// Checks an `HTTPRoute`. Its host names are ignored: it has Service parents only (GAMMA).
pub(super) fn route(
    route: &HTTPRoute,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<CheckedRoute> {
    let spec = &route.spec;
    faults.field("spec", |faults| {
        not_yet(
            faults,
            "useDefaultGateways",
            spec.use_default_gateways.is_some(),
        );
        let mut parents = Vec::new();
        faults.field("parentRefs", |faults| {
            if spec.parent_refs.is_empty() {
                faults.refuse("is empty: the route would apply to nothing");
            }
            at_most(spec.parent_refs.len(), MAX_PARENTS, "parents", faults);
            for (index, parent) in spec.parent_refs.iter().enumerate() {
                parents.extend(faults.index(index, |faults| parent_of(parent, namespace, faults)));
            }
        });
        let mut rules = Vec::new();
        faults.field("rules", |faults| {
            at_most(spec.rules.len(), MAX_RULES, "rules", faults);
            let matches = spec.rules.iter().map(|rule| rule.matches.len()).sum();
            at_most(
                matches,
                MAX_ROUTE_MATCHES,
                "matches in all rules together",
                faults,
            );
            let expressions = spec.rules.iter().flat_map(|rule| &rule.matches);
            let expressions = expressions.map(check_match::expressions).sum();
            at_most(
                expressions,
                MAX_EXPRESSIONS,
                "regular expressions in all rules together",
                faults,
            );
            for (index, rule) in spec.rules.iter().enumerate().take(MAX_RULES) {
                rules.push(faults.index(index, |faults| rule_of(rule, namespace, faults)));
            }
            unique_names(&spec.rules, faults);
        });
        if spec.rules.is_empty() {
            rules.push(rule_of(&HTTPRouteRule::default(), namespace, faults));
        }
        Some(CheckedRoute { parents, rules })
    })
}

/// Refuses more than `most` of something.
pub(super) fn at_most(count: usize, most: usize, what: &str, faults: &mut Faults) {
    if count > most {
        faults.refuse(format!("has {count} {what}; at most {most} are allowed"));
    }
}

fn unique_names(rules: &[HTTPRouteRule], faults: &mut Faults) {
    for (index, rule) in rules.iter().enumerate() {
        let earlier = rules.iter().take(index);
        if rule.name.is_some() && earlier.filter(|other| other.name == rule.name).count() > 0 {
            faults.index(index, |faults| {
                faults.field("name", |faults| faults.refuse("another rule has this name"));
            });
        }
    }
}

fn parent_of(
    parent: &ParentReference,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<Parent> {
    let group = parent
        .group
        .as_deref()
        .unwrap_or("gateway.networking.k8s.io");
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    if (group, kind) != ("", "Service") {
        let (group, kind): (String, String) = (
            group.chars().take(80).collect(),
            kind.chars().take(80).collect(),
        );
        let reason = if kind == "Service" {
            format!("the group of a Service is \"\", not {group:?}; write `group: \"\"`")
        } else {
            format!(
                "a parent of kind {kind} is not supported yet; a route of the mesh has `group: \"\"` and `kind: Service`"
            )
        };
        faults.field("kind", |faults| faults.refuse(reason));
    }
    let name = faults.field("name", |faults| faults.take(parent.name.parse()));
    let number = faults.field("port", |faults| {
        parent.port.and_then(|number| port(number, faults))
    });
    let namespace = namespace_of(parent.namespace.as_deref(), namespace, faults);
    Some(Parent {
        service: ObjectName::new(namespace?, name?),
        port: number,
        section_name: parent.section_name.clone(),
    })
}

fn namespace_of(given: Option<&str>, own: &Namespace, faults: &mut Faults) -> Option<Namespace> {
    match given {
        None => Some(own.clone()),
        Some(text) => faults.field("namespace", |faults| faults.take(text.parse())),
    }
}

fn rule_of(rule: &HTTPRouteRule, namespace: &Namespace, faults: &mut Faults) -> CheckedRule {
    let name = faults.field("name", |faults| {
        rule.name
            .as_ref()
            .and_then(|name| faults.take(name.parse::<Name>()))
    });
    let matches = faults.field("matches", |faults| matches_of(rule, faults));
    let filters = faults.field("filters", |faults| {
        check_filter::rule(&rule.filters, &rule.matches, faults)
    });
    let Filters {
        request_headers,
        response_headers,
        redirect,
        rewrite,
    } = filters;
    if redirect.is_some() && !rule.backend_refs.is_empty() {
        faults.field("backendRefs", |faults| {
            faults.refuse("a rule with a RequestRedirect filter has no backendRefs");
        });
    }
    let mut backends = Vec::new();
    faults.field("backendRefs", |faults| {
        at_most(rule.backend_refs.len(), MAX_BACKENDS, "backends", faults);
        for (index, backend) in rule.backend_refs.iter().enumerate().take(MAX_BACKENDS) {
            backends.extend(faults.index(index, |faults| backend_of(backend, namespace, faults)));
        }
    });
    let timeouts = rule.timeouts.clone().unwrap_or_default();
    let (request_timeout, per_try_timeout) = faults.field("timeouts", |faults| {
        let request = limit("request", timeouts.request.as_ref(), faults);
        let per_try = limit("backendRequest", timeouts.backend_request.as_ref(), faults);
        if let (Some(Some(request)), Some(Some(per_try))) = (request, per_try)
            && per_try > request
        {
            faults.field("backendRequest", |faults| {
                faults.refuse("is longer than request");
            });
        }
        (request, per_try)
    });
    let retry = rule
        .retry
        .as_ref()
        .map(|retry| faults.field("retry", |faults| retry_of(retry, faults)));
    not_yet(
        faults,
        "sessionPersistence",
        rule.session_persistence.is_some(),
    );
    CheckedRule {
        name,
        matches,
        request_headers,
        response_headers,
        redirect,
        rewrite,
        backends,
        request_timeout,
        per_try_timeout,
        retry,
    }
}

fn matches_of(rule: &HTTPRouteRule, faults: &mut Faults) -> Vec<RouteMatch> {
    at_most(rule.matches.len(), MAX_MATCHES, "matches", faults);
    if rule.matches.is_empty() {
        return vec![check_match::everything()];
    }
    let mut matches = Vec::new();
    for (index, given) in rule.matches.iter().enumerate().take(MAX_MATCHES) {
        matches.extend(faults.index(index, |faults| check_match::one(given, faults)));
    }
    matches
}

fn backend_of(
    backend: &HTTPBackendRef,
    own: &Namespace,
    faults: &mut Faults,
) -> Option<BackendRef> {
    let weight = faults.field("weight", |faults| {
        whole(backend.weight.unwrap_or(1), 0, 1_000_000, faults)
    });
    let (request_headers, response_headers) = faults.field("filters", |faults| {
        let filters = check_filter::backend(&backend.filters, faults);
        (filters.request_headers, filters.response_headers)
    });
    let target = target_of(backend, own, faults);
    Some(BackendRef {
        target: target?,
        weight: weight?,
        request_headers,
        response_headers,
    })
}

fn target_of(backend: &HTTPBackendRef, own: &Namespace, faults: &mut Faults) -> Option<RefTarget> {
    let (group, kind) = (
        backend.group.as_deref().unwrap_or_default(),
        backend.kind.as_deref().unwrap_or("Service"),
    );
    if (group, kind) != ("", "Service") {
        let text = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{group}/{kind}")
        };
        return Some(RefTarget::Other(text.chars().take(160).collect()));
    }
    let name = faults.field("name", |faults| faults.take(backend.name.parse()));
    let namespace = namespace_of(backend.namespace.as_deref(), own, faults);
    let number = faults.field("port", |faults| {
        if let Some(number) = backend.port {
            port(number, faults)
        } else {
            faults.refuse("is missing: a Service is named with its port");
            None
        }
    });
    Some(RefTarget::Service(DestinationName::new(
        ObjectName::new(namespace?, name?),
        number?,
    )))
}

fn retry_of(retry: &HTTPRouteRetry, faults: &mut Faults) -> RuleRetry {
    let attempts = faults.field("attempts", |faults| {
        retry
            .attempts
            .and_then(|attempts| whole(attempts, 0, MAX_ATTEMPTS, faults))
    });
    let mut statuses = Vec::new();
    faults.field("codes", |faults| {
        at_most(retry.codes.len(), MAX_LISTED, "codes", faults);
        for (index, code) in retry.codes.iter().enumerate() {
            let code = faults.index(index, |faults| whole(*code, 400, 599, faults));
            let code = code.and_then(|code| u16::try_from(code).ok());
            statuses.extend(code.map(|code| StatusRange {
                from: code,
                to: code,
            }));
        }
    });
    let backoff = positive("backoff", retry.backoff.as_ref(), faults);
    RuleRetry {
        attempts,
        statuses,
        backoff,
    }
}
