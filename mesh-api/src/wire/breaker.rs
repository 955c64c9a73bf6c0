//! What keeps failing or full endpoints from being called. What is not set is the default.

use std::time::Duration;

use crate::error::Faults;
use crate::model::breaker::{Limits, MAX_LIMIT, MAX_QUEUE_TIMEOUT};
use crate::model::origin::Sourced;
use crate::wire::generated as wire;
use crate::wire::read;

pub(super) fn write_limits(from: &Sourced<Limits>) -> Option<wire::Limits> {
    let limits = from.value;
    (*from != Sourced::default()).then(|| wire::Limits {
        connections: limits.connections,
        pending_requests: limits.pending_requests,
        requests: limits.requests,
        retries: limits.retries,
        queue_timeout_nanos: read::nanos(limits.queue_timeout),
        origin: read::write_origin(&from.origin),
    })
}

pub(super) fn read_limits(
    from: Option<&wire::Limits>,
    faults: &mut Faults,
) -> Option<Sourced<Limits>> {
    let Some(from) = from else {
        return Some(Sourced::default());
    };
    faults.field("limits", |f| {
        let connections = read::number("connections", from.connections, 1..=MAX_LIMIT, f);
        let pending = from.pending_requests;
        let pending = read::number("pendingRequests", pending, 0..=MAX_LIMIT, f);
        let requests = read::number("requests", from.requests, 1..=MAX_LIMIT, f);
        let retries = read::number("retries", from.retries, 0..=MAX_LIMIT, f);
        let wait = Duration::from_nanos(from.queue_timeout_nanos);
        if wait.is_zero() || wait > MAX_QUEUE_TIMEOUT {
            f.field("queueTimeout", |f| {
                f.refuse("is not above 0 and at most 1m");
            });
            return None;
        }
        let limits = Limits {
            connections: connections?,
            pending_requests: pending?,
            requests: requests?,
            retries: retries?,
            queue_timeout: wait,
        };
        read::sourced(Some(limits), "origin", from.origin.as_ref(), f)
    })
}
