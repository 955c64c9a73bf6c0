//! The sections of a `TrafficPolicy` that keep failing or full endpoints from being called.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::duration::Duration;

/// Bounds on what is in flight to a backend, for each proxy that calls it; counted across its workers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsSection {
    /// Connections, 1 to 1,000,000; 1024 where absent. One per request of HTTP/1.1 at a time and per opaque
    /// connection; over HTTP/2 and gRPC one per shared connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Requests and opaque connections that wait for a place, up to 1,000,000; 1024 where absent. 0: none
    /// waits, what finds no place is refused at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_requests: Option<u32>,
    /// Requests under way, 1 to 1,000,000; 10000 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Retries under way of requests that may have arrived, up to 1,000,000; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Longest wait for a place, up to 1m; 1s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_timeout: Option<Duration>,
    /// Finds the number of requests by their latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<serde_json::Value>,
}
