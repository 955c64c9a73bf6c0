//! What keeps failing or full endpoints from being called.

use super::*;
use crate::model::breaker::{Limits, MAX_LIMIT};
use crate::model::health::{HealthCheck, HttpQuestion, Question};
use crate::model::outlier::{FailurePercentage, MAX_CONSECUTIVE, OutlierDetection, SuccessRate};

pub(super) fn limits() -> impl Strategy<Value = Sourced<Limits>> {
    let count = || 0..=MAX_LIMIT;
    let any = (
        1..=MAX_LIMIT,
        count(),
        1..=MAX_LIMIT,
        count(),
        1..=60_000_000_000u64,
    );
    let any = any.prop_map(
        |(connections, pending_requests, requests, retries, wait)| Limits {
            connections,
            pending_requests,
            requests,
            retries,
            queue_timeout: Duration::from_nanos(wait),
        },
    );
    sourced(prop_oneof![Just(Limits::default()), any])
}

#[test]
fn absurd_limits_are_refused_where_they_are() {
    let sound = destination(Vec::new());
    let name = Entry::Destination(sound.clone()).name();
    let decoded = |limits: generated::Limits| {
        let mut message = destination::write(&sound);
        message.backends[1].limits = Some(limits);
        let kind = Some(generated::entry::Kind::Destination(message));
        let decoded = decode(&name, &generated::Entry { kind }.encode_to_vec());
        let faults = decoded.err().unwrap_or_default();
        faults
            .into_iter()
            .map(|fault| fault.path)
            .collect::<Vec<_>>()
    };
    let good = generated::Limits {
        connections: 1,
        requests: MAX_LIMIT,
        queue_timeout_nanos: 1,
        ..Default::default()
    };
    assert_eq!(decoded(good.clone()), [""; 0]);
    let bad = generated::Limits {
        connections: 0,
        requests: MAX_LIMIT + 1,
        pending_requests: u32::MAX,
        retries: u32::MAX,
        queue_timeout_nanos: u64::MAX,
        origin: None,
    };
    let fields = [
        "connections",
        "pendingRequests",
        "requests",
        "retries",
        "queueTimeout",
    ];
    let paths = fields.map(|field| format!("backends[1].limits.{field}"));
    assert_eq!(decoded(bad), paths);
}

pub(super) fn outlier_detection() -> impl Strategy<Value = OutlierDetection> {
    let count = || 0..=MAX_CONSECUTIVE;
    let rate = (2..=1000u32, 1..=1_000_000u32, 1..=100_000u32);
    let rate = rate.prop_map(
        |(minimum_hosts, request_volume, stdev_factor)| SuccessRate {
            minimum_hosts,
            request_volume,
            stdev_factor,
        },
    );
    let share = (1..=100u32, 1..=1000u32, 1..=1_000_000u32);
    let share = share.prop_map(
        |(threshold, minimum_hosts, request_volume)| FailurePercentage {
            threshold,
            minimum_hosts,
            request_volume,
        },
    );
    let time = || (100..=3_600_000u64).prop_map(Duration::from_millis);
    let counts = (count(), count(), option::of(count()));
    let shares = (option::of(rate), option::of(share));
    let times = (time(), time(), time());
    (counts, shares, times, 0..=100u32, 0..=100u32).prop_map(
        |(counts, shares, times, max_ejected_percent, panic_threshold)| OutlierDetection {
            errors_5xx: counts.0,
            gateway_errors: counts.1,
            local_origin_failures: counts.2,
            success_rate: shares.0,
            failure_percentage: shares.1,
            interval: times.0,
            base_ejection: times.1,
            max_ejection: times.2,
            max_ejected_percent,
            panic_threshold,
        },
    )
}

