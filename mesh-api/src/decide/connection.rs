//! Where a connection goes whose bytes the mesh does not read: by server name, then by weight.
//!
//! Routes of requests say nothing about such connections. May use what the other decisions use.

use std::borrow::Cow;
use std::sync::Arc;

use crate::decide::choose::{backend_name, backend_of, by_weight};
use crate::decide::{Random, Refusal, Step};
use crate::explain::{Note, Recorder};
use crate::model::connection::ConnectionBackend;
use crate::model::origin::Sourced;
use crate::model::policy::RetryPolicy;
use crate::snapshot::{BackendTable, ConnectionTable, DestinationTable};

/// What is known of a connection before it is forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFacts<'a> {
    /// The server name of its ClientHello, in any case; `None` if it has none or is no TLS.
    pub server_name: Option<&'a str>,
}

/// What happens to a connection.
#[derive(Debug)]
pub enum ConnectionDecision<'s> {
    /// It goes to a backend.
    Forward(ForwardConnection<'s>),
    /// It is closed.
    Refuse(RefuseConnection<'s>),
}

/// How a connection is forwarded.
#[derive(Debug)]
pub struct ForwardConnection<'s> {
    /// The route that took it; `None` where the destination has no connection routes.
    pub route: Option<&'s Arc<ConnectionTable>>,
    /// The backend chosen; its settings say how long to connect.
    pub backend: &'s Arc<BackendTable>,
    /// How often another endpoint is tried: see [`retry`](crate::decide::retry), which takes a failed
    /// connect as [`Failure::Unsent`](crate::decide::retry::Failure::Unsent).
    pub retry: &'s Sourced<RetryPolicy>,
}

/// Why a connection is closed instead.
#[derive(Debug)]
pub struct RefuseConnection<'s> {
    /// The route that took it, if one did.
    pub route: Option<&'s Arc<ConnectionTable>>,
    /// Why.
    pub refusal: Refusal<'s>,
}

/// Decides on a connection to `destination`.
pub fn connection<'s>(
    destination: &'s DestinationTable,
    facts: &ConnectionFacts<'_>,
    random: &mut dyn Random,
    recorder: &mut dyn Recorder,
) -> Step<ConnectionDecision<'s>> {
    let route = match find(destination, facts) {
        Found::Decided(decision) => return Step::Done(decision),
        Found::Route(route) => route,
    };
    let backends = &route.route.rule.backends;
    let weights = backends.iter().map(|backend| backend.weight);
    let chosen = by_weight(route.total_weight, weights, random);
    let Some(chosen) = chosen.and_then(|at| backends.get(at)) else {
        return Step::Done(refuse(Some(route), Refusal::NoBackend));
    };
    recorder.note(&|| Note::Chose {
        backend: backend_name(destination, &chosen.target),
    });
    Step::Done(assemble(destination, route, chosen))
}

/// Every decision that [`connection`] may come to, with the place of the backend in the rule's list:
/// one for each backend with a weight, or a single one, without a place, where no choice is made.
pub fn outcomes<'s>(
    destination: &'s DestinationTable,
    facts: &ConnectionFacts<'_>,
) -> Vec<(Option<usize>, ConnectionDecision<'s>)> {
    let route = match find(destination, facts) {
        Found::Decided(decision) => return vec![(None, decision)],
        Found::Route(route) => route,
    };
    if route.total_weight == 0 {
        return vec![(None, refuse(Some(route), Refusal::NoBackend))];
    }
    let weighted = route.route.rule.backends.iter().enumerate();
    let possible = weighted.filter(|(_, backend)| backend.weight > 0);
    possible
        .map(|(at, chosen)| (Some(at), assemble(destination, route, chosen)))
        .collect()
}

/// The route that takes the connection.
pub(super) fn route<'s>(
    destination: &'s DestinationTable,
    facts: &ConnectionFacts<'_>,
) -> Option<&'s Arc<ConnectionTable>> {
    let lower = facts.server_name.map(|name| {
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        }
    });
    destination.connections.find(lower.as_deref())
}

enum Found<'s> {
    Decided(ConnectionDecision<'s>),
    Route(&'s Arc<ConnectionTable>),
}

fn find<'s>(destination: &'s DestinationTable, facts: &ConnectionFacts<'_>) -> Found<'s> {
    if !destination.connections.routes.is_empty() {
        return match route(destination, facts) {
            Some(route) => Found::Route(route),
            None => Found::Decided(refuse(None, Refusal::NoRoute)),
        };
    }
    Found::Decided(match destination.backends.first() {
        Some(backend) => ConnectionDecision::Forward(ForwardConnection {
            route: None,
            backend,
            retry: &destination.retry,
        }),
        None => refuse(None, Refusal::NoBackend),
    })
}

fn assemble<'s>(
    destination: &'s DestinationTable,
    route: &'s Arc<ConnectionTable>,
    chosen: &'s ConnectionBackend,
) -> ConnectionDecision<'s> {
    match backend_of(destination, &chosen.target) {
        Ok(backend) => ConnectionDecision::Forward(ForwardConnection {
            route: Some(route),
            backend,
            retry: &route.route.rule.retry,
        }),
        Err(refusal) => refuse(Some(route), refusal),
    }
}

fn refuse<'s>(
    route: Option<&'s Arc<ConnectionTable>>,
    refusal: Refusal<'s>,
) -> ConnectionDecision<'s> {
    ConnectionDecision::Refuse(RefuseConnection { route, refusal })
}

#[cfg(test)]
mod tests;
