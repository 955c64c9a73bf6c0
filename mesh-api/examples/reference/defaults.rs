//! The rows of the table of defaults, from the code's own values.

use std::time::Duration;

use mesh_api::model::mirror::Mirroring;
use mesh_api::model::policy::{
    BackendSettings, DEFAULTS, ExchangeTimeouts, Jitter, MutualTls, RetryMethods, RetryPolicy,
};
use mesh_api::model::ratelimit::RateLimit;

const CALLER: &str = "the dialled Service";
const BACKEND: &str = "the chosen backend";
const RECEIVER: &str = "the receiving workload";
const BOTH_OF_COPIES: &str = "mirrored backend and proxy";
const BOTH: &str = "destination and proxy";
const PROXY: &str = "the proxy";

/// What, its value, whose setting it is.
type Row = (&'static str, String, &'static str);

/// One row each.
pub(crate) fn rows() -> String {
    let row = |(what, value, whose)| format!("| {what} | {value} | {whose} |\n");
    let all = times()
        .into_iter()
        .chain(retries(&RetryPolicy::default()))
        .chain(standing())
        .chain(limits())
        .chain(copies());
    all.map(row).collect::<Vec<_>>().concat()
}

fn times() -> Vec<Row> {
    let (timeouts, backend) = (ExchangeTimeouts::default(), BackendSettings::default());
    let limit = |limit: Option<Duration>| limit.map_or("none".to_owned(), time);
    let connect = time(backend.connect_timeout.value);
    vec![
        (
            "mutual TLS",
            format!("{:?}", MutualTls::default()),
            RECEIVER,
        ),
        ("request timeout", limit(timeouts.request.value), CALLER),
        ("per-try timeout", limit(timeouts.per_try.value), CALLER),
        (
            "time between two bytes of an exchange",
            limit(timeouts.stream_idle.value),
            CALLER,
        ),
        (
            "time for all of an exchange, what it is upgraded to included",
            limit(timeouts.max_stream_duration.value),
            CALLER,
        ),
        (
            "next hop is told of a request timeout",
            if timeouts.propagate_deadline.value {
                "yes"
            } else {
                "no; of a caller's deadline it is"
            }
            .to_owned(),
            CALLER,
        ),
        ("connect timeout, TLS and tunnel included", connect, BACKEND),
        (
            "pooled HTTP connection, idle",
            time(backend.pool_idle.value),
            BACKEND,
        ),
        (
            "age of a connection to an endpoint",
            limit(backend.max_connection_age.value),
            BACKEND,
        ),
        (
            "opaque connection, idle",
            limit(backend.tcp_idle.value),
            BACKEND,
        ),
        (
            "load balancing",
            backend.algorithm.value.as_str().to_owned(),
            BACKEND,
        ),
        ("preferred by locality", "none".to_owned(), BACKEND),
        (
            "new endpoint gets less for (slow start)",
            limit(backend.slow_start.value),
            BACKEND,
        ),
        (
            "leaf certificate",
            format!("{}, renewed from a third", time(DEFAULTS.leaf_lifetime)),
            "the mesh",
        ),
        (
            "time for a plaintext peer's head",
            time(DEFAULTS.head_timeout),
            PROXY,
        ),
        (
            "wait for configuration that was asked for",
            time(DEFAULTS.config_wait),
            PROXY,
        ),
    ]
}

/// Of copies of requests, which only a filter asks for.
fn copies() -> Vec<Row> {
    let copies = Mirroring::DEFAULT;
    let bytes = format!("{} KiB", copies.max_body_bytes / 1024);
    vec![
        (
            "copies of requests (mirrors) at a time",
            copies.max_concurrent.to_string(),
            BOTH_OF_COPIES,
        ),
        (
            "content that waits for a slow copy, then it is given up",
            bytes,
            CALLER,
        ),
        (
            "time for a copy, to its response's end",
            time(copies.timeout),
            CALLER,
        ),
        ("retries of an injected fault", "none".to_owned(), CALLER),
    ]
}

