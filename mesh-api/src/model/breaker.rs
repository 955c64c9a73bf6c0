//! What keeps failing or full endpoints from being called: limits of a backend.
//!
//! The `Default` impls here belong to the table of defaults.

use std::time::Duration;

use crate::model::policy::DEFAULTS;

/// Bounds on what is in flight to a backend, for each proxy that calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open, 1 to 1,000,000: CONNECT streams or plain connections for HTTP/1.1 and opaque bytes,
    /// shared connections for HTTP/2.
    pub connections: u32,
    /// Requests and opaque connections that wait for a place, 0 to 1,000,000.
    pub pending_requests: u32,
    /// Requests under way, 1 to 1,000,000.
    pub requests: u32,
    /// Retries under way of requests that may have arrived, 0 to 1,000,000.
    pub retries: u32,
    /// Longest wait for a place, above 0 and at most a minute.
    pub queue_timeout: Duration,
}

/// Most that a limit may allow.
pub const MAX_LIMIT: u32 = 1_000_000;
/// Longest wait for a place.
pub const MAX_QUEUE_TIMEOUT: Duration = Duration::from_mins(1);

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: DEFAULTS.max_connections,
            pending_requests: DEFAULTS.max_pending,
            requests: DEFAULTS.max_requests,
            retries: DEFAULTS.max_retries,
            queue_timeout: DEFAULTS.queue_timeout,
        }
    }
}
