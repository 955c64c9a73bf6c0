//! The section of a `TrafficPolicy` that asks endpoints whether they work.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::duration::Duration;

/// What every proxy that calls a backend asks each of its endpoints; one of `http`, `tcp` and `grpc`. Endpoints
/// that fail are left out, as long as enough others are well (`outlierDetection.panicThreshold`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheckSection {
    /// A request of HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheckField>,
    /// A connection is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheckField>,
    /// A call of `grpc.health.v1.Health/Check`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcCheckField>,
    /// Between two checks of an endpoint; 100ms to 1h, 10s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// By how much an interval may be longer, up to 100 percent of it; 10 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<u32>,
    /// Time for a check, connecting included; 10ms to 1m, 1s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Failed checks in a row after which an endpoint is unhealthy; 1 to 100, 3 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_after: Option<u32>,
    /// Good ones in a row after which it is healthy again; 1 to 100, 2 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_after: Option<u32>,
}

/// A request, by the version of HTTP that the port declares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpCheckField {
    /// Path and query.
    #[serde(default)]
    pub path: String,
    /// Host to ask for; the endpoint's address where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `GET`, `HEAD` or `OPTIONS`; `GET` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Statuses and ranges of them that say that all is well, such as `204` and `200-299`; at most 16, `200-299`
    /// where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub expected_status: Option<Vec<String>>,
}

/// Nothing to say: what can be connected to is well.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpCheckField {}

/// A call by HTTP/2.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcCheckField {
    /// The service asked about; the server as a whole where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}