#[test]
fn absurd_outlier_detection_is_refused_where_it_is() {
    let sound = destination(Vec::new());
    let name = Entry::Destination(sound.clone()).name();
    let mut message = destination::write(&sound);
    message.backends[1].outlier_detection = Some(generated::OutlierDetection {
        errors_5xx: 1001,
        gateway_errors: 1001,
        local_origin_failures: Some(1001),
        success_rate: Some(generated::SuccessRate::default()),
        failure_percentage: Some(generated::FailurePercentage::default()),
        max_ejected_percent: 101,
        panic_threshold: 101,
        ..Default::default()
    });
    let kind = Some(generated::entry::Kind::Destination(message));
    let decoded = decode(&name, &generated::Entry { kind }.encode_to_vec());
    let faults = decoded.err().unwrap_or_default();
    let paths: Vec<_> = faults.into_iter().map(|fault| fault.path).collect();
    let fields = [
        "errors5xx",
        "gatewayErrors",
        "localOriginFailures",
        "successRate.minimumHosts",
        "successRate.requestVolume",
        "successRate.stdevFactor",
        "failurePercentage.threshold",
        "failurePercentage.minimumHosts",
        "failurePercentage.requestVolume",
        "interval",
        "baseEjection",
        "maxEjection",
        "maxEjectedPercent",
        "panicThreshold",
    ];
    let expected = fields.map(|field| format!("backends[1].outlierDetection.{field}"));
    assert_eq!(paths, expected);
}

pub(super) fn health_check() -> impl Strategy<Value = HealthCheck> {
    let range = (100..=599u16, 100..=599u16).prop_map(|(one, other)| StatusRange {
        from: one.min(other),
        to: one.max(other),
    });
    let host = option::of(Just("shop.example".parse().unwrap()));
    let method = prop_oneof![Just("GET"), Just("HEAD"), Just("OPTIONS")];
    let http = (method, "/[a-z?=]{0,9}", host, vec(range, 1..4));
    let http = http.prop_map(|(method, path, host, expected)| {
        Question::Http(HttpQuestion {
            method: method.to_owned(),
            path,
            host,
            expected,
        })
    });
    let grpc = "[a-z.]{0,9}".prop_map(Question::Grpc);
    let question = prop_oneof![http, Just(Question::Tcp), grpc];
    let times = (100..=60_000u64, 10..=60_000u64);
    (question, times, 0..=100u32, 1..=100u32, 1..=100u32).prop_map(
        |(question, times, jitter_percent, unhealthy_after, healthy_after)| HealthCheck {
            question,
            interval: Duration::from_millis(times.0),
            jitter_percent,
            timeout: Duration::from_millis(times.1),
            unhealthy_after,
            healthy_after,
        },
    )
}

#[test]
fn absurd_health_checks_are_refused_where_they_are() {
    let sound = destination(Vec::new());
    let name = Entry::Destination(sound.clone()).name();
    let asked = |question| {
        let mut message = destination::write(&sound);
        message.backends[1].health_check = Some(generated::HealthCheck {
            question,
            jitter_percent: 101,
            ..Default::default()
        });
        let kind = Some(generated::entry::Kind::Destination(message));
        let decoded = decode(&name, &generated::Entry { kind }.encode_to_vec());
        let faults = decoded.err().unwrap_or_default();
        let paths = faults.into_iter().map(|fault| fault.path);
        paths.collect::<Vec<_>>()
    };
    let settings = [
        "interval",
        "jitter",
        "timeout",
        "unhealthyAfter",
        "healthyAfter",
    ];
    let settings = settings.map(|field| format!(".{field}"));
    let of_http: &[&str] = &[".http.method", ".http.path", ".http.expected"];
    let http = generated::health_check::Question::Http(generated::HttpQuestion::default());
    for (question, first) in [(None, &[""][..]), (Some(http), of_http)] {
        let first = first.iter().map(|path| (*path).to_owned());
        let expected: Vec<_> = first
            .chain(settings.clone())
            .map(|path| format!("backends[1].healthCheck{path}"))
            .collect();
        assert_eq!(asked(question), expected);
    }
}
