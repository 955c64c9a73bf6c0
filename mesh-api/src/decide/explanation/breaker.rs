//! Limits as text.

use crate::decide::explanation::setting::debug;
use crate::model::breaker::Limits;

/// What may be in flight to a backend at a time.
pub(super) fn limits_text(limits: &Limits) -> String {
    let Limits {
        connections,
        pending_requests,
        requests,
        retries,
        queue_timeout,
    } = limits;
    let waiting = match pending_requests {
        0 => "none waits".to_owned(),
        count => format!("{count} wait up to {}", debug(queue_timeout)),
    };
    format!("{connections} connections, {requests} requests, {retries} retries; {waiting}")
}
