//! The way to endpoints: which one, over what, and what is known of each.
//!
//! Outstanding exchanges, limits, ejection and budgets are shared by the proxy's workers
//! ([`load`], [`health`], [`outlier`]); latency, connections and turns are each worker's own. May use
//! `identity` and `tunnel`.

pub mod budget;
pub mod connect;
pub mod group;
pub mod health;
pub mod limit;
pub mod load;
pub mod near;
pub mod outlier;
pub mod pool;
pub mod shared;
pub mod stream;
#[cfg(test)]
mod tests;
pub mod warm;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt as _};
use mesh_api::decide::Random;
use mesh_api::decide::balance::{self, Candidate, Choice, Standing};
use mesh_api::decide::eject::judgement::Judgement;
use mesh_api::decide::eject::outlier::{self as rules, Heed};
use mesh_api::decide::eject::probe::Asking;
use mesh_api::decide::eject::row::Seen;
use mesh_api::model::backend::Endpoint;
use mesh_api::snapshot::BackendTable;

pub use self::budget::RetryBudget;
pub use self::connect::{ConnectError, Dialer};
pub use self::group::Group;
use self::group::Known;
pub use self::health::EjectionChange;
pub use self::limit::{Limit, Limits, Place, Refused};
pub use self::load::{EndpointState, Endpoints, Outstanding};
use self::outlier::view::View;
pub use self::outlier::{Ejected, Marker, Probe};
pub use self::pool::{IdleCheck, Pool, PoolKey};
pub use self::shared::{Dialled, Shared};
pub use self::stream::{Reset, Stream};
pub use self::warm::Newcomers;

/// The least a broken attempt counts as.
const BROKEN_LATENCY: Duration = Duration::from_secs(1);
/// Backends whose groups a worker keeps.
const MAX_GROUPS: usize = 4096;

/// What came of an attempt, as far as an endpoint's standing cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It answered, or carried bytes.
    Answered,
    /// It answered that it is broken.
    Error,
    /// It answered that what is behind it is not there.
    Gateway,
    /// It began to answer; the end says whether it is well.
    Begun,
    /// It could not be connected to: nothing was sent.
    ConnectFailed,
    /// It broke after bytes were sent. Says nothing certain: the endpoint is not ejected.
    Broken,
    /// The caller did not wait for the end.
    Cut,
}

impl AttemptOutcome {
    /// What it is to outlier detection, if it says anything.
    fn seen(self) -> Option<Seen> {
        match self {
            Self::Answered => Some(Seen::Answer(Judgement::Good)),
            Self::Error => Some(Seen::Answer(Judgement::Error)),
            Self::Gateway => Some(Seen::Answer(Judgement::Gateway)),
            Self::ConnectFailed | Self::Broken => Some(Seen::NoAnswer),
            Self::Begun | Self::Cut => None,
        }
    }
}

impl From<Judgement> for AttemptOutcome {
    fn from(judgement: Judgement) -> Self {
        match judgement {
            Judgement::Good => Self::Answered,
            Judgement::Error => Self::Error,
            Judgement::Gateway => Self::Gateway,
        }
    }
}

/// A worker's view of the endpoints.
pub struct Upstream {
    book: Book,
    /// By where the backend lies in memory, which it does not leave while its group is kept.
    groups: HashMap<usize, Rc<Group>>,
    seen: u64,
    random: fastrand::Rng,
    /// Kept between picks, so that one allocates nothing.
    room: Vec<Candidate>,
}

impl Upstream {
    /// A worker's view of what the proxy's workers share.
    pub fn new(shared: Arc<Endpoints>, seed: u64) -> Self {
        Self {
            book: Book {
                shared,
                known: RefCell::default(),
            },
            groups: HashMap::new(),
            seen: 0,
            random: fastrand::Rng::with_seed(seed),
            room: Vec::new(),
        }
    }

    /// What the proxy's workers share.
    pub fn endpoints(&self) -> &Arc<Endpoints> {
        &self.book.shared
    }

    /// What the worker holds of `backend`.
    pub fn group(&mut self, backend: &Arc<BackendTable>) -> Rc<Group> {
        self.forget_gone();
        let place = Arc::as_ptr(backend) as usize;
        if let Some(group) = self.groups.get(&place) {
            return Rc::clone(group);
        }
        if self.groups.len() >= MAX_GROUPS {
            self.evict();
        }
        let outliers = self.book.shared.outliers.of(backend);
        let outliers = outliers.map(|shared| View::new(shared, &backend.endpoints));
        let (turn, own) = (self.random.u64(..), || self.book.shared.locality());
        let group = Rc::new(Group::new(Arc::clone(backend), turn, outliers, own));
        if self.groups.len() < MAX_GROUPS {
            self.groups.insert(place, Rc::clone(&group));
        }
        group
    }

