//! Counters of one label set, and the bounded table of all of them.
//!
//! A cell has one writer, its worker, so it counts by load and store; a scrape reads it at any time.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mesh_api::name::DestinationName;

use crate::telemetry::event::{ConnectionEvent, Direction, ExchangeEvent};
use crate::telemetry::names::{BUCKETS_MICROS, OVERFLOW, TCP_BUCKETS_MICROS, UNKNOWN};
use crate::telemetry::shard::SeriesKey;

/// Distinct label sets per proxy.
pub(super) const MAX_SERIES: usize = 10_000;
/// Classes of status: `none`, then 1xx to 5xx.
pub(super) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// A counter with one writer.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    /// Adds; only the owning worker may.
    pub(super) fn add(&self, amount: u64) {
        let value = self.0.load(Ordering::Relaxed).wrapping_add(amount);
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counts for one (direction, destination, backend).
#[derive(Debug)]
pub(super) struct Series {
    pub(super) direction: Direction,
    pub(super) destination: String,
    pub(super) backend: String,
    /// Exchanges without a reason, by class.
    pub(super) requests: [Cell; CLASSES.len()],
    /// Exchanges with a reason, by class and reason; the mesh's own answers are rare.
    pub(super) reasons: Mutex<BTreeMap<(usize, &'static str), u64>>,
    /// The last bucket is beyond every bound.
    pub(super) buckets: [Cell; BUCKETS_MICROS.len() + 1],
    pub(super) sum_micros: Cell,
    pub(super) retries: Cell,
    pub(super) bytes_in: Cell,
    pub(super) bytes_out: Cell,
    /// Made by the first opaque connection: most series have none.
    tcp: OnceLock<Box<TcpSeries>>,
}

/// What is counted of opaque connections.
#[derive(Debug, Default)]
pub(super) struct TcpSeries {
    pub(super) opened: Cell,
    /// Ended by themselves.
    pub(super) closed: Cell,
    /// Ended otherwise, by reason.
    pub(super) reasons: Mutex<BTreeMap<&'static str, u64>>,
    /// The last bucket is beyond every bound.
    pub(super) buckets: [Cell; TCP_BUCKETS_MICROS.len() + 1],
    pub(super) sum_micros: Cell,
    pub(super) bytes_in: Cell,
    pub(super) bytes_out: Cell,
}

impl TcpSeries {
    /// Counts a connection's end.
    pub(super) fn ended(&self, event: &ConnectionEvent<'_>) {
        match event.reason {
            None => self.closed.add(1),
            Some(reason) => {
                let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
                *reasons.entry(reason).or_default() += 1;
            }
        }
        let micros = micros(event.duration);
        let bucket = TCP_BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
        self.bytes_in.add(event.bytes_in);
        self.bytes_out.add(event.bytes_out);
    }
}

impl Series {
    fn new(direction: Direction, destination: String, backend: String) -> Self {
        Self {
            direction,
            destination,
            backend,
            requests: Default::default(),
            reasons: Mutex::default(),
            buckets: Default::default(),
            sum_micros: Cell::default(),
            retries: Cell::default(),
            bytes_in: Cell::default(),
            bytes_out: Cell::default(),
            tcp: OnceLock::new(),
        }
    }

    /// The counters of opaque connections, made at first use.
    pub(super) fn tcp(&self) -> &TcpSeries {
        self.tcp.get_or_init(Box::default)
    }

    /// The counters of opaque connections, if there was one.
    pub(super) fn tcp_if_any(&self) -> Option<&TcpSeries> {
        self.tcp.get().map(|tcp| &**tcp)
    }

    /// Counts `event`.
    pub(super) fn exchange(&self, event: &ExchangeEvent<'_>) {
        let class = usize::from(event.status / 100);
        let class = if class < CLASSES.len() { class } else { 0 };
        match event.reason {
            None => self.requests[class].add(1),
            Some(reason) => {
                let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
                *reasons.entry((class, reason)).or_default() += 1;
            }
        }
        let micros = micros(event.duration);
        let bucket = BUCKETS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
        if event.attempts > 1 {
            self.retries.add(u64::from(event.attempts - 1));
        }
        self.bytes_in.add(event.bytes_in);
        self.bytes_out.add(event.bytes_out);
    }
}

/// All series of all workers.
#[derive(Debug, Default)]
pub(super) struct Table {
    inner: Mutex<TableInner>,
    opened: [AtomicU64; 2],
    closed: [AtomicU64; 2],
}

#[derive(Debug, Default)]
struct TableInner {
    known: HashSet<(Direction, String, String)>,
    all: Vec<Arc<Series>>,
    overflowed: u64,
}

impl Table {
    /// A worker's own cells for `key`; `None` where the table is full.
    pub(super) fn add(&self, key: &SeriesKey<'_>) -> Option<Arc<Series>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |name: Option<&DestinationName>| name.map(ToString::to_string);
        let destination = text(key.destination).unwrap_or_else(|| UNKNOWN.to_owned());
        let backend = text(key.backend).unwrap_or_default();
        let label_set = (key.direction, destination.clone(), backend.clone());
        if inner.known.len() >= MAX_SERIES && !inner.known.contains(&label_set) {
            inner.overflowed += 1;
            return None;
        }
        inner.known.insert(label_set);
        let series = Arc::new(Series::new(key.direction, destination, backend));
        inner.all.push(Arc::clone(&series));
        Some(series)
    }

    /// A worker's own cells for what found no room; a worker asks once per direction.
    pub(super) fn overflow(&self, direction: Direction) -> Arc<Series> {
        let series = Series::new(direction, OVERFLOW.to_owned(), OVERFLOW.to_owned());
        let series = Arc::new(series);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.all.push(Arc::clone(&series));
        series
    }

    /// A connection was accepted.
    pub(super) fn opened(&self, direction: Direction) {
        self.opened[direction as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection ended.
    pub(super) fn closed(&self, direction: Direction) {
        self.closed[direction as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections accepted and ended.
    pub(super) fn connections(&self, direction: Direction) -> Connections {
        // Ended first: a connection counted as ended was counted as accepted before.
        let closed = self.closed[direction as usize].load(Ordering::Acquire);
        let opened = self.opened[direction as usize].load(Ordering::Acquire);
        Connections { opened, closed }
    }

    /// Everything counted so far, and how many label sets overflowed.
    pub(super) fn all(&self) -> (Vec<Arc<Series>>, u64) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.all.clone(), inner.overflowed)
    }
}

/// Connections counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connections {
    pub(super) opened: u64,
    pub(super) closed: u64,
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
