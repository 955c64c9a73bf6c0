//! Metrics as text: Prometheus exposition format 0.0.4.

mod tcp;

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::telemetry::Telemetry;
use crate::telemetry::event::Direction;
use crate::telemetry::json::push;
use crate::telemetry::names::{BUCKETS_MICROS, Metric, metric};
use crate::telemetry::series::{CLASSES, Series};

/// Everything counted so far.
pub(super) fn render(telemetry: &Telemetry) -> String {
    let mut out = String::with_capacity(16 * 1024);
    let (series, overflowed) = telemetry.table.all();
    let sums = Sums::of(&series);
    requests(&mut out, &sums);
    durations(&mut out, &sums);
    for (metric, value) in [
        (metric::REQUEST_BYTES, 0),
        (metric::RESPONSE_BYTES, 1),
        (metric::RETRIES, 2),
    ] {
        head(&mut out, metric);
        for ((direction, destination), sum) in &sums.destinations {
            let values = [sum.bytes_in, sum.bytes_out, sum.retries];
            let labels = [direction.as_str(), destination];
            sample(&mut out, metric, &labels, values[value]);
        }
    }
    tcp::render(&mut out, &series);
    connections(&mut out, telemetry);
    cold(&mut out, telemetry);
    readings(&mut out, telemetry);
    for (metric, value) in [
        (metric::CONFIG_GENERATION, &telemetry.generation),
        (metric::CONFIG_CONNECTED, &telemetry.control_connected),
    ] {
        head(&mut out, metric);
        sample(&mut out, metric, &[], value.load(Ordering::Relaxed));
    }
    head(&mut out, metric::CERTIFICATE_EXPIRY);
    let expiry = telemetry.certificate_not_after.load(Ordering::Relaxed);
    sample(&mut out, metric::CERTIFICATE_EXPIRY, &[], expiry);
    head(&mut out, metric::ACCESS_LOG_DROPPED);
    sample(
        &mut out,
        metric::ACCESS_LOG_DROPPED,
        &[],
        telemetry.dropped_lines(),
    );
    head(&mut out, metric::SERIES_OVERFLOWED);
    sample(&mut out, metric::SERIES_OVERFLOWED, &[], overflowed);
    out
}

