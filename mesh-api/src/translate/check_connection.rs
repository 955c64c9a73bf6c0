//! Checks of a `TCPRoute` and a `TLSRoute` (Gateway API 1.6).

use std::net::IpAddr;

use crate::error::Faults;
use crate::name::{Hostname, Namespace};
use crate::resource::tcproute::ConnectionRouteRule;
use crate::resource::{Kind, TCPRoute, TLSRoute};
use crate::translate::check::not_yet;
use crate::translate::check_reference::{at_most, backend, backends, parents, rule_name};
use crate::translate::checked::{CheckedRoute, CheckedRule};

/// Most server names of a route (Gateway API).
const MAX_HOSTNAMES: usize = 1024;

/// Checks a `TCPRoute`.
pub(super) fn tcp(
    route: &TCPRoute,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<CheckedRoute> {
    let spec = &route.spec;
    faults.field("spec", |faults| {
        let gateways = spec.use_default_gateways.is_some();
        not_yet(faults, "useDefaultGateways", gateways);
        Some(CheckedRoute {
            kind: Kind::TCPRoute,
            parents: parents(&spec.parent_refs, namespace, faults),
            hostnames: Vec::new(),
            rules: rules(&spec.rules, namespace, faults),
        })
    })
}

/// Checks a `TLSRoute`. Its host names are matched with the ClientHello's, also under a Service.
pub(super) fn tls(
    route: &TLSRoute,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<CheckedRoute> {
    let spec = &route.spec;
    faults.field("spec", |faults| {
        let gateways = spec.use_default_gateways.is_some();
        not_yet(faults, "useDefaultGateways", gateways);
        Some(CheckedRoute {
            kind: Kind::TLSRoute,
            parents: parents(&spec.parent_refs, namespace, faults),
            hostnames: faults.field("hostnames", |faults| hostnames(&spec.hostnames, faults)),
            rules: rules(&spec.rules, namespace, faults),
        })
    })
}

fn hostnames(given: &[String], faults: &mut Faults) -> Vec<Hostname> {
    if given.is_empty() {
        faults.refuse("is empty: a TLSRoute names the servers it takes; a TCPRoute takes all");
    }
    at_most(given.len(), MAX_HOSTNAMES, "names", faults);
    let mut checked = Vec::new();
    for (index, text) in given.iter().enumerate().take(MAX_HOSTNAMES) {
        checked.extend(faults.index(index, |faults| {
            if text.parse::<IpAddr>().is_ok() {
                faults.refuse("is an IP address, which a ClientHello cannot name");
                return None;
            }
            faults.take(text.parse::<Hostname>())
        }));
    }
    checked
}

fn rules(
    given: &[ConnectionRouteRule],
    namespace: &Namespace,
    faults: &mut Faults,
) -> Vec<CheckedRule> {
    faults.field("rules", |faults| {
        if given.is_empty() {
            faults.refuse("is empty: the route has exactly one rule");
        }
        at_most(given.len(), 1, "rules", faults);
        let mut checked = Vec::new();
        for (index, rule) in given.iter().enumerate().take(1) {
            checked.push(faults.index(index, |faults| rule_of(rule, namespace, faults)));
        }
        checked
    })
}

fn rule_of(rule: &ConnectionRouteRule, namespace: &Namespace, faults: &mut Faults) -> CheckedRule {
    let name = rule_name(rule.name.as_ref(), faults);
    if rule.backend_refs.is_empty() {
        faults.field("backendRefs", |faults| {
            faults.refuse("is empty: the rule has at least one backend");
        });
    }
    CheckedRule {
        name,
        backends: backends(&rule.backend_refs, faults, |given, faults| {
            backend(given, namespace, faults)
        }),
        ..CheckedRule::default()
    }
}
