//! What an exchange came to, and its record.

use std::rc::Rc;
use std::time::Duration;

use mesh_api::name::{DestinationName, ObjectName};

use super::Scope;
use crate::attempt::Tries;
use crate::context::{Context, Reached};
use crate::h1::RequestHead;
use crate::telemetry::{ExchangeEvent, FaultInjected, SeriesKey};
use crate::upstream::Group;

/// What an exchange came to, for its record.
#[derive(Default)]
pub(super) struct Outcome {
    /// True for a call to the local app.
    pub(super) is_inbound: bool,
    pub(super) status: u16,
    pub(super) reason: Option<&'static str>,
    pub(super) fault: Option<&'static str>,
    pub(super) destination: Option<DestinationName>,
    pub(super) group: Option<Rc<Group>>,
    pub(super) rule: Option<(ObjectName, u32)>,
    pub(super) tries: Tries,
    /// What was reached, once it goes on with another protocol.
    pub(super) upgraded: Option<Box<Reached>>,
    /// True once a response's first byte may have gone down.
    pub(super) responding: bool,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Outcome {
    /// True if the connection should take no more after this exchange: its direction drains.
    pub(super) fn is_last(&self, context: &Context) -> bool {
        let drain = &context.shared.drain;
        if self.is_inbound {
            drain.inbound().is_draining()
        } else {
            drain.is_draining()
        }
    }
}

impl Outcome {
    /// Counts what was injected: a wait, a failure, a slow response.
    pub(super) fn note_fault(&mut self, context: &Context, injected: [bool; 3]) {
        let name = match injected {
            [true, true, _] => "delay,abort",
            [true, false, true] => "delay,bandwidth",
            [true, false, false] => "delay",
            [false, true, _] => "abort",
            [false, false, _] => "bandwidth",
        };
        self.fault = Some(name);
        let event = FaultInjected {
            destination: self.destination.as_ref(),
            fault: name,
        };
        context.shared.telemetry().fault_injected(&event);
    }
}

/// One line and one count per exchange, whatever came of it.
pub(super) fn record(
    context: &Context,
    head: &RequestHead,
    scope: &Scope,
    outcome: &Outcome,
    duration: Duration,
) {
    let event = ExchangeEvent {
        direction: scope.direction(),
        destination: outcome.destination.as_ref(),
        backend: outcome.group.as_ref().map(|group| &group.backend().name),
        endpoint: outcome.tries.endpoints.last().copied(),
        route: outcome.rule.as_ref().map(|(route, index)| (route, *index)),
        peer: scope.peer(),
        method: head.method(),
        host: head.authority(),
        path: head.path_and_query(),
        status: outcome.status,
        reason: outcome.reason,
        fault: outcome.fault,
        attempts: outcome.tries.count,
        bytes_in: outcome.bytes_in,
        bytes_out: outcome.bytes_out,
        duration,
        traceparent: head.field("traceparent"),
    };
    let find = || {
        context.shard.series(SeriesKey {
            direction: event.direction,
            destination: event.destination,
            backend: event.backend,
        })
    };
    let series = match (&outcome.group, event.destination) {
        (Some(group), Some(destination)) => group.series(event.direction, destination, find),
        _ => find(),
    };
    context.shard.exchange(series, &event);
}
