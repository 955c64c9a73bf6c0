//! The section of a `TrafficPolicy` that takes failing endpoints out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::duration::Duration;

/// When an endpoint is ejected, for each proxy that calls it; counted across its workers. Each way to tell works
/// where it is named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutlierSection {
    /// Failures in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive: Option<ConsecutiveField>,
    /// Ejects what succeeds far less often than the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRateField>,
    /// Ejects what fails more often than a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_percentage: Option<FailurePercentageField>,
    /// Between two looks at the shares, each at what came since the last; 100ms to 1h, 10s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// The first ejection; the n-th in a row is n times as long. 10ms to 1h, 30s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_ejection: Option<Duration>,
    /// The longest ejection, up to 24h; 5m where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ejection: Option<Duration>,
    /// Largest ejected share of the backend's endpoints, up to 100; 50 where absent. It holds for the first as
    /// well: at 50 one of two may go, and one of one never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ejected_percent: Option<u32>,
    /// Where fewer than this percentage of the endpoints are well, all are used; up to 100, 50 where absent.
    /// 0: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<u32>,
}

/// Failures in a row that eject, each up to 1,000. 0: they do not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsecutiveField {
    /// Answers of 500 to 599; in gRPC also `UNKNOWN`, `INTERNAL`, `DATA_LOSS`, `UNAVAILABLE` and
    /// `DEADLINE_EXCEEDED`.
    #[serde(default, rename = "errors5xx", skip_serializing_if = "Option::is_none")]
    pub errors_5xx: Option<u32>,
    /// Answers of 502 to 504; in gRPC also `UNAVAILABLE` and `DEADLINE_EXCEEDED`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway_errors: Option<u32>,
    /// Tries without any answer: failed connects, resets, timeouts. Where absent, failed connects alone, as
    /// without a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_origin_failures: Option<u32>,
}

/// Ejects an endpoint whose share of successes is less than the mean of all, less some standard deviations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SuccessRateField {
    /// Endpoints with enough requests, without which none is judged; 2 to 1,000, 5 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<u32>,
    /// Requests in an interval without which an endpoint is not judged; 1 to 1,000,000, 100 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<u32>,
    /// Standard deviations, above 0 and up to 100; 1.9 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdev_factor: Option<f64>,
}

/// Ejects an endpoint of whose requests a share fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailurePercentageField {
    /// From which percentage on; 1 to 100, 85 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
    /// Endpoints with enough requests, without which none is judged; 1 to 1,000, 5 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<u32>,
    /// Requests in an interval without which an endpoint is not judged; 1 to 1,000,000, 50 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<u32>,
}
