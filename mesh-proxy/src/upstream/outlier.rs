//! What the workers share of the endpoints of backends whose policies take outliers out, by the rules of
//! `mesh_api::decide::eject`. Backends without such a policy have none of it.

pub mod view;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mesh_api::decide::eject::judgement::Judgement;
use mesh_api::decide::eject::outlier::{Cause, Outlier};
use mesh_api::decide::eject::row::{self, Seen, Step};
use mesh_api::decide::eject::statistics::Window;
use mesh_api::model::backend::Backend;
use mesh_api::model::outlier::OutlierDetection;
use mesh_api::name::DestinationName;

/// Backends whose endpoints are remembered; those not in use go when there are more.
const MAX_BACKENDS: usize = 4096;

/// A policy that changes starts anew.
type Key = (DestinationName, OutlierDetection);

/// Every backend that takes outliers out and was called.
#[derive(Debug, Default)]
pub struct Registry(Mutex<HashMap<Key, Arc<Outliers>>>);

/// The endpoints of a backend, under its policy.
#[derive(Debug)]
pub struct Outliers {
    policy: OutlierDetection,
    endpoints: Mutex<HashMap<SocketAddr, Arc<Watched>>>,
    /// Held while an endpoint is taken out, so that the largest share holds whichever workers do.
    gate: Mutex<()>,
    /// Changes of any endpoint's standing.
    changes: AtomicU64,
    /// End of the interval under way, in milliseconds since the start; 0 before the first.
    interval_ends: AtomicU64,
    panic_picks: AtomicU64,
}

/// One endpoint.
#[derive(Debug, Default)]
pub struct Watched {
    errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_failures: AtomicU32,
    requests: AtomicU64,
    failures: AtomicU64,
    /// When it may be tried, in milliseconds since the start; 0 while it is in.
    until: AtomicU64,
    /// When any request may try it.
    overdue: AtomicU64,
    /// A request tries it.
    probed: AtomicBool,
    /// Its checks failed.
    unhealthy: AtomicBool,
    state: Mutex<(Outlier, Option<Cause>)>,
}

/// The request that tries an endpoint whose ejection ran out; another may once this is dropped.
#[derive(Debug)]
pub struct Probe(Arc<Watched>);

/// Where the checks of one endpoint say what they found.
#[derive(Debug)]
pub struct Marker {
    outliers: Arc<Outliers>,
    watched: Arc<Watched>,
}

/// An endpoint was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// Its place in the backend.
    pub index: usize,
    /// Why.
    pub cause: Cause,
    /// For how long.
    pub duration: Duration,
}

/// An endpoint that is out, for a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Of which backend.
    pub backend: String,
    /// Where it is.
    pub address: SocketAddr,
    /// Why.
    pub cause: &'static str,
    /// Ejections in a row.
    pub times: u32,
    /// Time left; zero once it may be tried.
    pub left: Duration,
}

impl Registry {
    /// What is known of the endpoints of `backend`; `None` if its policy takes none out.
    pub fn of(&self, backend: &Backend) -> Option<Arc<Outliers>> {
        let settings = &backend.settings;
        let policy = match &settings.outlier_detection {
            Some(policy) => policy.value,
            // Checks alone take endpoints out, too.
            None if settings.health_check.is_some() => OutlierDetection::default(),
            None => return None,
        };
        let mut all = self.lock();
        let key = (backend.name.clone(), policy);
        if let Some(known) = all.get(&key) {
            return Some(Arc::clone(known));
        }
        let is_full = all.len() >= MAX_BACKENDS;
        // Those of a policy that was changed, too.
        all.retain(|(name, _), held| {
            Arc::strong_count(held) > 1 || !(is_full || *name == backend.name)
        });
        let outliers = Arc::new(Outliers::new(policy));
        all.insert(key, Arc::clone(&outliers));
        Some(outliers)
    }

    /// Every backend by name, sorted.
    pub fn all(&self) -> Vec<(String, Arc<Outliers>)> {
        let all = self.lock();
        let named = all
            .iter()
            .map(|((name, _), held)| (name.to_string(), Arc::clone(held)));
        let mut named: Vec<_> = named.collect();
        named.sort_by(|one, other| one.0.cmp(&other.0));
        named
    }

