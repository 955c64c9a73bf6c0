//! The way to endpoints: which one, over what, and what is known of each.
//!
//! Outstanding exchanges, limits, ejection and budgets are shared by the proxy's workers
//! ([`load`], [`health`]); latency, connections and turns are each worker's own. May use
//! `identity` and `tunnel`.

pub mod budget;
pub mod connect;
pub mod health;
pub mod load;
pub mod pool;
pub mod shared;
pub mod stream;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt as _};
use mesh_api::decide::Random;
use mesh_api::decide::balance::{self, Candidate};
use mesh_api::model::backend::{Backend, Endpoint};
use mesh_api::model::policy::DEFAULTS;

pub use self::budget::RetryBudget;
pub use self::connect::{ConnectError, Dialer};
pub use self::health::EjectionChange;
pub use self::load::{EndpointState, Endpoints, Limits, Outstanding};
pub use self::pool::{IdleCheck, Pool, PoolKey};
pub use self::shared::{Dialled, Shared};
pub use self::stream::{Reset, Stream};

/// Weight of the past in the moving average falls by 1/e in this time.
const DECAY: Duration = Duration::from_secs(10);
/// Assumed of an endpoint nothing is known of, in seconds.
const FIRST_LATENCY: f64 = 0.001;

/// The least a broken attempt counts as.
const BROKEN_LATENCY: Duration = Duration::from_secs(1);

/// What came of an attempt, as far as an endpoint's standing cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// It answered, or carried bytes.
    Answered,
    /// It could not be connected to: nothing was sent.
    ConnectFailed,
    /// It broke after bytes were sent. Says nothing certain: the endpoint is not ejected.
    Broken,
}

/// A worker's view of the endpoints.
pub struct Upstream {
    shared: Arc<Endpoints>,
    known: HashMap<SocketAddr, Known>,
    seen: u64,
    turn: u64,
    random: fastrand::Rng,
    /// Kept between picks, so that one allocates nothing.
    candidates: Vec<Candidate>,
}

/// Which endpoints a pick may choose from; each where those before have none.
#[derive(Clone, Copy)]
struct Rank {
    /// Those that the control plane saw last some time ago.
    stale: bool,
    /// Also those that failed to be connected to and may not be ejected.
    failed: bool,
}

impl Rank {
    const ALL: [Self; 4] = [
        Self::new(false, false),
        Self::new(true, false),
        Self::new(false, true),
        Self::new(true, true),
    ];

    const fn new(stale: bool, failed: bool) -> Self {
        Self { stale, failed }
    }
}

struct Known {
    state: Arc<EndpointState>,
    latency: f64,
    observed: Option<Instant>,
}

impl Upstream {
    /// A worker's view of what the proxy's workers share.
    pub fn new(shared: Arc<Endpoints>, seed: u64) -> Self {
        Self {
            shared,
            known: HashMap::new(),
            seen: 0,
            turn: 0,
            random: fastrand::Rng::with_seed(seed),
            candidates: Vec::new(),
        }
    }

    /// What the proxy's workers share.
    pub fn endpoints(&self) -> &Arc<Endpoints> {
        &self.shared
    }

    /// Chooses an endpoint of `backend` for an attempt: its index. Those `tried` and those ejected
    /// are left out; stale ones serve where there is no other, and last come those that could not be
    /// connected to but may not be ejected. Ejection is heeded only while at most the allowed share
    /// of the backend is out.
    pub fn pick(&mut self, backend: &Backend, tried: &[SocketAddr], now: Instant) -> Option<usize> {
        self.forget_gone();
        let turn = self.turn;
        self.turn = turn.wrapping_add(1);
        for rank in Rank::ALL {
            self.gather(backend, tried, rank, now);
            if self.candidates.iter().any(|candidate| candidate.usable) {
                let algorithm = backend.settings.algorithm.value;
                return balance::pick(
                    algorithm,
                    &self.candidates,
                    turn,
                    &mut Dice(&mut self.random),
                );
            }
        }
        None
    }

    /// Whether an endpoint is left that was neither tried nor failed to be connected to lately.
    pub fn has_untried(&mut self, backend: &Backend, tried: &[SocketAddr], now: Instant) -> bool {
        let at = self.shared.since_start(now);
        backend.endpoints.iter().any(|endpoint| {
            !tried.contains(&endpoint.address)
                && !health::has_failed(&self.known(endpoint.address).state, at)
        })
    }

