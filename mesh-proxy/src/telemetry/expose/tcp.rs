//! What is counted of opaque connections.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use super::{head, histogram, sample};
use crate::telemetry::event::Direction;
use crate::telemetry::names::{TCP_BUCKETS_MICROS, metric};
use crate::telemetry::series::{Series, TcpSeries};

/// The workers' series added up.
#[derive(Default)]
struct Sums<'s> {
    opened: BTreeMap<(Direction, &'s str, &'s str), u64>,
    closed: BTreeMap<(Direction, &'s str, &'s str, &'static str), u64>,
    destinations: BTreeMap<(Direction, &'s str), DestinationSum>,
}

#[derive(Default)]
struct DestinationSum {
    buckets: [u64; TCP_BUCKETS_MICROS.len() + 1],
    sum_micros: u64,
    bytes: [u64; 2],
}

pub(super) fn render(out: &mut String, series: &[Arc<Series>]) {
    let mut sums = Sums::default();
    for one in series {
        if let Some(tcp) = one.tcp_if_any() {
            sums.add(one, tcp);
        }
    }
    head(out, metric::TCP_OPENED);
    for ((direction, destination, backend), count) in &sums.opened {
        let labels = [direction.as_str(), destination, backend];
        sample(out, metric::TCP_OPENED, &labels, count);
    }
    head(out, metric::TCP_CLOSED);
    for ((direction, destination, backend, reason), count) in &sums.closed {
        let labels = [direction.as_str(), destination, backend, reason];
        sample(out, metric::TCP_CLOSED, &labels, count);
    }
    for (metric, which) in [(metric::TCP_BYTES_IN, 0), (metric::TCP_BYTES_OUT, 1)] {
        head(out, metric);
        for ((direction, destination), sum) in &sums.destinations {
            sample(
                out,
                metric,
                &[direction.as_str(), destination],
                sum.bytes[which],
            );
        }
    }
    head(out, metric::TCP_DURATION);
    for ((direction, destination), sum) in &sums.destinations {
        let counted = (&TCP_BUCKETS_MICROS[..], &sum.buckets[..], sum.sum_micros);
        let values = [direction.as_str(), *destination];
        histogram(out, metric::TCP_DURATION, values, counted);
    }
}

impl<'s> Sums<'s> {
    fn add(&mut self, one: &'s Series, tcp: &TcpSeries) {
        let (direction, destination) = (one.direction, one.destination.as_str());
        let backend = one.backend.as_str();
        let opened = self.opened.entry((direction, destination, backend));
        *opened.or_default() += tcp.opened.get();
        if tcp.closed.get() > 0 {
            let closed = self.closed.entry((direction, destination, backend, ""));
            *closed.or_default() += tcp.closed.get();
        }
        let reasons = tcp.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, count) in &*reasons {
            let closed = self.closed.entry((direction, destination, backend, reason));
            *closed.or_default() += count;
        }
        let sum = self.destinations.entry((direction, destination));
        let sum = sum.or_default();
        for (total, cell) in sum.buckets.iter_mut().zip(&tcp.buckets) {
            *total += cell.get();
        }
        sum.sum_micros = sum.sum_micros.wrapping_add(tcp.sum_micros.get());
        for (total, cell) in sum.bytes.iter_mut().zip([&tcp.bytes_in, &tcp.bytes_out]) {
            *total = total.wrapping_add(cell.get());
        }
    }
}
