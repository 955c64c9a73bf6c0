//! What a worker holds of one backend, found once and then by the places of its endpoints.
//!
//! May use `load`, `warm`, `near`, `budget` and `pool`.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_api::decide::balance::{self, Weights};
use mesh_api::model::locality::Locality;
use mesh_api::model::policy::{Algorithm, Budget};
use mesh_api::name::DestinationName;
use mesh_api::snapshot::BackendTable;

use super::budget::RetryBudget;
use super::limit::Limits;
use super::load::EndpointState;
use super::near::Tiered;
use super::outlier::view::View;
use super::pool::PoolKey;
use super::warm::Warming;
use crate::identity::Credentials;
use crate::telemetry::{Direction, SeriesId};

/// Weight of the past in the moving average falls by 1/e in this time.
const DECAY: Duration = Duration::from_secs(10);
/// Assumed of an endpoint nothing is known of, in seconds.
const FIRST_LATENCY: f64 = 0.001;

/// A backend and what belongs to it.
#[derive(Debug)]
pub struct Group {
    pub(super) backend: Arc<BackendTable>,
    pub(super) weights: Weights,
    /// How an endpoint is picked.
    pub(super) algorithm: Algorithm,
    /// Whether a key may pick it.
    pub(super) goes_by_key: bool,
    /// What takes endpoints out, where a policy does.
    pub(super) outliers: Option<View>,
    /// How new endpoints are warmed up, where they are.
    pub(super) warming: Option<Warming>,
    /// Its endpoints by how near they are, where that matters.
    pub(super) tiered: Option<Tiered>,
    /// Picks of it, from a number of its own on.
    turn: Cell<u64>,
    members: Vec<Member>,
    limits: OnceCell<Arc<Limits>>,
    /// The budget asked for last, with its settings.
    budget: RefCell<Option<(Budget, Arc<RetryBudget>)>>,
    /// The series counted in last, with the rest of its label set.
    series: RefCell<Option<(Direction, DestinationName, SeriesId)>>,
}

/// An endpoint, of which nothing is looked up before it is needed.
#[derive(Debug, Default)]
struct Member {
    known: OnceCell<Rc<Known>>,
    key: RefCell<Option<PoolKey>>,
}

/// What a worker knows of an endpoint, whichever backends it belongs to.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) state: Arc<EndpointState>,
    latency: Cell<f64>,
    observed: Cell<Option<Instant>>,
    /// When the worker first knew of it.
    since: Instant,
}

impl Group {
    /// Of `backend`, whose turns begin at `turn`, as it is seen from `own`.
    pub(super) fn new(
        backend: Arc<BackendTable>,
        turn: u64,
        outliers: Option<View>,
        own: impl FnOnce() -> Option<Locality>,
    ) -> Self {
        let is_tiered = backend.settings.locality.value.is_some();
        let own = is_tiered.then(own).flatten();
        let tiered = Tiered::of(&backend, own.as_ref());
        let weights = Weights::new(backend.endpoints.iter().map(|endpoint| endpoint.weight));
        let member = |_: &_| Member::default();
        Self {
            members: backend.endpoints.iter().map(member).collect(),
            weights,
            algorithm: backend.settings.algorithm.value,
            goes_by_key: backend.keys.is_some(),
            outliers,
            warming: Warming::of(&backend),
            tiered,
            turn: Cell::new(turn),
            backend,
            limits: OnceCell::new(),
            budget: RefCell::new(None),
            series: RefCell::new(None),
        }
    }

    /// The number of the next pick.
    pub(super) fn next_turn(&self) -> u64 {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }

    /// The endpoint that a key leads to, where all are well.
    pub(super) fn led_to(&self, key: Option<u64>) -> Option<usize> {
        let table = self.backend.keys.as_ref().filter(|_| self.goes_by_key)?;
        table.find(key?, |_| true)
    }

    /// Whether what endpoints answer is judged.
    pub fn takes_outliers_out(&self) -> bool {
        self.outliers.is_some()
    }

