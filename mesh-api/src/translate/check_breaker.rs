//! Checks of the sections that keep failing or full endpoints from being called.

use crate::error::Faults;
use crate::model::breaker::{Limits, MAX_LIMIT, MAX_QUEUE_TIMEOUT};
use crate::resource::breaker::LimitsSection;
use crate::translate::check::not_yet;
use crate::translate::check_section::positive;
use crate::translate::check_workload::whole;

/// Checks `limits`.
pub(super) fn limits(section: &LimitsSection, faults: &mut Faults) -> Limits {
    let default = Limits::default();
    not_yet(faults, "adaptive", section.adaptive.is_some());
    let number = |field: &str, given: Option<u32>, least: u32, faults: &mut Faults| {
        let whole = |faults: &mut Faults| whole(given?.into(), least, MAX_LIMIT, faults);
        faults.field(field, whole)
    };
    let connections = number("connections", section.connections, 1, faults);
    let pending = number("pendingRequests", section.pending_requests, 0, faults);
    let requests = number("requests", section.requests, 1, faults);
    let retries = number("retries", section.retries, 0, faults);
    let wait = positive("queueTimeout", section.queue_timeout.as_ref(), faults);
    if wait.is_some_and(|wait| wait > MAX_QUEUE_TIMEOUT) {
        faults.field("queueTimeout", |faults| faults.refuse("is longer than 1m"));
    }
    Limits {
        connections: connections.unwrap_or(default.connections),
        pending_requests: pending.unwrap_or(default.pending_requests),
        requests: requests.unwrap_or(default.requests),
        retries: retries.unwrap_or(default.retries),
        queue_timeout: wait.unwrap_or(default.queue_timeout),
    }
}