    /// Lets go of backends that nobody else holds. To be called now and then.
    pub fn evict(&mut self) {
        self.groups.retain(|_, group| group.is_in_use());
    }

    /// Chooses an endpoint of a backend for an attempt, by the rules of [`balance::choose`]: its index.
    pub fn pick(
        &mut self,
        group: &Group,
        key: Option<u64>,
        tried: &[SocketAddr],
        now: Instant,
    ) -> Option<usize> {
        let members = Members {
            book: &self.book,
            group,
            tried,
            now,
            outliers: group.outliers.as_ref().map(|view| (view, view.heed())),
        };
        if let Some((view, Heed { panic: true, .. })) = members.outliers {
            view.note_panic();
        }
        let keys = if group.goes_by_key {
            group.backend.keys.as_ref()
        } else {
            None
        };
        let choice = Choice {
            algorithm: group.algorithm,
            weights: &group.weights,
            key: keys.zip(key),
            warms: self.book.warms(group, now),
        };
        let place = (group.next_turn(), &mut self.room);
        let random = &mut Dice(&mut self.random);
        let Some(tiered) = &group.tiered else {
            return balance::choose(&choice, &members, place, random);
        };
        let picked = if choice.key.is_some() {
            balance::choose(&choice, &members, place, random)
        } else {
            tiered.choose(&choice, (&members, now), place, random)
        };
        if let Some(index) = picked {
            self.book.shared.count_near(tiered.near(index));
        }
        picked
    }

    /// Whether an endpoint is left that was neither tried nor failed to be connected to lately.
    pub fn has_untried(&self, group: &Group, tried: &[SocketAddr], now: Instant) -> bool {
        let at = self.book.shared.since_start(now);
        let mut endpoints = group.backend.endpoints.iter().enumerate();
        endpoints.any(|(index, endpoint)| {
            !tried.contains(&endpoint.address) && !self.has_failed(group, index, at)
        })
    }

    fn has_failed(&self, group: &Group, index: usize, at: u64) -> bool {
        let counts_connects = group
            .outliers
            .as_ref()
            .is_some_and(|view| view.policy().counts_connects());
        let known = || health::has_failed(&self.book.known(group, index).state, at);
        let is_out = |view: &View| view.is_out(index, view.heed());
        (!counts_connects && known()) || group.outliers.as_ref().is_some_and(is_out)
    }

    /// An endpoint whose ejection ran out, for a request that may try it; no other tries it before the probe
    /// is dropped. A request with a `key` tries only the endpoint that this leads to.
    pub fn probe(
        &self,
        group: &Group,
        asking: &Asking<'_>,
        (key, tried): (Option<u64>, &[SocketAddr]),
        now: Instant,
    ) -> Option<(usize, Probe)> {
        let view = group.outliers.as_ref()?;
        let led_to = group.led_to(key);
        let at = self.book.shared.since_start(now);
        let endpoints = &group.backend.endpoints;
        view.probe(endpoints, tried, at, |index, overdue| {
            if led_to.is_some_and(|led_to| led_to != index) {
                return false;
            }
            let mut others = endpoints.iter().enumerate();
            let is_left = |(other, endpoint): (usize, &Endpoint)| {
                other != index
                    && !tried.contains(&endpoint.address)
                    && !self.has_failed(group, other, at)
            };
            let other_left = asking.other_left && others.any(is_left);
            let asking = Asking {
                other_left,
                ..*asking
            };
            asking.may_try(overdue)
        })
    }

    /// Judges what came of an attempt by the backend's policy, where it has one: which endpoints are taken out.
    pub fn judge(
        &self,
        group: &Group,
        index: usize,
        outcome: AttemptOutcome,
        (latency, now): (Duration, Instant),
    ) -> Vec<Ejected> {
        let Some(view) = &group.outliers else {
            return Vec::new();
        };
        let shared = &self.book.shared;
        let ended = shared.since_start(now);
        let began = now
            .checked_sub(latency)
            .map_or(0, |at| shared.since_start(at));
        let was_out = group.warming.is_some() && view.holds_out(index);
        let ejected = view.observe(index, outcome, (began, ended));
        if !ejected.is_empty()
            && let Some(tiered) = &group.tiered
        {
            tiered.look_again();
        }
        if was_out && !view.holds_out(index) {
            shared.renew(&self.book.known(group, index).state, now);
        }
        ejected
    }

    /// The shared state of an endpoint, to count an attempt as outstanding.
    pub fn state(&self, group: &Group, index: usize) -> Arc<EndpointState> {
        Arc::clone(&self.book.known(group, index).state)
    }

