//! A worker's own counters and its end of the access log.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::SystemTime;

use foldhash::HashMap;
use mesh_api::name::DestinationName;

use crate::telemetry::Telemetry;
use crate::telemetry::access_log::{self, Ring};
use crate::telemetry::event::{ConnectionEvent, ConnectionRefused, Direction, ExchangeEvent};
use crate::telemetry::series::Series;

/// The label set of a series.
#[derive(Clone, Copy, Debug)]
pub struct SeriesKey<'a> {
    /// Which way.
    pub direction: Direction,
    /// From configuration, never from a peer; `None` where nothing is known of it.
    pub destination: Option<&'a DestinationName>,
    /// The backend chosen, if one was.
    pub backend: Option<&'a DestinationName>,
}

/// A resolved label set; valid in the shard that gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesId(u32);

/// A worker's counters. Not shared between threads: each worker takes its own.
#[derive(Debug)]
pub struct Shard {
    telemetry: Arc<Telemetry>,
    ring: Option<Arc<Ring>>,
    inner: RefCell<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By direction.
    ids: [Ids; 2],
    series: Vec<Arc<Series>>,
    overflow: [Option<SeriesId>; 2],
    line: String,
}

/// The series of one direction, found by names as they are: no text is made of them.
#[derive(Debug, Default)]
struct Ids {
    unknown: OfDestination,
    known: HashMap<DestinationName, OfDestination>,
}

#[derive(Debug, Default)]
struct OfDestination {
    without_backend: Option<SeriesId>,
    backends: HashMap<DestinationName, SeriesId>,
}

impl Ids {
    fn get(&self, key: &SeriesKey<'_>) -> Option<SeriesId> {
        let of = match key.destination {
            Some(name) => self.known.get(name)?,
            None => &self.unknown,
        };
        match key.backend {
            Some(name) => of.backends.get(name).copied(),
            None => of.without_backend,
        }
    }

    fn insert(&mut self, key: &SeriesKey<'_>, id: SeriesId) {
        let of = match key.destination {
            Some(name) => self.known.entry(name.clone()).or_default(),
            None => &mut self.unknown,
        };
        match key.backend {
            Some(name) => drop(of.backends.insert(name.clone(), id)),
            None => of.without_backend = Some(id),
        }
    }
}

impl Shard {
    pub(super) fn new(telemetry: Arc<Telemetry>, ring: Option<Arc<Ring>>) -> Self {
        Self {
            telemetry,
            ring,
            inner: RefCell::default(),
        }
    }

    /// The process-wide recorder, for cold events.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// The series of `key`; no allocation once it is known. Callers keep the id.
    pub fn series(&self, key: SeriesKey<'_>) -> SeriesId {
        let mut inner = self.inner.borrow_mut();
        match inner.ids[key.direction as usize].get(&key) {
            Some(id) => id,
            None => inner.add(&self.telemetry, &key),
        }
    }

    /// Counts an ended exchange and writes its log line.
    pub fn exchange(&self, series: SeriesId, event: &ExchangeEvent<'_>) {
        let mut inner = self.inner.borrow_mut();
        if let Some(series) = inner.series.get(series.0 as usize) {
            series.exchange(event);
        }
        if let Some(ring) = &self.ring {
            let line = &mut inner.line;
            line.clear();
            access_log::write_line(line, self.telemetry.workload(), SystemTime::now(), event);
            ring.push(line.as_bytes());
        }
    }

    /// Counts an opaque connection that reached an endpoint.
    pub fn tcp_opened(&self, series: SeriesId) {
        if let Some(series) = self.inner.borrow().series.get(series.0 as usize) {
            series.tcp().opened.add(1);
        }
    }

    /// Counts the end of an opaque connection, or its refusal, and writes its log line.
    pub fn connection(&self, series: SeriesId, event: &ConnectionEvent<'_>) {
        let mut inner = self.inner.borrow_mut();
        if event.reached
            && let Some(series) = inner.series.get(series.0 as usize)
        {
            series.tcp().ended(event);
        }
        if let Some(reason) = event.reason.filter(|_| !event.reached) {
            self.telemetry.connection_refused(&ConnectionRefused {
                direction: event.direction,
                reason,
                peer: None,
            });
        }
        tracing::debug!(?event, "opaque connection ended");
        if let Some(ring) = &self.ring {
            let line = &mut inner.line;
            line.clear();
            let workload = self.telemetry.workload();
            access_log::write_connection(line, workload, SystemTime::now(), event);
            ring.push(line.as_bytes());
        }
    }

    /// Counts an accepted connection.
    pub fn connection_opened(&self, direction: Direction) {
        self.telemetry.table.opened(direction);
    }

    /// Counts the end of an accepted connection.
    pub fn connection_closed(&self, direction: Direction) {
        self.telemetry.table.closed(direction);
    }
}

impl Inner {
    fn add(&mut self, telemetry: &Telemetry, key: &SeriesKey<'_>) -> SeriesId {
        let next = SeriesId(u32::try_from(self.series.len()).unwrap_or(u32::MAX));
        if let Some(series) = telemetry.table.add(key) {
            self.ids[key.direction as usize].insert(key, next);
            self.series.push(series);
            return next;
        }
        let overflow = &mut self.overflow[key.direction as usize];
        if let Some(id) = *overflow {
            return id;
        }
        *overflow = Some(next);
        self.series.push(telemetry.table.overflow(key.direction));
        next
    }
}