    /// The backend.
    pub fn backend(&self) -> &Arc<BackendTable> {
        &self.backend
    }

    /// Whether somebody else holds the backend as well.
    pub(super) fn is_in_use(self: &Rc<Self>) -> bool {
        Rc::strong_count(self) > 1 || Arc::strong_count(&self.backend) > 1
    }

    /// The limits of its destination, by `find` at first.
    pub fn limits(&self, find: impl FnOnce() -> Arc<Limits>) -> &Arc<Limits> {
        self.limits.get_or_init(find)
    }

    /// Its retry budget of these settings, by `find` where they are not those of the last call.
    pub fn budget(
        &self,
        settings: Budget,
        find: impl FnOnce() -> Arc<RetryBudget>,
    ) -> Arc<RetryBudget> {
        let mut last = self.budget.borrow_mut();
        match &*last {
            Some((known, budget)) if *known == settings => Arc::clone(budget),
            _ => Arc::clone(&last.insert((settings, find())).1),
        }
    }

    /// What is counted of it as `destination`, by `find` where that is not what was asked for last.
    pub fn series(
        &self,
        direction: Direction,
        destination: &DestinationName,
        find: impl FnOnce() -> SeriesId,
    ) -> SeriesId {
        let mut last = self.series.borrow_mut();
        if let Some((of, name, id)) = &*last
            && (*of, name) == (direction, destination)
        {
            return *id;
        }
        let id = find();
        *last = Some((direction, destination.clone(), id));
        id
    }

    /// What connections to an endpoint made with `credentials` are kept under.
    pub fn pool_key(&self, index: usize, credentials: Option<&Credentials>) -> Option<PoolKey> {
        let endpoint = self.backend.endpoints.get(index)?;
        let mut kept = self.members.get(index)?.key.borrow_mut();
        let of_generation = credentials.map(Credentials::generation);
        if let Some(key) = kept.as_ref().filter(|key| key.is_of(of_generation)) {
            return Some(key.clone());
        }
        let key = PoolKey::new(endpoint, credentials);
        *kept = Some(key.clone());
        Some(key)
    }

    /// What is known of an endpoint of the backend, by `find` at first.
    pub(super) fn known(&self, index: usize, find: impl FnOnce(SocketAddr) -> Rc<Known>) -> &Known {
        let endpoint = &self.backend.endpoints[index];
        self.members[index]
            .known
            .get_or_init(|| find(endpoint.address))
    }
}

impl Known {
    pub(super) fn new(state: Arc<EndpointState>) -> Self {
        Self {
            state,
            latency: Cell::new(FIRST_LATENCY),
            observed: Cell::new(None),
            since: Instant::now(),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of open exchanges are small"
    )]
    pub(super) fn load(&self, now: Instant) -> f64 {
        // What is not observed fades, so that one slow answer does not shut an endpoint out; but not
        // while it owes answers, or one that hangs would look ever better.
        let outstanding = self.state.outstanding();
        let age = match (outstanding, self.observed.get()) {
            (0, Some(at)) => now.saturating_duration_since(at),
            // What is assumed of one that never answered fades too, or faster ones would keep it out for good; by
            // whole seconds, so that those that came together stay alike.
            (0, None) => {
                let age = now.saturating_duration_since(self.since);
                Duration::from_secs(age.as_secs())
            }
            _ => Duration::ZERO,
        };
        balance::decayed(self.latency.get(), age, DECAY) * (outstanding + 1) as f64
    }

    /// Peaks count at once, and fade with time.
    pub(super) fn learn(&self, latency: Duration, now: Instant) {
        let latency = latency.as_secs_f64();
        let age = self
            .observed
            .get()
            .map(|at| now.saturating_duration_since(at));
        self.observed.set(Some(now));
        self.latency.set(match age {
            Some(age) => balance::peak_ewma(self.latency.get(), latency, age, DECAY),
            None => latency,
        });
    }
}