    /// Records what came of an attempt at an endpoint; `latency` is the time to the first byte of the
    /// answer, or to the failure. Says if the endpoint was ejected or returns.
    pub fn observe(
        &self,
        group: &Group,
        index: usize,
        outcome: AttemptOutcome,
        latency: Duration,
        now: Instant,
    ) -> Option<EjectionChange> {
        let known = self.book.known(group, index);
        if outcome == AttemptOutcome::ConnectFailed
            && let Some(tiered) = &group.tiered
        {
            tiered.look_again();
        }
        match outcome {
            AttemptOutcome::Answered
            | AttemptOutcome::Error
            | AttemptOutcome::Gateway
            | AttemptOutcome::Begun => {
                known.learn(latency, now);
                let change = health::succeed(&known.state);
                if change.is_some() && group.warming.is_some() {
                    self.book.shared.renew(&known.state, now);
                }
                change
            }
            AttemptOutcome::Broken | AttemptOutcome::Cut => {
                // Failing fast must not look like being fast.
                known.learn(latency.max(BROKEN_LATENCY), now);
                None
            }
            AttemptOutcome::ConnectFailed
                if group
                    .outliers
                    .as_ref()
                    .is_some_and(|view| view.policy().counts_connects()) =>
            {
                None
            }
            AttemptOutcome::ConnectFailed => {
                let now = self.book.shared.since_start(now);
                let total = group.backend.endpoints.len();
                let others = (0..total).filter(|other| *other != index);
                let is_out =
                    |other: &usize| health::is_ejected(&self.book.known(group, *other).state, now);
                let ejected = others.filter(is_out).count();
                health::fail(&known.state, ejected, total, now)
            }
        }
    }

    fn forget_gone(&mut self) {
        let changes = self.book.shared.changes();
        if changes != self.seen {
            self.seen = changes;
            self.book.forget_gone();
            // They are made anew, with what is known now.
            self.groups.clear();
        }
    }
}

/// What a worker knows of endpoints, by their addresses.
struct Book {
    shared: Arc<Endpoints>,
    known: RefCell<HashMap<SocketAddr, Rc<Known>>>,
}

impl Book {
    /// What is known of an endpoint: by its place, which is found by its address once.
    fn known<'g>(&self, group: &'g Group, index: usize) -> &'g Known {
        group.known(index, |address| {
            let mut known = self.known.borrow_mut();
            let new = || Rc::new(Known::new(self.shared.state(address)));
            Rc::clone(known.entry(address).or_insert_with(new))
        })
    }

    /// Whether some endpoint has less than its weight at `now`.
    fn warms(&self, group: &Group, now: Instant) -> bool {
        let Some(warming) = &group.warming else {
            return false;
        };
        let places = 0..group.backend.endpoints.len();
        let states = places.map(|index| &*self.known(group, index).state);
        let until = warming.until(self.shared.starts(), states);
        until > 0 && until > self.shared.since_start(now)
    }

    fn forget_gone(&mut self) {
        let shared = &self.shared;
        let holds =
            |address: &SocketAddr, known: &mut Rc<Known>| shared.holds(*address, &known.state);
        self.known.get_mut().retain(holds);
    }
}

/// The endpoints of one pick.
struct Members<'u> {
    book: &'u Book,
    group: &'u Group,
    tried: &'u [SocketAddr],
    now: Instant,
    /// What is taken out by a policy, and what of that is heeded.
    outliers: Option<(&'u View, Heed)>,
}

impl balance::Members for Members<'_> {
    fn standing(&self, index: usize) -> Standing {
        let Some(endpoint) = self.group.backend.endpoints.get(index) else {
            return Standing::default();
        };
        let state = &self.book.known(self.group, index).state;
        let is_marked = health::is_marked(state);
        let at = if is_marked {
            self.book.shared.since_start(self.now)
        } else {
            0
        };
        let standing = Standing {
            tried: self.tried.contains(&endpoint.address),
            stale: endpoint.stale,
            failed: is_marked && health::has_failed(state, at),
            ejected: is_marked && health::is_ejected(state, at),
        };
        match self.outliers {
            None => standing,
            Some((view, heed)) => {
                rules::standing(standing, view.policy(), view.is_out(index, heed))
            }
        }
    }

    fn load(&self, index: usize) -> f64 {
        self.book.known(self.group, index).load(self.now)
    }

    fn outstanding(&self, index: usize) -> u64 {
        self.book.known(self.group, index).state.outstanding()
    }

    fn warmth(&self, index: usize) -> u32 {
        let state = &self.book.known(self.group, index).state;
        let now = self.book.shared.since_start(self.now);
        let warming = self.group.warming.as_ref();
        warming.map_or(balance::warm::FULL, |warming| warming.warmth(state, now))
    }
}

/// Random numbers for decisions.
pub struct Dice<'r>(pub &'r mut fastrand::Rng);

impl Random for Dice<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }
}