    /// The endpoints that are out at `now`, in milliseconds since the start; sorted.
    pub(super) fn shown(&self, now: u64) -> Vec<Shown> {
        let mut shown = Vec::new();
        for (backend, outliers) in self.all() {
            for (address, watched) in &*outliers.lock() {
                let (outlier, cause) = *watched.lock();
                let is_unhealthy = watched.is_unhealthy().then_some("health-check");
                let Some(cause) = is_unhealthy.or(cause.map(Cause::as_str)) else {
                    continue;
                };
                let until = outlier.until.unwrap_or_default();
                shown.push(Shown {
                    backend: backend.clone(),
                    address: *address,
                    cause,
                    times: outlier.times,
                    left: until.saturating_sub(Duration::from_millis(now)),
                });
            }
        }
        shown.sort_by_cached_key(|one| (one.backend.clone(), one.address));
        shown
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Outliers>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outliers {
    fn new(policy: OutlierDetection) -> Self {
        Self {
            policy,
            endpoints: Mutex::default(),
            gate: Mutex::default(),
            changes: AtomicU64::new(1),
            interval_ends: AtomicU64::new(0),
            panic_picks: AtomicU64::new(0),
        }
    }

    /// Requests that went to any endpoint, since so few were well.
    pub fn panic_picks(&self) -> u64 {
        self.panic_picks.load(Relaxed)
    }

    /// Endpoints that are out.
    pub fn out(&self) -> usize {
        let endpoints = self.lock();
        endpoints.values().filter(|one| one.is_out()).count()
    }

    /// Endpoints whose checks failed.
    pub fn unhealthy(&self) -> usize {
        let endpoints = self.lock();
        endpoints.values().filter(|one| one.is_unhealthy()).count()
    }

    /// Where the checks of the endpoint at `address` say what they found.
    pub(super) fn marker(self: Arc<Self>, address: SocketAddr) -> Marker {
        let watched = Arc::clone(self.lock().entry(address).or_default());
        Marker {
            outliers: self,
            watched,
        }
    }

    /// What is known of the endpoints at `addresses`; those that nobody holds any more are forgotten.
    fn members(&self, addresses: impl Iterator<Item = SocketAddr>) -> Vec<Arc<Watched>> {
        let mut endpoints = self.lock();
        let members = addresses.map(|address| Arc::clone(endpoints.entry(address).or_default()));
        let members = members.collect();
        endpoints.retain(|_, watched| Arc::strong_count(watched) > 1);
        members
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Arc<Watched>>> {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marker {
    /// Says whether the endpoint is unhealthy.
    pub fn mark(&self, unhealthy: bool) {
        if self.watched.unhealthy.swap(unhealthy, AcqRel) != unhealthy {
            self.outliers.changes.fetch_add(1, AcqRel);
        }
    }
}

/// Nobody checks it any more: what was found is forgotten.
impl Drop for Marker {
    fn drop(&mut self) {
        self.mark(false);
    }
}

impl Watched {
    fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Relaxed)
    }

    fn is_out(&self) -> bool {
        self.until.load(Relaxed) > 0
    }

    /// Counts what was seen; why the endpoint is to be taken out, if it is.
    fn count(&self, seen: Seen, policy: &OutlierDetection) -> Option<Cause> {
        let mut rows = self.rows().into_iter();
        let lengths = row::steps(seen, policy).map(|step| match (step, rows.next()) {
            (Step::Keep, _) | (_, None) => 0,
            (Step::Clear, Some(row)) => {
                clear(row);
                0
            }
            (Step::Count, Some(row)) => row.fetch_add(1, Relaxed).saturating_add(1),
        });
        row::cause(lengths, policy)
    }

    /// In the order in which [`row::steps`] has them.
    fn rows(&self) -> [&AtomicU32; 3] {
        [&self.gateway_errors, &self.errors, &self.local_failures]
    }

    /// Counts what was seen for the interval under way.
    fn count_share(&self, seen: Seen) {
        self.requests.fetch_add(1, Relaxed);
        if seen != Seen::Answer(Judgement::Good) {
            self.failures.fetch_add(1, Relaxed);
        }
    }

    /// What was counted since the last call.
    fn take_window(&self) -> Window {
        let failures = self.failures.swap(0, Relaxed);
        Window {
            // Another worker may be between the two.
            requests: self.requests.swap(0, Relaxed).max(failures),
            failures,
        }
    }

    fn forget_rows(&self) {
        self.rows().into_iter().for_each(clear);
    }

    fn lock(&self) -> MutexGuard<'_, (Outlier, Option<Cause>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.probed.store(false, Relaxed);
    }
}

/// Writes only where something is to be changed: workers share it.
fn clear(row: &AtomicU32) {
    if row.load(Relaxed) > 0 {
        row.store(0, Relaxed);
    }
}
