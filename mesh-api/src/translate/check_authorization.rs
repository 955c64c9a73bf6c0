//! Checks of `AuthorizationPolicy`: what can be decided without reading a request.

use crate::error::Faults;
use crate::model::authorization::{Action, AuthorizationRule, Callers, Operations};
use crate::name::{Namespace, Port};
use crate::resource::AuthorizationPolicy;
use crate::resource::authorization::{
    self as resource, AuthorizationAction, Caller, Enforcement, NotCaller, NotOperation, Operation,
};
use crate::translate::check::not_yet;
use crate::translate::check_policy::selection;
use crate::translate::check_reference::at_most;
use crate::translate::check_workload::port;
use crate::translate::checked::CheckedAuthorization;

/// Most rules of a policy, callers or operations of a rule, and values of a list.
const MAX_RULES: usize = 64;
const MAX_ENTRIES: usize = 16;
const MAX_VALUES: usize = 256;

/// Why a field that reads requests is refused.
const OF_REQUESTS: &str = "is about requests, which is not supported yet: a rule asks for identities, namespaces and ports";

/// Checks an `AuthorizationPolicy`.
pub(super) fn authorization(
    policy: &AuthorizationPolicy,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<CheckedAuthorization> {
    let spec = &policy.spec;
    faults.field("spec", |faults| {
        let selector = selection(&spec.target_refs, spec.selector.as_ref(), namespace, faults);
        let action = match spec.action {
            Some(AuthorizationAction::Deny) => Action::Deny,
            Some(AuthorizationAction::Allow) | None => Action::Allow,
        };
        let rules = faults.field("rules", |faults| {
            if action == Action::Deny && spec.rules.is_empty() {
                faults.refuse("is empty: a Deny without rules would deny nothing");
            }
            at_most(spec.rules.len(), MAX_RULES, "rules", faults);
            let rules = spec.rules.iter().enumerate().take(MAX_RULES);
            rules
                .map(|(index, rule)| faults.index(index, |faults| rule_of(rule, faults)))
                .collect()
        });
        Some(CheckedAuthorization {
            selector,
            action,
            audit: spec.enforcement == Some(Enforcement::Audit),
            rules,
        })
    })
}

fn rule_of(rule: &resource::AuthorizationRule, faults: &mut Faults) -> AuthorizationRule {
    if !rule.when.is_empty() {
        faults.field("when", |faults| faults.refuse(OF_REQUESTS));
    }
    AuthorizationRule {
        callers: entries("from", &rule.from, faults, callers),
        operations: entries("to", &rule.to, faults, operations),
    }
}

fn entries<G, T>(
    field: &str,
    given: &[G],
    faults: &mut Faults,
    check: impl Fn(&G, &mut Faults) -> T,
) -> Vec<T> {
    faults.field(field, |faults| {
        at_most(given.len(), MAX_ENTRIES, "entries", faults);
        let given = given.iter().enumerate().take(MAX_ENTRIES);
        given
            .map(|(index, given)| faults.index(index, |faults| check(given, faults)))
            .collect()
    })
}

fn callers(given: &Caller, faults: &mut Faults) -> Callers {
    not_yet(faults, "ipBlocks", !given.ip_blocks.is_empty());
    refuse_requests(
        &[("requestPrincipals", !given.request_principals.is_empty())],
        faults,
    );
    let not = given.not.clone().unwrap_or_default();
    let NotCaller {
        identities,
        namespaces,
        ip_blocks,
        request_principals,
    } = &not;
    let (not_identities, not_namespaces) = faults.field("not", |faults| {
        not_yet(faults, "ipBlocks", !ip_blocks.is_empty());
        refuse_requests(
            &[("requestPrincipals", !request_principals.is_empty())],
            faults,
        );
        (
            values("identities", identities, faults, parse),
            values("namespaces", namespaces, faults, parse),
        )
    });
    Callers {
        identities: values("identities", &given.identities, faults, parse),
        namespaces: values("namespaces", &given.namespaces, faults, parse),
        not_identities,
        not_namespaces,
    }
}

fn operations(given: &Operation, faults: &mut Faults) -> Operations {
    refuse_requests(
        &[
            ("hosts", !given.hosts.is_empty()),
            ("methods", !given.methods.is_empty()),
            ("paths", !given.paths.is_empty()),
            ("services", !given.services.is_empty()),
        ],
        faults,
    );
    let not = given.not.clone().unwrap_or_default();
    let NotOperation {
        ports,
        hosts,
        methods,
        paths,
        services,
    } = &not;
    let not_ports = faults.field("not", |faults| {
        refuse_requests(
            &[
                ("hosts", !hosts.is_empty()),
                ("methods", !methods.is_empty()),
                ("paths", !paths.is_empty()),
                ("services", !services.is_empty()),
            ],
            faults,
        );
        values("ports", ports, faults, number)
    });
    Operations {
        ports: values("ports", &given.ports, faults, number),
        not_ports,
    }
}

fn refuse_requests(fields: &[(&str, bool)], faults: &mut Faults) {
    for (field, is_set) in fields {
        if *is_set {
            faults.field(field, |faults| faults.refuse(OF_REQUESTS));
        }
    }
}

fn values<G, T>(
    field: &str,
    given: &[G],
    faults: &mut Faults,
    check: impl Fn(&G, &mut Faults) -> Option<T>,
) -> Vec<T> {
    faults.field(field, |faults| {
        at_most(given.len(), MAX_VALUES, "values", faults);
        let given = given.iter().enumerate().take(MAX_VALUES);
        given
            .filter_map(|(index, given)| faults.index(index, |faults| check(given, faults)))
            .collect()
    })
}

#[expect(clippy::ptr_arg, reason = "an element of a list of strings")]
fn parse<T: std::str::FromStr<Err = crate::name::BadName>>(
    text: &String,
    faults: &mut Faults,
) -> Option<T> {
    faults.take(text.parse())
}

fn number(given: &i64, faults: &mut Faults) -> Option<Port> {
    port(*given, faults)
}
