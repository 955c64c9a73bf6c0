//! Checks of an `HTTPRoute`: parents, backends, timeouts, retries (Gateway API 1.6).

use crate::error::Faults;
use crate::model::policy::StatusRange;
use crate::model::route::RouteMatch;
use crate::name::Namespace;
use crate::resource::httproute::{HTTPBackendRef, HTTPRouteRetry, HTTPRouteRule};
use crate::resource::{HTTPRoute, Kind};
use crate::translate::check::not_yet;
use crate::translate::check_filter::{self, Filters};
use crate::translate::check_match;
use crate::translate::check_mirror;
use crate::translate::check_reference::{at_most, backend, backends, parents, rule_name};
use crate::translate::check_section::{MAX_ATTEMPTS, MAX_LISTED, limit, positive};
use crate::translate::check_session;
use crate::translate::check_workload::whole;
use crate::translate::checked::{BackendRef, CheckedRoute, CheckedRule, RuleRetry};

/// Most rules (Gateway API).
pub(super) const MAX_RULES: usize = 16;
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
        let parents = parents(&spec.parent_refs, namespace, faults);
        let mut rules = Vec::new();
        faults.field("rules", |faults| {
            let matches = spec.rules.iter().flat_map(|rule| &rule.matches);
            let expressions = matches.clone().map(check_match::expressions).sum();
            count(spec.rules.len(), matches.count(), expressions, faults);
            for (index, rule) in spec.rules.iter().enumerate().take(MAX_RULES) {
                rules.push(faults.index(index, |faults| rule_of(rule, namespace, faults)));
            }
            let names: Vec<_> = spec.rules.iter().map(|rule| rule.name.as_deref()).collect();
            unique_names(&names, faults);
        });
        if spec.rules.is_empty() {
            rules.push(rule_of(&HTTPRouteRule::default(), namespace, faults));
        }
        Some(CheckedRoute {
            kind: Kind::HTTPRoute,
            parents,
            hostnames: Vec::new(),
            rules,
        })
    })
}

/// Refuses a route that is too large.
pub(super) fn count(rules: usize, matches: usize, expressions: usize, faults: &mut Faults) {
    at_most(rules, MAX_RULES, "rules", faults);
    let what = "matches in all rules together";
    at_most(matches, MAX_ROUTE_MATCHES, what, faults);
    let what = "regular expressions in all rules together";
    at_most(expressions, MAX_EXPRESSIONS, what, faults);
}

/// Refuses two rules of one name.
pub(super) fn unique_names(names: &[Option<&str>], faults: &mut Faults) {
    for (index, name) in names.iter().enumerate() {
        let mut earlier = names.iter().take(index);
        if name.is_some() && earlier.any(|other| other == name) {
            faults.index(index, |faults| {
                faults.field("name", |faults| faults.refuse("another rule has this name"));
            });
        }
    }
}

fn rule_of(rule: &HTTPRouteRule, namespace: &Namespace, faults: &mut Faults) -> CheckedRule {
    let name = rule_name(rule.name.as_ref(), faults);
    let matches = faults.field("matches", |faults| {
        matches_of(
            &rule.matches,
            check_match::everything(),
            faults,
            check_match::one,
        )
    });
    let filters = faults.field("filters", |faults| {
        check_filter::rule(&rule.filters, &rule.matches, faults)
    });
    if filters.answers() && !rule.backend_refs.is_empty() {
        faults.field("backendRefs", |faults| {
            faults.refuse("a rule with a RequestRedirect or DirectResponse has no backendRefs");
        });
    }
    let backends = backends(&rule.backend_refs, faults, |given, faults| {
        let filters = faults.field("filters", |faults| {
            check_filter::backend(&given.filters, &rule.matches, faults)
        });
        backend_of(given, filters, namespace, faults)
    });
    let mirrors = check_mirror::filters(&rule.filters, namespace, faults);
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
    let session = check_session::session(rule.session_persistence.as_ref(), faults);
    CheckedRule {
        name,
        matches,
        request_headers: filters.request_headers,
        response_headers: filters.response_headers,
        redirect: filters.redirect,
        rewrite: filters.rewrite,
        cors: filters.cors,
        extensions: filters.extensions,
        mirrors,
        backends,
        request_timeout,
        per_try_timeout,
        retry,
        session,
    }
}

/// Checks the matches of a rule with `check`; `everything` is what a rule without any matches.
pub(super) fn matches_of<T>(
    given: &[T],
    everything: RouteMatch,
    faults: &mut Faults,
    check: impl Fn(&T, &mut Faults) -> Option<RouteMatch>,
) -> Vec<RouteMatch> {
    at_most(given.len(), MAX_MATCHES, "matches", faults);
    if given.is_empty() {
        return vec![everything];
    }
    let mut matches = Vec::new();
    for (index, given) in given.iter().enumerate().take(MAX_MATCHES) {
        matches.extend(faults.index(index, |faults| check(given, faults)));
    }
    matches
}

/// Checks a backend whose filters were checked.
pub(super) fn backend_of(
    given: &HTTPBackendRef,
    filters: Filters,
    own: &Namespace,
    faults: &mut Faults,
) -> Option<BackendRef> {
    let checked = backend(&given.reference(), own, faults)?;
    Some(BackendRef {
        request_headers: filters.request_headers,
        response_headers: filters.response_headers,
        rewrite: filters.rewrite,
        redirect: filters.redirect,
        ..checked
    })
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
