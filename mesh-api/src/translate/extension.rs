//! Our filters of routes, resolved: what a rule becomes by them.

use crate::model::narrowing::Narrowing;
use crate::model::route::DirectResponse;
use crate::name::{Namespace, ObjectName};
use crate::resource::Kind;
use crate::translate::checked::{BrokenRef, CheckedRule, ExtensionRef};
use crate::translate::index::Index;

/// What the filters of a rule come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Extensions {
    /// Conditions beyond its matches.
    pub(super) narrowings: Vec<Narrowing>,
    /// An answer instead of a backend.
    pub(super) answer: Option<DirectResponse>,
}

/// Looks up the filters that a rule of a route in `namespace` names.
///
/// A filter that is not there may not be passed over: the rule must fail (Gateway API
/// `HTTPRouteFilter`, `extensionRef`).
pub(super) fn resolve(
    index: &Index,
    namespace: &Namespace,
    rule: &CheckedRule,
) -> Result<Extensions, BrokenRef> {
    let mut resolved = Extensions::default();
    for ExtensionRef { kind, name } in &rule.extensions {
        let name = ObjectName::new(namespace.clone(), name.clone());
        let missing = || BrokenRef {
            reason: "FilterNotFound",
            message: format!("{kind} {name} not found"),
        };
        if *kind == Kind::DirectResponse {
            let found = index.direct_responses.find(&name).ok_or_else(missing)?;
            resolved.answer = Some(found.value.clone());
        } else {
            let found = index.route_matches.find(&name).ok_or_else(missing)?;
            resolved.narrowings.push(Narrowing {
                cookie: found.value.cookie.clone(),
                sources: found.value.sources.clone(),
                port: found.value.port,
                name,
            });
        }
    }
    Ok(resolved)
}
