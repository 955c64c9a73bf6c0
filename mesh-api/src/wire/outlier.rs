//! When endpoints are taken out.

use std::time::Duration;

use crate::error::Faults;
use crate::model::origin::Sourced;
use crate::model::outlier::{
    BASE_EJECTIONS, FailurePercentage, INTERVALS, MAX_CONSECUTIVE, MAX_EJECTION, MAX_MINIMUM_HOSTS,
    MAX_STDEV_FACTOR, MAX_VOLUME, OutlierDetection, SuccessRate,
};
use crate::wire::generated as wire;
use crate::wire::read;

pub(super) fn write(from: &Sourced<OutlierDetection>) -> wire::OutlierDetection {
    let policy = &from.value;
    wire::OutlierDetection {
        errors_5xx: policy.errors_5xx,
        gateway_errors: policy.gateway_errors,
        local_origin_failures: policy.local_origin_failures,
        success_rate: policy.success_rate.map(|rule| wire::SuccessRate {
            minimum_hosts: rule.minimum_hosts,
            request_volume: rule.request_volume,
            stdev_factor_thousandths: rule.stdev_factor,
        }),
        failure_percentage: policy
            .failure_percentage
            .map(|rule| wire::FailurePercentage {
                threshold: rule.threshold,
                minimum_hosts: rule.minimum_hosts,
                request_volume: rule.request_volume,
            }),
        interval_nanos: read::nanos(policy.interval),
        base_ejection_nanos: read::nanos(policy.base_ejection),
        max_ejection_nanos: read::nanos(policy.max_ejection),
        max_ejected_percent: policy.max_ejected_percent,
        panic_threshold: policy.panic_threshold,
        origin: read::write_origin(&from.origin),
    }
}

pub(super) fn read(
    from: &wire::OutlierDetection,
    f: &mut Faults,
) -> Option<Sourced<OutlierDetection>> {
    let count = 0..=MAX_CONSECUTIVE;
    let errors = read::number("errors5xx", from.errors_5xx, count.clone(), f);
    let gateway = read::number("gatewayErrors", from.gateway_errors, count.clone(), f);
    let local = from.local_origin_failures;
    let local = local.map(|given| read::number("localOriginFailures", given, count, f));
    let rate = from.success_rate.as_ref();
    let rate = rate.map(|rule| f.field("successRate", |f| success_rate(rule, f)));
    let share = from.failure_percentage.as_ref();
    let share = share.map(|rule| f.field("failurePercentage", |f| failure_percentage(rule, f)));
    let interval = within("interval", from.interval_nanos, INTERVALS, f);
    let base = within("baseEjection", from.base_ejection_nanos, BASE_EJECTIONS, f);
    let longest = [BASE_EJECTIONS[0], MAX_EJECTION];
    let longest = within("maxEjection", from.max_ejection_nanos, longest, f);
    let percent = read::number("maxEjectedPercent", from.max_ejected_percent, 0..=100, f);
    let threshold = read::number("panicThreshold", from.panic_threshold, 0..=100, f);
    let policy = OutlierDetection {
        errors_5xx: errors?,
        gateway_errors: gateway?,
        local_origin_failures: whole(local)?,
        success_rate: whole(rate)?,
        failure_percentage: whole(share)?,
        interval: interval?,
        base_ejection: base?,
        max_ejection: longest?,
        max_ejected_percent: percent?,
        panic_threshold: threshold?,
    };
    read::sourced(Some(policy), "origin", from.origin.as_ref(), f)
}

/// What is absent is sound; what is there and faulty is not.
#[expect(
    clippy::option_option,
    reason = "the outer is a fault, the inner a value left out"
)]
fn whole<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(None) => None,
        Some(value) => Some(value),
    }
}

fn success_rate(from: &wire::SuccessRate, f: &mut Faults) -> Option<SuccessRate> {
    let hosts = 2..=MAX_MINIMUM_HOSTS;
    let hosts = read::number("minimumHosts", from.minimum_hosts, hosts, f);
    let volume = read::number("requestVolume", from.request_volume, 1..=MAX_VOLUME, f);
    let factor = from.stdev_factor_thousandths;
    let factor = read::number("stdevFactor", factor, 1..=MAX_STDEV_FACTOR, f);
    Some(SuccessRate {
        minimum_hosts: hosts?,
        request_volume: volume?,
        stdev_factor: factor?,
    })
}

fn failure_percentage(from: &wire::FailurePercentage, f: &mut Faults) -> Option<FailurePercentage> {
    let threshold = read::number("threshold", from.threshold, 1..=100, f);
    let hosts = 1..=MAX_MINIMUM_HOSTS;
    let hosts = read::number("minimumHosts", from.minimum_hosts, hosts, f);
    let volume = read::number("requestVolume", from.request_volume, 1..=MAX_VOLUME, f);
    Some(FailurePercentage {
        threshold: threshold?,
        minimum_hosts: hosts?,
        request_volume: volume?,
    })
}

/// Reads a duration that has bounds.
pub(super) fn within(
    field: &str,
    nanos: u64,
    [least, most]: [Duration; 2],
    f: &mut Faults,
) -> Option<Duration> {
    let given = Duration::from_nanos(nanos);
    if !(least..=most).contains(&given) {
        f.field(field, |f| {
            f.refuse(format!("is not between {least:?} and {most:?}"));
        });
        return None;
    }
    Some(given)
}
