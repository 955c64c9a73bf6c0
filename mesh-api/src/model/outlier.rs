//! Which endpoints of a backend are taken out for what they answer.
//!
//! The `Default` impl here belongs to the table of defaults.

use std::time::Duration;

use crate::model::policy::DEFAULTS;

/// When an endpoint is ejected, for each proxy that calls it. Without one only failed connects count, by the
/// table of defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutlierDetection {
    /// Answers of 500 to 599 in a row that eject, up to 1,000; 0: they do not.
    pub errors_5xx: u32,
    /// Answers of 502 to 504 in a row that eject, up to 1,000; 0: they do not.
    pub gateway_errors: u32,
    /// Tries in a row without any answer (failed connects, resets, timeouts) that eject, up to 1,000; 0: they
    /// do not. `None`: failed connects alone, by the table of defaults.
    pub local_origin_failures: Option<u32>,
    /// Ejects what succeeds far less often than the others.
    pub success_rate: Option<SuccessRate>,
    /// Ejects what fails more often than a share.
    pub failure_percentage: Option<FailurePercentage>,
    /// Between two looks at the shares, each at what came since the last; 100 ms to 1 h.
    pub interval: Duration,
    /// The first ejection; the n-th in a row is n times as long. 10 ms to 1 h.
    pub base_ejection: Duration,
    /// The longest ejection, at least the first; up to 24 h.
    pub max_ejection: Duration,
    /// Largest ejected share of the backend's endpoints, 0 to 100 percent; never all of them.
    pub max_ejected_percent: u32,
    /// Where fewer than this percentage of the endpoints are well, all are used; 0: never.
    pub panic_threshold: u32,
}

/// An endpoint is ejected whose share of successes in an interval is less than the mean of all, less
/// `stdev_factor` standard deviations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SuccessRate {
    /// Endpoints with enough requests, without which none is judged; 2 to 1,000.
    pub minimum_hosts: u32,
    /// Requests in the interval without which an endpoint is not judged; 1 to 1,000,000.
    pub request_volume: u32,
    /// Standard deviations, in thousandths; 1 to 100,000.
    pub stdev_factor: u32,
}

/// An endpoint is ejected of whose requests in an interval at least `threshold` percent failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FailurePercentage {
    /// 1 to 100.
    pub threshold: u32,
    /// Endpoints with enough requests, without which none is judged; 1 to 1,000.
    pub minimum_hosts: u32,
    /// Requests in the interval without which an endpoint is not judged; 1 to 1,000,000.
    pub request_volume: u32,
}

/// Most failures in a row that a policy may wait for.
pub const MAX_CONSECUTIVE: u32 = 1000;
/// Most endpoints that a policy may ask for before it judges.
pub const MAX_MINIMUM_HOSTS: u32 = 1000;
/// Most requests that a policy may ask for before it judges.
pub const MAX_VOLUME: u32 = 1_000_000;
/// Largest factor of a standard deviation, in thousandths.
pub const MAX_STDEV_FACTOR: u32 = 100_000;
/// Shortest and longest interval.
pub const INTERVALS: [Duration; 2] = [Duration::from_millis(100), Duration::from_hours(1)];
/// Shortest and longest first ejection.
pub const BASE_EJECTIONS: [Duration; 2] = [Duration::from_millis(10), Duration::from_hours(1)];
/// Longest ejection.
pub const MAX_EJECTION: Duration = Duration::from_hours(24);

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            errors_5xx: 0,
            gateway_errors: 0,
            local_origin_failures: None,
            success_rate: None,
            failure_percentage: None,
            interval: DEFAULTS.outlier_interval,
            base_ejection: DEFAULTS.outlier_ejection,
            max_ejection: DEFAULTS.max_ejection,
            max_ejected_percent: DEFAULTS.max_ejected_percent,
            panic_threshold: DEFAULTS.panic_threshold,
        }
    }
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self {
            minimum_hosts: 5,
            request_volume: 100,
            stdev_factor: 1900,
        }
    }
}

impl Default for FailurePercentage {
    fn default() -> Self {
        Self {
            threshold: 85,
            minimum_hosts: 5,
            request_volume: 50,
        }
    }
}

impl OutlierDetection {
    /// Whether requests are counted over intervals.
    pub fn counts_shares(&self) -> bool {
        self.success_rate.is_some() || self.failure_percentage.is_some()
    }

    /// Whether failed connects count by it, and no more by the table of defaults.
    pub fn counts_connects(&self) -> bool {
        self.local_origin_failures.is_some()
    }

    /// Whether what is out gets nothing, however few are left.
    pub fn is_strict(&self) -> bool {
        self.panic_threshold == 0
    }
}