/// The workers' series added up.
#[derive(Debug, Default)]
struct Sums<'s> {
    requests: BTreeMap<RequestLabels<'s>, u64>,
    destinations: BTreeMap<(Direction, &'s str), DestinationSum>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RequestLabels<'s> {
    direction: Direction,
    destination: &'s str,
    backend: &'s str,
    status: &'static str,
    reason: &'static str,
}

#[derive(Debug, Default)]
struct DestinationSum {
    buckets: [u64; BUCKETS_MICROS.len() + 1],
    sum_micros: u64,
    bytes_in: u64,
    bytes_out: u64,
    retries: u64,
}

impl<'s> Sums<'s> {
    fn of(series: &'s [std::sync::Arc<Series>]) -> Self {
        let mut sums = Self::default();
        // One that counts opaque connections only says nothing of exchanges.
        let had_any = |one: &&std::sync::Arc<Series>| one.buckets.iter().any(|cell| cell.get() > 0);
        for one in series.iter().filter(had_any) {
            sums.add_requests(one);
            let key = (one.direction, one.destination.as_str());
            let sum = sums.destinations.entry(key).or_default();
            for (total, cell) in sum.buckets.iter_mut().zip(&one.buckets) {
                *total += cell.get();
            }
            sum.sum_micros = sum.sum_micros.wrapping_add(one.sum_micros.get());
            sum.bytes_in = sum.bytes_in.wrapping_add(one.bytes_in.get());
            sum.bytes_out = sum.bytes_out.wrapping_add(one.bytes_out.get());
            sum.retries = sum.retries.wrapping_add(one.retries.get());
        }
        sums
    }

    fn add_requests(&mut self, one: &'s Series) {
        let labels = |class: usize, reason| RequestLabels {
            direction: one.direction,
            destination: &one.destination,
            backend: &one.backend,
            status: CLASSES.get(class).copied().unwrap_or_default(),
            reason,
        };
        for (class, cell) in one.requests.iter().enumerate() {
            if cell.get() > 0 {
                *self.requests.entry(labels(class, "")).or_default() += cell.get();
            }
        }
        let reasons = one.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        for ((class, reason), count) in &*reasons {
            *self.requests.entry(labels(*class, reason)).or_default() += count;
        }
    }
}

fn requests(out: &mut String, sums: &Sums<'_>) {
    head(out, metric::REQUESTS);
    for (key, count) in &sums.requests {
        let labels = [
            key.direction.as_str(),
            key.destination,
            key.backend,
            key.status,
            key.reason,
        ];
        sample(out, metric::REQUESTS, &labels, count);
    }
}

fn durations(out: &mut String, sums: &Sums<'_>) {
    let metric = metric::REQUEST_DURATION;
    head(out, metric);
    for ((direction, destination), sum) in &sums.destinations {
        let values = [direction.as_str(), destination];
        let counted = (&BUCKETS_MICROS[..], &sum.buckets[..], sum.sum_micros);
        histogram(out, metric, values, counted);
    }
}

/// One histogram: its bounds, the counts of its buckets (one more), and the sum.
fn histogram(
    out: &mut String,
    metric: Metric,
    values: [&str; 2],
    (bounds, buckets, sum_micros): (&[u64], &[u64], u64),
) {
    let mut total = 0;
    let bounds = bounds.iter().map(|micros| seconds(*micros));
    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(buckets) {
        total += count;
        push(out, format_args!("{}_bucket", metric.name));
        let named = metric.labels.iter().copied().zip(values);
        labels(out, named.chain([("le", bound.as_str())]));
        push(out, format_args!(" {total}\n"));
    }
    let sum = seconds(sum_micros);
    for (suffix, value) in [("sum", sum), ("count", total.to_string())] {
        push(out, format_args!("{}_{suffix}", metric.name));
        labels(out, metric.labels.iter().copied().zip(values));
        push(out, format_args!(" {value}\n"));
    }
}

fn connections(out: &mut String, telemetry: &Telemetry) {
    for metric in [
        metric::CONNECTIONS_OPENED,
        metric::CONNECTIONS_CLOSED,
        metric::CONNECTIONS_ACTIVE,
    ] {
        head(out, metric);
        for direction in Direction::ALL {
            let counted = telemetry.table.connections(direction);
            let value = if metric.name == metric::CONNECTIONS_OPENED.name {
                counted.opened
            } else if metric.name == metric::CONNECTIONS_CLOSED.name {
                counted.closed
            } else {
                counted.opened.saturating_sub(counted.closed)
            };
            sample(out, metric, &[direction.as_str()], value);
        }
    }
}

fn cold(out: &mut String, telemetry: &Telemetry) {
    let counted = telemetry.lock_cold();
    for metric in metric::COLD {
        head(out, metric);
        if metric.labels.is_empty() {
            let value = counted.get(&(metric.name, Vec::new())).copied();
            sample(out, metric, &[], value.unwrap_or_default());
            continue;
        }
        for ((_, values), count) in counted.iter().filter(|((name, _), _)| *name == metric.name) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            sample(out, metric, &values, count);
        }
    }
}

fn readings(out: &mut String, telemetry: &Telemetry) {
    let all = telemetry.readings.read();
    for metric in metric::READ {
        head(out, metric);
        for (_, values, value) in all.iter().filter(|(of, ..)| of.name == metric.name) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            sample(out, metric, &values, value);
        }
    }
}

fn head(out: &mut String, metric: Metric) {
    let Metric {
        name, help, kind, ..
    } = metric;
    push(
        out,
        format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str()),
    );
}

fn sample(out: &mut String, metric: Metric, values: &[&str], value: impl std::fmt::Display) {
    out.push_str(metric.name);
    labels(
        out,
        metric.labels.iter().copied().zip(values.iter().copied()),
    );
    push(out, format_args!(" {value}\n"));
}

fn labels<'l>(out: &mut String, labels: impl Iterator<Item = (&'l str, &'l str)>) {
    let mut open = false;
    for (name, value) in labels {
        push(
            out,
            format_args!("{}{name}=\"", if open { ',' } else { '{' }),
        );
        open = true;
        for character in value.chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
        out.push('"');
    }
    if open {
        out.push('}');
    }
}

fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
