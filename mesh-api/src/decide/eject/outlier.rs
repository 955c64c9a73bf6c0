//! How long an outlier is out, and how it comes back: not when its time has run out, but when a request that
//! was sent to it since then succeeded.
//!
//! Times are `Duration`s since any fixed moment of a clock that never goes back.

use std::time::Duration;

use crate::decide::balance::Standing;
use crate::model::outlier::OutlierDetection;

/// The ejections of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Outlier {
    /// Ejections in a row; it falls by one for each interval in which the endpoint is in.
    pub times: u32,
    /// While it is out: when it may be tried.
    pub until: Option<Duration>,
    /// When it came back last.
    pub returned: Duration,
}

/// Why an endpoint is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Its app answered 500 to 599 too often in a row.
    Errors5xx,
    /// 502 to 504 too often in a row.
    GatewayErrors,
    /// Too many tries in a row had no answer.
    LocalOriginFailures,
    /// It succeeded far less often than the others.
    SuccessRate,
    /// It failed more often than a share.
    FailurePercentage,
    /// It failed when it was tried after an ejection.
    Probe,
}

impl Cause {
    /// As metrics and logs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Errors5xx => "errors-5xx",
            Self::GatewayErrors => "gateway-errors",
            Self::LocalOriginFailures => "local-origin-failures",
            Self::SuccessRate => "success-rate",
            Self::FailurePercentage => "failure-percentage",
            Self::Probe => "probe-failed",
        }
    }
}

impl Outlier {
    /// The state after it is taken out, or out again after it was on trial: for the base, as many times as it was
    /// taken out in a row.
    #[must_use]
    pub fn ejected(self, now: Duration, policy: &OutlierDetection) -> Self {
        let calm = match self.until {
            // It was never back in.
            Some(_) => 0,
            None => intervals(now.saturating_sub(self.returned), policy.interval),
        };
        let times = self.times.saturating_sub(calm).saturating_add(1);
        let longest = policy.max_ejection.max(policy.base_ejection);
        let length = policy.base_ejection.saturating_mul(times).min(longest);
        Self {
            times,
            until: Some(now.saturating_add(length)),
            returned: self.returned,
        }
    }

    /// The state after it came back.
    #[must_use]
    pub fn back(self, now: Duration) -> Self {
        Self {
            times: self.times,
            until: None,
            returned: now,
        }
    }
}

/// Whole intervals in `time`.
fn intervals(time: Duration, interval: Duration) -> u32 {
    let whole = time.as_nanos().checked_div(interval.as_nanos());
    whole.map_or(0, |whole| u32::try_from(whole).unwrap_or(u32::MAX))
}

/// Which standings a pick heeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Heed {
    /// Endpoints that are ejected are left out.
    pub ejected: bool,
    /// Endpoints whose checks failed are left out.
    pub unhealthy: bool,
    /// So few are well that all are used.
    pub panic: bool,
}

/// Which standings are heeded where of `total` endpoints `ejected` are ejected and only `well` are neither that
/// nor unhealthy. The set may have shrunk since they were ejected: the largest share holds for the set as it is.
pub fn heed(total: usize, ejected: usize, well: usize, policy: &OutlierDetection) -> Heed {
    let panic = is_panic(total, well, policy.panic_threshold);
    let most = total as u128 * u128::from(policy.max_ejected_percent);
    Heed {
        ejected: !panic && ejected < total && ejected as u128 * 100 <= most,
        unhealthy: !panic,
        panic,
    }
}

/// How an endpoint stands for a pick under `policy`, by which it `is_out` or not; `known` is how it stands without.
pub fn standing(known: Standing, policy: &OutlierDetection, is_out: bool) -> Standing {
    let by_connects = !policy.counts_connects();
    Standing {
        // What is strictly out is picked no more than what was tried.
        tried: known.tried || (is_out && policy.is_strict()),
        failed: is_out || (by_connects && known.failed),
        ejected: is_out || (by_connects && known.ejected),
        ..known
    }
}

/// Whether so few of a backend's `total` endpoints are well that all are used: fewer than `threshold` percent.
pub fn is_panic(total: usize, well: usize, threshold: u32) -> bool {
    (well as u128) * 100 < total as u128 * u128::from(threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> OutlierDetection {
        OutlierDetection {
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(100),
            interval: Duration::from_secs(10),
            ..OutlierDetection::default()
        }
    }

    #[test]
    fn what_is_out_is_a_last_resort_or_none() {
        let connects = Standing {
            failed: true,
            ejected: true,
            ..Standing::default()
        };
        for (threshold, local, known, is_out, expected) in [
            (50, None, connects, false, [false, true, true]),
            (50, Some(5), connects, false, [false, false, false]),
            (50, None, Standing::default(), true, [false, true, true]),
            (0, None, Standing::default(), true, [true, true, true]),
            (0, None, Standing::default(), false, [false, false, false]),
        ] {
            let policy = OutlierDetection {
                panic_threshold: threshold,
                local_origin_failures: local,
                ..policy()
            };
            let found = standing(known, &policy, is_out);
            let found = [found.tried, found.failed, found.ejected];
            assert_eq!(found, expected, "{threshold} {local:?} {is_out}");
        }
    }

    #[test]
    fn each_further_ejection_is_a_base_longer_up_to_the_longest() {
        let mut outlier = Outlier::default();
        let mut now = Duration::from_secs(1000);
        for seconds in [30, 60, 90, 100, 100] {
            outlier = outlier.ejected(now, &policy());
            let until = now + Duration::from_secs(seconds);
            assert_eq!(outlier.until, Some(until));
            now = until;
        }
        outlier = outlier.back(now);
        assert_eq!(outlier.until, None);
        // Two calm intervals: two of the five times are forgotten.
        let again = outlier.ejected(now + Duration::from_secs(29), &policy());
        assert_eq!(again.times, 4);
        let after_long = outlier.ejected(now + Duration::from_secs(1000), &policy());
        assert_eq!(after_long.times, 1);
    }

    #[test]
    fn the_longest_ejection_is_never_less_than_the_first() {
        let policy = OutlierDetection {
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(1),
            ..OutlierDetection::default()
        };
        let until = Outlier::default().ejected(Duration::ZERO, &policy).until;
        assert_eq!(until, Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_set_that_shrank_has_no_more_out_than_its_share() {
        let policy = OutlierDetection {
            panic_threshold: 0,
            ..policy()
        };
        let heeded = |total, ejected| heed(total, ejected, total - ejected, &policy).ejected;
        assert!(heeded(4, 2));
        assert!(!heeded(3, 2));
        assert!(!heeded(2, 2));
        let all = OutlierDetection {
            max_ejected_percent: 100,
            ..policy
        };
        assert!(!heed(2, 2, 0, &all).ejected, "never all");
        assert!(heed(2, 1, 1, &all).ejected);
    }

    #[test]
    fn panic_begins_below_the_threshold() {
        for (total, well, threshold, panics) in [
            (4, 2, 50, false),
            (4, 1, 50, true),
            (3, 1, 50, true),
            (3, 1, 33, false),
            (2, 0, 0, false),
            (2, 0, 1, true),
            (2, 1, 100, true),
            (2, 2, 100, false),
            (0, 0, 100, false),
        ] {
            let found = is_panic(total, well, threshold);
            assert_eq!(found, panics, "{well} of {total} at {threshold}");
        }
    }
}
