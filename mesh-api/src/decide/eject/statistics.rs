//! Which endpoints stand out among those of their backend, by what came of their requests in an interval.

use crate::decide::eject::outlier::Cause;
use crate::model::outlier::{FailurePercentage, OutlierDetection, SuccessRate};

/// What came of an endpoint's requests in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Window {
    /// Requests.
    pub requests: u64,
    /// Of them, those that failed: 500 to 599, or no answer.
    pub failures: u64,
}

/// An endpoint with enough requests, by its place.
struct Judged {
    place: usize,
    window: Window,
    rate: f64,
}

/// The endpoints to take out, by their places in `windows`, the worst first.
pub fn outliers(windows: &[Window], policy: &OutlierDetection) -> Vec<(usize, Cause)> {
    let mut found: Vec<(Judged, Cause)> = Vec::new();
    if let Some(rule) = &policy.success_rate {
        let low = by_success_rate(windows, rule).into_iter();
        found.extend(low.map(|judged| (judged, Cause::SuccessRate)));
    }
    if let Some(rule) = &policy.failure_percentage {
        for judged in by_failure_percentage(windows, rule) {
            if !found.iter().any(|(other, _)| other.place == judged.place) {
                found.push((judged, Cause::FailurePercentage));
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.rate.total_cmp(&other.rate));
    let places = found.into_iter();
    places
        .map(|(judged, cause)| (judged.place, cause))
        .collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a backend has far fewer than 2^52 endpoints"
)]
fn by_success_rate(windows: &[Window], rule: &SuccessRate) -> Vec<Judged> {
    let judged = with_enough(windows, rule.request_volume);
    if judged.is_empty() || judged.len() < rule.minimum_hosts as usize {
        return Vec::new();
    }
    let count = judged.len() as f64;
    let mean = judged.iter().map(|one| one.rate).sum::<f64>() / count;
    let squares = judged.iter().map(|one| (one.rate - mean).powi(2));
    let deviation = (squares.sum::<f64>() / count).sqrt();
    let least = mean - f64::from(rule.stdev_factor) / 1000.0 * deviation;
    // Of endpoints that are all alike none stands out, however sums are rounded.
    let stands_out = |one: &Judged| least - one.rate > 1e-9;
    judged.into_iter().filter(stands_out).collect()
}

fn by_failure_percentage(windows: &[Window], rule: &FailurePercentage) -> Vec<Judged> {
    let judged = with_enough(windows, rule.request_volume);
    if judged.len() < rule.minimum_hosts as usize {
        return Vec::new();
    }
    let fails = |one: &Judged| {
        let Window { requests, failures } = one.window;
        u128::from(failures) * 100 >= u128::from(requests) * u128::from(rule.threshold)
    };
    judged.into_iter().filter(fails).collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of an interval are far below 2^52"
)]
fn with_enough(windows: &[Window], volume: u32) -> Vec<Judged> {
    let enough = |window: &Window| window.requests > 0 && window.requests >= u64::from(volume);
    let all = windows.iter().enumerate();
    all.filter(|(_, window)| enough(window))
        .map(|(place, window)| Judged {
            place,
            window: *window,
            rate: 1.0 - window.failures as f64 / window.requests as f64,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failures of requests for each endpoint, the factor, and who stands out.
    type Case<'c> = (&'c [(u64, u64)], u32, &'c [usize]);

    fn windows(counts: &[(u64, u64)]) -> Vec<Window> {
        let window = |(failures, requests): &(u64, u64)| Window {
            requests: *requests,
            failures: *failures,
        };
        counts.iter().map(window).collect()
    }

    fn of_rate(stdev_factor: u32) -> OutlierDetection {
        OutlierDetection {
            success_rate: Some(SuccessRate {
                minimum_hosts: 3,
                request_volume: 100,
                stdev_factor,
            }),
            ..OutlierDetection::default()
        }
    }

    fn of_share(threshold: u32) -> OutlierDetection {
        OutlierDetection {
            failure_percentage: Some(FailurePercentage {
                threshold,
                minimum_hosts: 2,
                request_volume: 10,
            }),
            ..OutlierDetection::default()
        }
    }

    #[test]
    fn what_succeeds_far_less_often_stands_out() {
        // Rates 1, 1, 1, 0.6: mean 0.9, deviation 0.1732.
        let one_in_four: &[_] = &[(0, 100), (0, 100), (0, 100), (40, 100)];
        let cases: [Case<'_>; 6] = [
            (one_in_four, 1700, &[3]),
            (one_in_four, 1800, &[]),
            // All alike, also where rounding is not exact.
            (&[(33, 100), (33, 100), (33, 100)], 1, &[]),
            (&[(10, 300), (10, 300), (10, 300)], 1, &[]),
            // Too few with enough requests.
            (&[(0, 100), (0, 100), (99, 99)], 1, &[]),
            (&[], 1, &[]),
        ];
        for (counts, factor, expected) in cases {
            let found = outliers(&windows(counts), &of_rate(factor));
            let places: Vec<_> = found.iter().map(|(place, _)| *place).collect();
            assert_eq!(places, expected, "{counts:?} {factor}");
            assert!(found.iter().all(|(_, cause)| *cause == Cause::SuccessRate));
        }
    }

    #[test]
    fn a_share_of_failures_is_met_exactly_and_the_worst_come_first() {
        let counts = windows(&[(49, 100), (50, 100), (10, 10), (9, 9), (5, 5000)]);
        let cause = Cause::FailurePercentage;
        let found = outliers(&counts, &of_share(50));
        assert_eq!(found, [(2, cause), (1, cause)]);
        assert_eq!(
            outliers(&counts[..1], &of_share(1)),
            [],
            "too few endpoints"
        );
    }

    #[test]
    fn an_endpoint_stands_out_once() {
        let both = OutlierDetection {
            failure_percentage: of_share(30).failure_percentage,
            ..of_rate(1000)
        };
        let counts = windows(&[(0, 100), (0, 100), (0, 100), (40, 100)]);
        assert_eq!(outliers(&counts, &both), [(3, Cause::SuccessRate)]);
    }
}
