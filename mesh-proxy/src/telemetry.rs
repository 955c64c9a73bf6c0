//! What happened, as event structs: each is recorded once, as metric and log line together.
//!
//! A worker owns a [`Shard`] and counts there without locks; cold events are recorded on
//! [`Telemetry`]. [`Telemetry::render`] adds the shards up for a scrape. May use `error` only.

pub mod access_log;
pub mod event;
mod expose;
pub mod json;
pub mod names;
mod reading;
mod series;
pub mod shard;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_api::decide::retry::StopReason;
use mesh_api::name::{DestinationName, ObjectName};

use crate::telemetry::access_log::{AccessLog, Sink};
pub use crate::telemetry::event::{
    Audited, ConfigApplied, ConnectionEvent, ConnectionRefused, ControlLost, Detection, Direction,
    Ejection, EntryRefused, ExchangeEvent, FaultInjected, HealthChecked, Mirrored,
    TlsHandshakeFailed,
};
use crate::telemetry::names::{Metric, metric};
pub use crate::telemetry::reading::Reading;
use crate::telemetry::series::Table;
pub use crate::telemetry::shard::{SeriesId, SeriesKey, Shard};

/// Everything a proxy counts, shared by its threads.
#[derive(Debug)]
pub struct Telemetry {
    workload: ObjectName,
    table: Table,
    access_log: Option<AccessLog>,
    cold: Mutex<BTreeMap<(&'static str, Vec<String>), u64>>,
    generation: AtomicU64,
    control_connected: AtomicU64,
    certificate_not_after: AtomicI64,
    readings: reading::Source,
}

/// Distinct label sets kept of each cold counter; further ones are counted as `overflow`.
const MAX_COLD: usize = 1_000;

impl Telemetry {
    /// Counters at 0, and the access log's writer if `sink` is not [`Sink::Off`].
    ///
    /// # Errors
    /// The access log's file cannot be opened, or its thread not started.
    pub fn new(workload: ObjectName, sink: &Sink) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            access_log: AccessLog::start(sink)?,
            workload,
            table: Table::default(),
            cold: Mutex::default(),
            generation: AtomicU64::new(0),
            control_connected: AtomicU64::new(0),
            certificate_not_after: AtomicI64::new(0),
            readings: reading::Source::default(),
        }))
    }

    /// A worker's own counters.
    pub fn shard(self: &Arc<Self>) -> Shard {
        let ring = self.access_log.as_ref().map(AccessLog::ring);
        Shard::new(Arc::clone(self), ring)
    }

    /// The workload that log lines name.
    pub fn workload(&self) -> &ObjectName {
        &self.workload
    }

    /// Takes the samples of [`metric::READ`] from `read` from now on.
    pub fn read_from(&self, read: impl Fn() -> Vec<Reading> + Send + Sync + 'static) {
        self.readings.set(Box::new(read));
    }

    /// Records that a batch of configuration is in force.
    pub fn config_applied(&self, event: &ConfigApplied) {
        self.generation.store(event.generation, Ordering::Relaxed);
        tracing::debug!(
            generation = event.generation,
            upserted = event.upserted,
            removed = event.removed,
            "configuration applied"
        );
    }

    /// Records that an entry was refused; its last good stays in force.
    pub fn entry_refused(&self, event: &EntryRefused<'_>) {
        self.add(metric::CONFIG_NACKS, vec![]);
        let faults = event.faults.iter().map(ToString::to_string);
        let faults = faults.collect::<Vec<_>>().join("; ");
        tracing::error!(entry = %event.name, %faults, "configuration entry refused");
    }

    /// Records that the control stream is up.
    pub fn control_connected(&self, address: &str) {
        self.control_connected.store(1, Ordering::Relaxed);
        tracing::info!(address, "connected to the control plane");
    }

    /// Records that the control stream ended.
    pub fn control_lost(&self, event: &ControlLost<'_>) {
        if self.control_connected.swap(0, Ordering::Relaxed) == 1 {
            tracing::warn!(address = event.address, reason = %event.reason, "control plane lost; the configuration in force stays");
        } else {
            tracing::debug!(address = event.address, reason = %event.reason, "control plane not reached");
        }
        self.add(metric::CONFIG_STREAM_FAILURES, vec![]);
    }

    /// Records the certificate in use: its end, in seconds since the epoch.
    pub fn certificate(&self, not_after: i64) {
        self.certificate_not_after
            .store(not_after, Ordering::Relaxed);
        tracing::info!(not_after, "certificate in force");
    }

    /// Records a failed renewal.
    pub fn renewal_failed(&self, reason: &dyn std::fmt::Display) {
        self.add(metric::CERTIFICATE_RENEWAL_FAILURES, vec![]);
        tracing::warn!(%reason, "certificate not renewed; trying again");
    }

    /// Records a refused or broken TLS handshake.
    pub fn tls_handshake_failed(&self, event: &TlsHandshakeFailed<'_>) {
        self.add(
            metric::TLS_HANDSHAKE_FAILURES,
            vec![event.direction.as_str().into(), event.reason.into()],
        );
        tracing::debug!(direction = event.direction.as_str(), reason = event.reason, peer = ?event.peer, detail = %event.detail, "TLS handshake failed");
    }

    /// Records a message that breaks HTTP/1.1.
    pub fn message_refused(&self, direction: Direction, reason: &'static str) {
        self.add(
            metric::MESSAGES_REFUSED,
            vec![direction.as_str().into(), reason.into()],
        );
    }

    /// Records a connection that was not served.
    pub fn connection_refused(&self, event: &ConnectionRefused) {
        self.add(
            metric::CONNECTIONS_REFUSED,
            vec![event.direction.as_str().into(), event.reason.into()],
        );
        tracing::debug!(direction = event.direction.as_str(), reason = event.reason, peer = ?event.peer, "connection refused");
    }

    /// Records a call that passed and that a policy would refuse.
    pub fn audited(&self, event: &Audited<'_>) {
        self.add(metric::AUDITED, vec![event.policy.into()]);
        tracing::info!(policy = event.policy, peer = ?event.peer, detail = %event.detail, "call would be denied");
    }

    /// Records that no retry followed a failed try, though the policy retries such failures.
    pub fn retry_stopped(&self, backend: &DestinationName, reason: StopReason) {
        let labels = vec![backend.to_string(), reason.as_str().to_owned()];
        self.add(metric::RETRIES_STOPPED, labels);
    }

    /// Records an injected fault.
    pub fn fault_injected(&self, event: &FaultInjected<'_>) {
        let destination = event
            .destination
            .map_or_else(|| names::UNKNOWN.to_owned(), ToString::to_string);
        self.add(metric::FAULTS, vec![destination, event.fault.into()]);
    }

    /// Records what became of a copy of a request.
    pub fn mirrored(&self, event: &Mirrored<'_>) {
        let names = [event.destination, event.backend].map(ToString::to_string);
        let [destination, backend] = names;
        self.add(
            metric::MIRRORS,
            vec![destination, backend, event.outcome.into()],
        );
    }

    /// Records what a comparison of `part` found.
    pub fn compared(&self, event: &Mirrored<'_>, part: &'static str) {
        let names = [event.destination, event.backend].map(ToString::to_string);
        let [destination, backend] = names;
        let labels = vec![destination, backend, part.into(), event.outcome.into()];
        self.add(metric::MIRROR_COMPARISONS, labels);
    }

    /// Records what an undeclared connection speaks.
    pub fn detection(&self, event: &Detection) {
        let labels = [event.direction.as_str(), event.result, event.by];
        self.add(metric::DETECTIONS, labels.map(str::to_owned).to_vec());
    }

    /// Records that an endpoint was taken out.
    pub fn ejection(&self, event: &Ejection<'_>) {
        let labels = vec![event.backend.into(), event.reason.into()];
        self.add(metric::EJECTIONS, labels);
        tracing::warn!(backend = event.backend, endpoint = %event.endpoint, reason = event.reason, seconds = event.duration.as_secs_f64(), "endpoint ejected");
    }

    /// Records that an endpoint was asked whether it works.
    pub fn health_checked(&self, event: &HealthChecked<'_>) {
        let result = if event.failure.is_none() {
            "passed"
        } else {
            "failed"
        };
        let labels = vec![event.backend.into(), result.into()];
        self.add(metric::HEALTH_CHECKS, labels);
        match event.turned {
            None => {}
            Some(true) => {
                tracing::warn!(backend = event.backend, endpoint = %event.endpoint, failure = event.failure, "endpoint unhealthy");
            }
            Some(false) => {
                tracing::info!(backend = event.backend, endpoint = %event.endpoint, "endpoint healthy again");
            }
        }
    }

    /// Records that an endpoint is new to `backend`, and gets less than its share for a while.
    pub fn slow_start(&self, backend: &DestinationName) {
        self.add(metric::SLOW_STARTS, vec![backend.to_string()]);
    }

    /// Log lines dropped because the writer was behind.
    pub fn dropped_lines(&self) -> u64 {
        self.access_log.as_ref().map_or(0, AccessLog::dropped)
    }

    /// Writes out every access log line recorded so far; call it last.
    pub fn flush(&self) {
        if let Some(log) = &self.access_log {
            log.flush();
        }
    }

    /// All metrics in the Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        expose::render(self)
    }

    fn add(&self, metric: Metric, labels: Vec<String>) {
        let mut cold = self.lock_cold();
        let held = cold.keys().filter(|(name, _)| *name == metric.name).count();
        let key = (metric.name, labels);
        let key = if held < MAX_COLD || cold.contains_key(&key) {
            key
        } else {
            let overflow = key.1.iter().map(|_| names::OVERFLOW.to_owned());
            (metric.name, overflow.collect())
        };
        *cold.entry(key).or_default() += 1;
    }

    fn lock_cold(&self) -> MutexGuard<'_, BTreeMap<(&'static str, Vec<String>), u64>> {
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
