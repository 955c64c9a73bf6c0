//! Which routes are in force at a Service's port, and which stand back.
//!
//! Routes of the consumer's own namespace replace those of the Service's (GAMMA, consumer and producer
//! routes); among either, only the most specific kind counts (GEP-1294, "Route types").

use crate::name::{DestinationName, Namespace};
use crate::resource::Kind;
use crate::translate::checked::{CheckedRoute, Parent, ServicePort};
use crate::translate::index::{Dated, Index, RouteKey};

/// A route with its age.
pub(super) type Placed<'a> = (&'a RouteKey, &'a Dated<CheckedRoute>);

/// The routes that decide on calls to a port from `consumer`: all of one kind.
pub(super) fn in_force<'a>(
    index: &'a Index,
    name: &DestinationName,
    port: &ServicePort,
    consumer: &Namespace,
) -> Vec<Placed<'a>> {
    let mut routes = attached(index, name, port, consumer);
    if routes.is_empty() {
        routes = attached(index, name, port, &name.service.namespace);
    }
    let best = routes.iter().map(|(key, _)| specificity(key.kind)).min();
    routes.retain(|(key, _)| Some(specificity(key.kind)) == best);
    routes
}

/// What keeps a route from deciding where it says it would.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// It decides at some port at least.
    pub(super) decides: bool,
    /// Why it does not at another, in words.
    pub(super) loses: Option<String>,
}

/// How a route stands at `parents` of its own among the others of its namespace.
pub(super) fn standing(
    index: &Index,
    key: &RouteKey,
    route: &Dated<CheckedRoute>,
    parents: &[Parent],
) -> Standing {
    let mut standing = Standing::default();
    for parent in parents {
        let Some(service) = index.services.find(&parent.service) else {
            continue;
        };
        let ports = service.value.ports.iter();
        for port in ports.filter(|port| parent.takes_in(port)) {
            let name = DestinationName::new(parent.service.clone(), port.port);
            match winner(index, key, route, &name, port) {
                None => standing.decides = true,
                Some(reason) => {
                    standing.loses.get_or_insert(reason);
                }
            }
        }
    }
    standing
}

/// The route that decides at `name` instead of this one, as a sentence.
fn winner(
    index: &Index,
    key: &RouteKey,
    route: &Dated<CheckedRoute>,
    name: &DestinationName,
    port: &ServicePort,
) -> Option<String> {
    let others = attached(index, name, port, &key.name.namespace);
    let of_kind = |kind: Kind| move |(other, _): &&Placed<'_>| other.kind == kind;
    let best = others
        .iter()
        .min_by_key(|(other, _)| specificity(other.kind))?;
    if specificity(best.0.kind) < specificity(key.kind) {
        let (kind, other) = (best.0.kind, &best.0.name);
        return Some(format!(
            "{kind} {other} decides at {name}: a Service's port takes routes of one kind"
        ));
    }
    // A TCPRoute takes every connection, so that only the oldest ever decides.
    let mut same = others.iter().filter(of_kind(Kind::TCPRoute));
    let older = same.find(|(other, dated)| (dated.created, *other) < (route.created, key))?;
    (key.kind == Kind::TCPRoute).then(|| {
        format!(
            "TCPRoute {} is older and takes every connection to {name}",
            older.0.name
        )
    })
}

/// The routes of `namespace` that name a port as a parent.
fn attached<'a>(
    index: &'a Index,
    name: &DestinationName,
    port: &ServicePort,
    namespace: &Namespace,
) -> Vec<Placed<'a>> {
    let routes = index.routes_of(&name.service);
    let takes_in = |(key, dated): &Placed<'a>| {
        let mut parents = dated.value.parents.iter();
        key.name.namespace == *namespace
            && parents.any(|parent| parent.service == name.service && parent.takes_in(port))
    };
    routes.filter(takes_in).collect()
}

/// Smaller is more specific.
fn specificity(kind: Kind) -> u8 {
    match kind {
        Kind::GRPCRoute => 0,
        Kind::HTTPRoute => 1,
        Kind::TLSRoute => 2,
        Kind::TCPRoute => 3,
        _ => 4,
    }
}
