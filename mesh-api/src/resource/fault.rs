//! The sections `fault` and `mirror` of a `TrafficPolicy`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::duration::Duration;
use crate::resource::httproute::{HTTPHeaderMatch, HTTPMethod, HTTPPathMatch, HTTPQueryParamMatch};
use crate::resource::object::WorkloadSelector;

/// A fault. Every fault of the list that a request meets is drawn by itself: waits add up, the first
/// abort answers, the smallest bandwidth holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultField {
    /// Any of these requests, at most 16; all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub r#match: Vec<FaultMatchField>,
    /// Waits before the request goes on; the wait counts towards its timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<DelayField>,
    /// Answers instead of an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<AbortField>,
    /// Slows the response down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<BandwidthField>,
    /// Whether the proxy that aborts a request may try it again, as the retry policy says; Deny where
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<FaultRetry>,
}

/// Whether an injected abort may be retried by the proxy that injected it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum FaultRetry {
    /// It may.
    Allow,
    /// It is the answer.
    Deny,
}

/// Requests that a fault concerns: all parts must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultMatchField {
    /// On the path; the prefix `/` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<HTTPPathMatch>,
    /// On header fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HTTPHeaderMatch>,
    /// On query parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<HTTPQueryParamMatch>,
    /// On the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HTTPMethod>,
    /// The caller is one of these workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_workloads: Option<WorkloadSelector>,
    /// The caller is in one of these namespaces, at most 64; any where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub source_namespaces: Vec<String>,
}

/// A wait: one of `fixed`, `range` and `exponential`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DelayField {
    /// Of how many requests, 0 to 100 with at most four decimals; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<f64>,
    /// Always this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed: Option<Duration>,
    /// Uniform between two times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<RangeField>,
    /// By the exponential distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exponential: Option<ExponentialField>,
}

/// Two times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RangeField {
    /// The least.
    pub min: Duration,
    /// The most, at most 1h.
    pub max: Duration,
}

/// An exponential distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExponentialField {
    /// Its mean.
    pub mean: Duration,
    /// Where it is cut, at most 1h; ten times the mean where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Duration>,
}

/// An answer instead of an app's: one of `status`, `grpc` and `reset`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AbortField {
    /// Of how many requests, 0 to 100 with at most four decimals; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<f64>,
    /// 400 to 599.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<i64>,
    /// A gRPC code by name; of gRPC calls only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<String>,
    /// `true` resets the connection, or the stream of HTTP/2.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// A slow response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BandwidthField {
    /// Of how many requests, 0 to 100 with at most four decimals; 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<f64>,
    /// Bytes of content per second, 1 to 1073741824.
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub bytes_per_second: i64,
}

/// How copies of requests are made, which `RequestMirror` filters ask for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MirrorField {
    /// What of a request's answer and its copy's is compared, as metrics; nothing where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3))]
    pub compare: Vec<MirrorCompare>,
    /// Copies under way at a time for a backend and proxy, 1 to 10000; 64 where absent. What is beyond is
    /// not copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub max_concurrent: Option<i64>,
    /// Bytes of a request's content that wait for a slow copy, at most 16777216; 65536 where absent. A
    /// copy that is slower is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub max_body_bytes: Option<i64>,
    /// Time for a copy, to its response's end; 30s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// What of two answers is compared.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum MirrorCompare {
    /// The status.
    Status,
    /// The time to the response's head.
    Latency,
    /// The content, by a hash.
    BodyHash,
}
