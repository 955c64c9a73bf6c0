//! What the workers share of each endpoint, in atomics.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mesh_api::decide::balance::locality::Near;
use mesh_api::decide::eject::Ejection;
use mesh_api::model::backend::Backend;
use mesh_api::model::locality::Locality;

use super::outlier::{Marker, Registry, Shown};

/// Endpoints of which something is remembered; those not in use go when there are more.
const MAX_STATES: usize = 16_384;

/// Every endpoint that some snapshot holds or that is in use, by address and port.
#[derive(Debug)]
pub struct Endpoints {
    states: Mutex<HashMap<SocketAddr, Arc<EndpointState>>>,
    changes: AtomicU64,
    /// How often an endpoint was new.
    starts: AtomicU64,
    /// Where this proxy runs.
    locality: Mutex<Option<Locality>>,
    /// Endpoints picked of backends with tiers, by how near they are.
    near: [AtomicU64; Near::ALL.len()],
    start: Instant,
    /// What takes endpoints out by a policy.
    pub(super) outliers: Registry,
}

/// One endpoint, as all workers see it.
#[derive(Debug, Default)]
pub struct EndpointState {
    outstanding: AtomicU64,
    /// What failed connects came to.
    pub(super) ejection: Mutex<Ejection>,
    /// End of its ejection in milliseconds since the start; 0: not ejected.
    pub(super) ejected_until: AtomicU64,
    /// The same also where it may not be ejected, since too many are: until then it comes last.
    pub(super) failed_until: AtomicU64,
    /// Since when it is new, where that matters, in milliseconds since the start; 0: it is not.
    new_since: AtomicU64,
}

/// One exchange under way; over when dropped.
#[derive(Debug)]
pub struct Outstanding(Arc<EndpointState>);

impl Endpoints {
    /// None yet; `start` is the zero of the times kept.
    pub fn new(start: Instant) -> Self {
        Self {
            states: Mutex::default(),
            changes: AtomicU64::new(0),
            starts: AtomicU64::new(0),
            locality: Mutex::default(),
            near: Default::default(),
            start,
            outliers: Registry::default(),
        }
    }

    /// The state of an endpoint, made at first sight.
    pub fn state(&self, address: SocketAddr) -> Arc<EndpointState> {
        let mut states = self.lock();
        if states.len() >= MAX_STATES && !states.contains_key(&address) {
            // Addresses outside the mesh are in no snapshot, and an app may dial any number of them.
            let in_use = |state: &EndpointState| {
                state.outstanding() > 0 || state.failed_until.load(Relaxed) > 0
            };
            states.retain(|_, state| in_use(state));
            self.changes.fetch_add(1, Relaxed);
        }
        states.entry(address).or_default().clone()
    }

    /// Forgets endpoints that no snapshot holds any more.
    pub fn retain(&self, held: &HashSet<SocketAddr>) {
        let mut states = self.lock();
        let before = states.len();
        states.retain(|address, _| held.contains(address));
        if states.len() != before {
            self.changes.fetch_add(1, Relaxed);
        }
    }

    /// An endpoint is new at `now`: it appeared, or comes back.
    pub fn mark_new(&self, address: SocketAddr, now: Instant) {
        self.renew(&self.state(address), now);
    }

    pub(super) fn renew(&self, state: &EndpointState, now: Instant) {
        state.new_since.store(self.since_start(now), Relaxed);
        self.starts.fetch_add(1, Relaxed);
    }

    /// How often an endpoint was new.
    pub(super) fn starts(&self) -> u64 {
        self.starts.load(Relaxed)
    }

    /// This proxy runs there.
    pub fn locate(&self, at: Option<Locality>) {
        let mut held = self.locality.lock().unwrap_or_else(PoisonError::into_inner);
        if *held != at {
            *held = at;
            self.changes.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn locality(&self) -> Option<Locality> {
        let held = self.locality.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    pub(super) fn count_near(&self, near: Near) {
        let [zone, region, failover, other] = &self.near;
        let count = match near {
            Near::Zone => zone,
            Near::Region => region,
            Near::Failover => failover,
            Near::Other => other,
        };
        count.fetch_add(1, Relaxed);
    }

    /// How often endpoints so near were picked, where that matters.
    pub fn near(&self) -> impl Iterator<Item = (Near, u64)> {
        let counts = self.near.iter().map(|count| count.load(Relaxed));
        Near::ALL.into_iter().zip(counts)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ejected at `now`, for a dump; sorted by address.
    pub fn ejected(&self, now: Instant) -> Vec<SocketAddr> {
        let now = self.since_start(now);
        let states = self.lock();
        let ejected = states
            .iter()
            .filter(|(_, state)| super::health::is_ejected(state, now));
        let mut addresses: Vec<_> = ejected.map(|(address, _)| *address).collect();
        addresses.sort_unstable();
        addresses
    }

    /// Taken out by a policy at `now`, for a dump; sorted by backend and address.
    pub fn outliers(&self, now: Instant) -> Vec<Shown> {
        self.outliers.shown(self.since_start(now))
    }

    /// Where the checks of an endpoint say what they found; `None` if its backend's policy has none.
    pub fn marker(&self, backend: &Backend, address: SocketAddr) -> Option<Marker> {
        Some(self.outliers.of(backend)?.marker(address))
    }

    /// What takes endpoints out by a policy.
    pub fn registry(&self) -> &Registry {
        &self.outliers
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    pub(super) fn holds(&self, address: SocketAddr, state: &Arc<EndpointState>) -> bool {
        self.lock()
            .get(&address)
            .is_some_and(|held| Arc::ptr_eq(held, state))
    }

    /// Milliseconds since the start, from 1: 0 is no time.
    pub(super) fn since_start(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Arc<EndpointState>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EndpointState {
    /// Exchanges under way, of all workers.
    pub fn outstanding(&self) -> u64 {
        self.outstanding.load(Relaxed)
    }

    /// See [`Endpoints::mark_new`].
    pub(super) fn new_since(&self) -> u64 {
        self.new_since.load(Relaxed)
    }

    /// Counts one more until the guard is dropped.
    pub fn begin(self: Arc<Self>) -> Outstanding {
        self.outstanding.fetch_add(1, Relaxed);
        Outstanding(self)
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Relaxed);
    }
}