    /// The shared state of an endpoint, to count an attempt as outstanding.
    pub fn state(&mut self, address: SocketAddr) -> Arc<EndpointState> {
        self.known(address).state.clone()
    }

    /// Records what came of an attempt at `backend.endpoints[index]`; `latency` is the time to the
    /// first byte of the answer, or to the failure. Says if the endpoint was ejected or returns.
    pub fn observe(
        &mut self,
        backend: &Backend,
        index: usize,
        outcome: AttemptOutcome,
        latency: Duration,
        now: Instant,
    ) -> Option<EjectionChange> {
        let address = backend.endpoints.get(index)?.address;
        let shared = self.shared.clone();
        let known = self.known(address);
        match outcome {
            AttemptOutcome::Answered => {
                known.learn(latency, now);
                health::succeed(&known.state)
            }
            AttemptOutcome::Broken => {
                // Failing fast must not look like being fast.
                known.learn(latency.max(BROKEN_LATENCY), now);
                None
            }
            AttemptOutcome::ConnectFailed => {
                let state = known.state.clone();
                let now = shared.since_start(now);
                let others = backend.endpoints.iter().filter(|e| e.address != address);
                let ejected = others
                    .filter(|e| health::is_ejected(&self.known(e.address).state, now))
                    .count();
                health::fail(&state, ejected, backend.endpoints.len(), now)
            }
        }
    }

    fn gather(&mut self, backend: &Backend, tried: &[SocketAddr], rank: Rank, now: Instant) {
        let at = self.shared.since_start(now);
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let total = backend.endpoints.len() as u64;
        let ejected =
            |endpoint: &&Endpoint| health::is_ejected(&self.known(endpoint.address).state, at);
        let out = backend.endpoints.iter().filter(ejected).count() as u64;
        // The set may have shrunk since: the share that is out holds for the set as it is.
        let heed = out * 100 <= total * u64::from(DEFAULTS.max_ejected_percent);
        candidates.extend(backend.endpoints.iter().map(|endpoint: &Endpoint| {
            let known = self.known(endpoint.address);
            let is_out = if rank.failed {
                heed && health::is_ejected(&known.state, at)
            } else {
                health::has_failed(&known.state, at)
            };
            Candidate {
                weight: endpoint.weight,
                load: known.load(now),
                usable: endpoint.stale == rank.stale
                    && !tried.contains(&endpoint.address)
                    && !is_out,
            }
        }));
        self.candidates = candidates;
    }

    fn known(&mut self, address: SocketAddr) -> &mut Known {
        let shared = &self.shared;
        self.known.entry(address).or_insert_with(|| Known {
            state: shared.state(address),
            latency: FIRST_LATENCY,
            observed: None,
        })
    }

    fn forget_gone(&mut self) {
        let changes = self.shared.changes();
        if changes != self.seen {
            self.seen = changes;
            let shared = &self.shared;
            self.known
                .retain(|address, known| shared.holds(*address, &known.state));
        }
    }
}

impl Known {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of open exchanges are small"
    )]
    fn load(&self, now: Instant) -> f64 {
        // What is not observed fades, so that one slow answer does not shut an endpoint out; but not
        // while it owes answers, or one that hangs would look ever better.
        let outstanding = self.state.outstanding();
        let age = match (outstanding, self.observed) {
            (0, Some(at)) => now.saturating_duration_since(at),
            _ => Duration::ZERO,
        };
        balance::decayed(self.latency, age, DECAY) * (outstanding + 1) as f64
    }

    /// Peaks count at once, and fade with time.
    fn learn(&mut self, latency: Duration, now: Instant) {
        let latency = latency.as_secs_f64();
        let age = self.observed.map(|at| now.saturating_duration_since(at));
        self.observed = Some(now);
        self.latency = match age {
            Some(age) => balance::peak_ewma(self.latency, latency, age, DECAY),
            None => latency,
        };
    }
}

/// Random numbers for decisions.
pub struct Dice<'r>(pub &'r mut fastrand::Rng);

impl Random for Dice<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }
}