/// What takes an endpoint out.
fn standing() -> Vec<Row> {
    let ejected = format!("{} %", DEFAULTS.max_ejected_percent);
    vec![
        (
            "failed connects in a row that eject an endpoint",
            DEFAULTS.eject_after.to_string(),
            BACKEND,
        ),
        (
            "first ejection, doubled up to 16 times as long",
            time(DEFAULTS.base_ejection),
            BACKEND,
        ),
        (
            "ejected at most, of a backend's endpoints",
            ejected,
            BACKEND,
        ),
        (
            "percentage of endpoints that must be well for the others to be left out",
            format!("{} %", DEFAULTS.panic_threshold),
            BACKEND,
        ),
        (
            "first ejection by outlierDetection, the n-th n times as long",
            time(DEFAULTS.outlier_ejection),
            BACKEND,
        ),
        (
            "longest ejection by outlierDetection",
            time(DEFAULTS.max_ejection),
            BACKEND,
        ),
        (
            "interval of outlierDetection's shares",
            time(DEFAULTS.outlier_interval),
            BACKEND,
        ),
        (
            "between two health checks of an endpoint, and jitter",
            format!(
                "{} and {} %",
                time(DEFAULTS.check_interval),
                DEFAULTS.check_jitter_percent
            ),
            BACKEND,
        ),
        (
            "time for a health check",
            time(DEFAULTS.check_timeout),
            BACKEND,
        ),
        (
            "checks in a row to unhealthy, to healthy",
            format!("{}, {}", DEFAULTS.unhealthy_after, DEFAULTS.healthy_after),
            BACKEND,
        ),
    ]
}

fn limits() -> Vec<Row> {
    let head = format!("{} KiB", DEFAULTS.max_head_bytes / 1024);
    vec![
        (
            "connections at a time",
            DEFAULTS.max_connections.to_string(),
            BOTH,
        ),
        (
            "requests at a time",
            DEFAULTS.max_requests.to_string(),
            BOTH,
        ),
        (
            "requests that wait for a place",
            DEFAULTS.max_pending.to_string(),
            BOTH,
        ),
        (
            "longest wait for a place",
            time(DEFAULTS.queue_timeout),
            BOTH,
        ),
        (
            "retries at a time of requests that may have arrived",
            DEFAULTS.max_retries.to_string(),
            BOTH,
        ),
        (
            "requests and connections that a workload takes in a time",
            "no limit".to_owned(),
            RECEIVER,
        ),
        (
            "status over a rate limit",
            RateLimit::STATUS.to_string(),
            RECEIVER,
        ),
        ("head of a message", head, PROXY),
        (
            "fields of a head",
            DEFAULTS.max_head_fields.to_string(),
            PROXY,
        ),
    ]
}

fn retries(retry: &RetryPolicy) -> Vec<Row> {
    let (backoff, budget) = (retry.backoff, retry.budget);
    let on = [
        (
            retry.conditions.connect_failure,
            "nothing was sent (any method)",
        ),
        (
            retry.conditions.reset,
            "reset before the first byte of the response",
        ),
        (
            retry.conditions.refused_stream,
            "HTTP/2 says that it was not processed (any method)",
        ),
        (retry.conditions.per_try_timeout, "the try's timeout"),
    ];
    let on: Vec<&str> = on
        .into_iter()
        .filter(|(is_on, _)| *is_on)
        .map(|(_, text)| text)
        .collect();
    let methods = match &retry.methods {
        RetryMethods::Safe => "GET, HEAD, OPTIONS".to_owned(),
        other => format!("{other:?}"),
    };
    let jitter = match backoff.jitter {
        Jitter::Full => "full jitter".to_owned(),
        other => format!("jitter {other:?}"),
    };
    let waits = format!("{} to {}, {jitter}", time(backoff.base), time(backoff.max));
    let share = format!(
        "{} %, at least {} per second, over {}",
        budget.percent,
        budget.min_per_second,
        time(budget.window)
    );
    vec![
        (
            "[retries](../concept/retries.md), tries after the first",
            retry.attempts.to_string(),
            CALLER,
        ),
        ("retried when", on.join("; "), CALLER),
        (
            "retried statuses",
            if retry.statuses.is_empty() {
                "none".to_owned()
            } else {
                format!("{:?}", retry.statuses)
            },
            CALLER,
        ),
        ("methods retried once bytes were sent", methods, CALLER),
        ("wait before a retry", waits, CALLER),
        ("retry budget", share, CALLER),
        (
            "largest body kept for a retry",
            format!("{} KiB", retry.max_body_bytes / 1024),
            CALLER,
        ),
    ]
}

/// In its largest whole unit.
fn time(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [(3_600_000, "h"), (60_000, "min"), (1000, "s")];
    let unit = units
        .into_iter()
        .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
    unit.map_or_else(
        || format!("{millis} ms"),
        |(unit, name)| format!("{} {name}", millis / unit),
    )
}
