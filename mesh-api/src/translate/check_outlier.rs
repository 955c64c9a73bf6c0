//! Checks of the section that takes failing endpoints out.

use std::time::Duration;

use crate::error::Faults;
use crate::model::outlier::{
    BASE_EJECTIONS, FailurePercentage, INTERVALS, MAX_CONSECUTIVE, MAX_EJECTION, MAX_MINIMUM_HOSTS,
    MAX_STDEV_FACTOR, MAX_VOLUME, OutlierDetection, SuccessRate,
};
use crate::resource::duration::Duration as DurationField;
use crate::resource::outlier::{FailurePercentageField, OutlierSection, SuccessRateField};
use crate::translate::check_section::positive;
use crate::translate::check_workload::whole;

/// Checks `outlierDetection`.
pub(super) fn outlier_detection(section: &OutlierSection, faults: &mut Faults) -> OutlierDetection {
    let default = OutlierDetection::default();
    let consecutive = section.consecutive.clone().unwrap_or_default();
    let [errors, gateway, local] = faults.field("consecutive", |faults| {
        [
            ("errors5xx", consecutive.errors_5xx),
            ("gatewayErrors", consecutive.gateway_errors),
            ("localOriginFailures", consecutive.local_origin_failures),
        ]
        .map(|(field, given)| number(field, given, 0..=MAX_CONSECUTIVE, faults))
    });
    let success_rate = section
        .success_rate
        .as_ref()
        .map(|section| faults.field("successRate", |faults| success_rate(section, faults)));
    let failure_percentage = section.failure_percentage.as_ref().map(|section| {
        faults.field("failurePercentage", |faults| {
            failure_percentage(section, faults)
        })
    });
    let interval = within("interval", section.interval.as_ref(), INTERVALS, faults);
    let base = section.base_ejection.as_ref();
    let base = within("baseEjection", base, BASE_EJECTIONS, faults);
    let longest = section.max_ejection.as_ref();
    let longest = within(
        "maxEjection",
        longest,
        [BASE_EJECTIONS[0], MAX_EJECTION],
        faults,
    );
    let base_ejection = base.unwrap_or(default.base_ejection);
    if longest.is_some_and(|longest| longest < base_ejection) {
        faults.field("maxEjection", |faults| {
            faults.refuse("is shorter than baseEjection");
        });
    }
    let share = section.max_ejected_percent;
    let share = number("maxEjectedPercent", share, 0..=100, faults);
    let threshold = section.panic_threshold;
    let threshold = number("panicThreshold", threshold, 0..=100, faults);
    OutlierDetection {
        errors_5xx: errors.unwrap_or(default.errors_5xx),
        gateway_errors: gateway.unwrap_or(default.gateway_errors),
        local_origin_failures: local,
        success_rate,
        failure_percentage,
        interval: interval.unwrap_or(default.interval),
        base_ejection,
        // The default is meant for short ones: a long first ejection is not cut by it.
        max_ejection: longest.unwrap_or(default.max_ejection.max(base_ejection)),
        max_ejected_percent: share.unwrap_or(default.max_ejected_percent),
        panic_threshold: threshold.unwrap_or(default.panic_threshold),
    }
}

fn success_rate(section: &SuccessRateField, faults: &mut Faults) -> SuccessRate {
    let default = SuccessRate::default();
    let hosts = section.minimum_hosts;
    let hosts = number("minimumHosts", hosts, 2..=MAX_MINIMUM_HOSTS, faults);
    let volume = number(
        "requestVolume",
        section.request_volume,
        1..=MAX_VOLUME,
        faults,
    );
    let factor = faults.field("stdevFactor", |faults| {
        let given = section.stdev_factor?;
        let factor = thousandths(given);
        if factor.is_none() {
            faults.refuse(format!("{given} is not between 0.001 and 100"));
        }
        factor
    });
    SuccessRate {
        minimum_hosts: hosts.unwrap_or(default.minimum_hosts),
        request_volume: volume.unwrap_or(default.request_volume),
        stdev_factor: factor.unwrap_or(default.stdev_factor),
    }
}

fn failure_percentage(section: &FailurePercentageField, faults: &mut Faults) -> FailurePercentage {
    let default = FailurePercentage::default();
    let threshold = number("threshold", section.threshold, 1..=100, faults);
    let hosts = section.minimum_hosts;
    let hosts = number("minimumHosts", hosts, 1..=MAX_MINIMUM_HOSTS, faults);
    let volume = number(
        "requestVolume",
        section.request_volume,
        1..=MAX_VOLUME,
        faults,
    );
    FailurePercentage {
        threshold: threshold.unwrap_or(default.threshold),
        minimum_hosts: hosts.unwrap_or(default.minimum_hosts),
        request_volume: volume.unwrap_or(default.request_volume),
    }
}

fn number(
    field: &str,
    given: Option<u32>,
    range: std::ops::RangeInclusive<u32>,
    faults: &mut Faults,
) -> Option<u32> {
    let (least, most) = range.into_inner();
    faults.field(field, |faults| whole(given?.into(), least, most, faults))
}

/// Reads a duration that has bounds.
pub(super) fn within(
    field: &str,
    text: Option<&DurationField>,
    [least, most]: [Duration; 2],
    faults: &mut Faults,
) -> Option<Duration> {
    let given = positive(field, text, faults)?;
    if !given.is_zero() && !(least..=most).contains(&given) {
        faults.field(field, |faults| {
            faults.refuse(format!("is not between {least:?} and {most:?}"));
        });
    }
    Some(given)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within bounds, and an `as` of the rest saturates"
)]
fn thousandths(factor: f64) -> Option<u32> {
    let whole = (factor * 1000.0).round() as u32;
    (1..=MAX_STDEV_FACTOR).contains(&whole).then_some(whole)
}
