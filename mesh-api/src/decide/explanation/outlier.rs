//! Outlier detection as text.

use std::time::Duration;

use crate::decide::explanation::setting::{Setting, debug, setting};
use crate::model::outlier::{FailurePercentage, OutlierDetection, SuccessRate};
use crate::model::policy::BackendSettings;

/// What takes endpoints out, where something does.
pub(super) fn told(settings: &BackendSettings) -> Option<Setting> {
    let outlier_detection = settings.outlier_detection.as_ref()?;
    Some(setting(outlier_detection, outlier_text))
}

/// When an endpoint is taken out, and for how long.
fn outlier_text(policy: &OutlierDetection) -> String {
    let [base, longest] = [policy.base_ejection, policy.max_ejection].map(|time| debug(&time));
    let OutlierDetection {
        max_ejected_percent,
        panic_threshold,
        ..
    } = policy;
    let panic = match panic_threshold {
        0 => "never all used".to_owned(),
        threshold => format!("all used below {threshold} % well"),
    };
    format!(
        "{}; out for {base} times n, at most {longest} and {max_ejected_percent} %; {panic}",
        causes(policy).join(", ")
    )
}

fn causes(policy: &OutlierDetection) -> Vec<String> {
    let row = |count: u32, what: &str| (count > 0).then(|| format!("{count} {what} in a row"));
    let local = match policy.local_origin_failures {
        None => Some("failed connects".to_owned()),
        Some(count) => row(count, "tries without an answer"),
    };
    let interval: &Duration = &policy.interval;
    let rate = policy.success_rate.map(|rule| {
        let SuccessRate {
            minimum_hosts,
            request_volume,
            stdev_factor,
        } = rule;
        let factor = f64::from(stdev_factor) / 1000.0;
        format!(
            "successes {factor} deviations below the mean (of {minimum_hosts} endpoints with {request_volume} requests in {})",
            debug(interval)
        )
    });
    let share = policy.failure_percentage.map(|rule| {
        let FailurePercentage {
            threshold,
            minimum_hosts,
            request_volume,
        } = rule;
        format!(
            "{threshold} % failures (of {minimum_hosts} endpoints with {request_volume} requests in {})",
            debug(interval)
        )
    });
    let all = [
        row(policy.errors_5xx, "5xx"),
        row(policy.gateway_errors, "gateway errors"),
        local,
        rate,
        share,
    ];
    all.into_iter().flatten().collect()
}
