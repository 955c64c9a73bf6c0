//! Checks of what routes name: parents and backends.

use crate::error::Faults;
use crate::model::route::HeaderChanges;
use crate::name::{DestinationName, Name, Namespace, ObjectName};
use crate::resource::reference::{BackendRef, ParentReference};
use crate::translate::check_workload::{port, whole};
use crate::translate::checked::{self, Parent, RefTarget};

/// Of a reference that names no group.
const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// Most parents of a route, and backends of a rule (Gateway API).
const MAX_PARENTS: usize = 32;
const MAX_BACKENDS: usize = 16;

/// Refuses more than `most` of something.
pub(super) fn at_most(count: usize, most: usize, what: &str, faults: &mut Faults) {
    if count > most {
        faults.refuse(format!("has {count} {what}; at most {most} are allowed"));
    }
}

/// True if every parent is a Gateway's, so that nothing of a route is the mesh's to judge.
pub(super) fn is_foreign(given: &[ParentReference]) -> bool {
    !given.is_empty() && given.iter().all(is_gateway)
}

/// Checks `spec.parentRefs`. Gateways are other controllers' and are passed over.
pub(super) fn parents(
    given: &[ParentReference],
    namespace: &Namespace,
    faults: &mut Faults,
) -> Vec<Parent> {
    let mut parents = Vec::new();
    faults.field("parentRefs", |faults| {
        if given.is_empty() {
            faults.refuse("is empty: the route would apply to nothing");
        }
        at_most(given.len(), MAX_PARENTS, "parents", faults);
        for (place, parent) in given.iter().enumerate().filter(|(_, one)| !is_gateway(one)) {
            let checked = faults.index(place, |faults| parent_of(parent, namespace, faults));
            parents.extend(checked.map(|parent| Parent { place, ..parent }));
        }
    });
    parents
}

/// Checks the name of a rule.
pub(super) fn rule_name(given: Option<&String>, faults: &mut Faults) -> Option<Name> {
    faults.field("name", |faults| {
        given.and_then(|name| faults.take(name.parse::<Name>()))
    })
}

/// Checks a rule's `backendRefs`, each with `check`.
pub(super) fn backends<T>(
    given: &[T],
    faults: &mut Faults,
    check: impl Fn(&T, &mut Faults) -> Option<checked::BackendRef>,
) -> Vec<checked::BackendRef> {
    let mut backends = Vec::new();
    faults.field("backendRefs", |faults| {
        at_most(given.len(), MAX_BACKENDS, "backends", faults);
        for (index, backend) in given.iter().enumerate().take(MAX_BACKENDS) {
            backends.extend(faults.index(index, |faults| check(backend, faults)));
        }
    });
    backends
}

/// Checks a backend without filters.
pub(super) fn backend(
    given: &BackendRef,
    own: &Namespace,
    faults: &mut Faults,
) -> Option<checked::BackendRef> {
    let weight = faults.field("weight", |faults| {
        whole(given.weight.unwrap_or(1), 0, 1_000_000, faults)
    });
    let target = target_of(given, own, faults);
    Some(checked::BackendRef {
        target: target?,
        weight: weight?,
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        rewrite: None,
        redirect: None,
    })
}

fn is_gateway(parent: &ParentReference) -> bool {
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
    let kind = parent.kind.as_deref().unwrap_or("Gateway");
    group == GATEWAY_GROUP && matches!(kind, "Gateway" | "ListenerSet")
}

fn parent_of(
    parent: &ParentReference,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<Parent> {
    let group = parent.group.as_deref().unwrap_or(GATEWAY_GROUP);
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
        place: 0,
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

fn target_of(backend: &BackendRef, own: &Namespace, faults: &mut Faults) -> Option<RefTarget> {
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
