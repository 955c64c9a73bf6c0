//! Slow start: which endpoints are new and since when, for `mesh_api::decide::balance::warm`.
//!
//! May use `load`.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use mesh_api::decide::balance::warm;
use mesh_api::name::DestinationName;
use mesh_api::snapshot::{BackendTable, DestinationTable, Known, Snapshot};

use super::load::EndpointState;

/// The endpoints of backends that ask for slow start, as the last configuration had them.
#[derive(Debug, Default)]
pub struct Newcomers {
    last: HashMap<Place, HashSet<SocketAddr>>,
}

/// A backend, by the destination that it is part of.
type Place = (DestinationName, DestinationName);

/// How endpoints of one backend are warmed up, as a worker sees it.
#[derive(Debug)]
pub(super) struct Warming {
    window: Duration,
    /// How many starts there were when `until` was found.
    seen: Cell<Option<u64>>,
    /// When the last of the endpoints has all of its weight, in milliseconds since the start; 0: all have.
    until: Cell<u64>,
}

impl Newcomers {
    /// Compares with the last configuration: what is new in a backend some of whose endpoints were there before. Where
    /// all are new, none has less than the others.
    pub fn arrived(&mut self, snapshot: &Snapshot) -> Vec<(DestinationName, SocketAddr)> {
        let mut next = HashMap::new();
        let mut new = Vec::new();
        for table in snapshot.destinations.values() {
            let Known::Present(table) = table else {
                continue;
            };
            for backend in warmed(table) {
                let place = (table.name.clone(), backend.name.clone());
                let addresses = backend.endpoints.iter().map(|endpoint| endpoint.address);
                let now: HashSet<_> = addresses.collect();
                if let Some(before) = self.last.get(&place)
                    && !before.is_disjoint(&now)
                {
                    let arrived = now.difference(before);
                    new.extend(arrived.map(|address| (backend.name.clone(), *address)));
                }
                next.insert(place, now);
            }
        }
        self.last = next;
        new.sort();
        new.dedup();
        new
    }
}

fn warmed(table: &DestinationTable) -> impl Iterator<Item = &BackendTable> {
    let backends = table.backends.iter().map(|backend| &**backend);
    backends.filter(|backend| backend.settings.slow_start.value.is_some())
}

impl Warming {
    pub(super) fn of(backend: &BackendTable) -> Option<Self> {
        backend.settings.slow_start.value.map(|window| Self {
            window,
            seen: Cell::new(None),
            until: Cell::new(0),
        })
    }

    /// Until when some endpoint has less than its weight. They are looked at again when there were other than `starts`.
    pub(super) fn until<'s>(
        &self,
        starts: u64,
        states: impl Iterator<Item = &'s EndpointState>,
    ) -> u64 {
        if self.seen.replace(Some(starts)) != Some(starts) {
            let window = u64::try_from(self.window.as_millis()).unwrap_or(u64::MAX);
            let latest = states.map(EndpointState::new_since).max();
            let started = latest.filter(|since| *since > 0);
            let until = started.map_or(0, |since| since.saturating_add(window));
            self.until.set(until);
        }
        self.until.get()
    }

    /// What an endpoint has of its weight at `now` (milliseconds since the start), in percent.
    pub(super) fn warmth(&self, state: &EndpointState, now: u64) -> u32 {
        match state.new_since() {
            0 => warm::FULL,
            since => {
                let age = Duration::from_millis(now.saturating_sub(since));
                warm::warmth(age, self.window)
            }
        }
    }
}
