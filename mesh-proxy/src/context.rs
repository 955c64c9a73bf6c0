//! What a worker's exchanges work with: configuration, identity, upstream, telemetry.
//!
//! [`Shared`] is one per proxy, [`Context`] one per worker. May use everything above it.

mod reach;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use mesh_api::decide::Random;
use mesh_api::model::policy::Budget;
use mesh_api::name::{DestinationName, TrustDomain};
use mesh_api::snapshot::Snapshot;
use rustls::ServerConfig;

use self::reach::Kept;
pub use self::reach::{Reached, plain_backend};
use crate::bootstrap::Bootstrap;
use crate::config::{Config, Reader};
use crate::drain;
use crate::identity::Credentials;
use crate::telemetry::{ConnectionRefused, Direction, Shard, Telemetry, TlsHandshakeFailed};
use crate::upstream::{Dialer, Endpoints, Limits, Pool, RetryBudget, Upstream};

/// Destinations whose limits and budgets are kept; the least used go when there are more.
const MAX_DESTINATIONS: usize = 4096;

/// What all workers of a proxy share.
pub struct Shared {
    /// How it was started.
    pub bootstrap: Bootstrap,
    /// Configuration and identity.
    pub config: Arc<Config>,
    /// Counters and logs.
    pub telemetry: Arc<Telemetry>,
    /// Endpoint health and load.
    pub endpoints: Arc<Endpoints>,
    /// How far a shutdown is.
    pub drain: drain::Watch,
    destinations: Mutex<HashMap<DestinationName, Arc<Standing>>>,
    start: Instant,
}

/// What a proxy allows a destination: all workers count here.
pub struct Standing {
    /// Connections and requests at a time.
    pub limits: Limits,
    /// Retries.
    pub budget: RetryBudget,
    settings: Budget,
}

impl Shared {
    /// Nothing counted yet.
    pub fn new(
        bootstrap: Bootstrap,
        config: Arc<Config>,
        telemetry: Arc<Telemetry>,
        drain: drain::Watch,
    ) -> Self {
        let start = Instant::now();
        let endpoints = Arc::new(Endpoints::new(start));
        let destinations = Mutex::default();
        Self { bootstrap, config, telemetry, endpoints, drain, destinations, start }
    }

    /// The limits and budget of `name`, made at first use and again when `settings` change.
    fn standing(&self, name: &DestinationName, settings: Budget) -> Arc<Standing> {
        let mut all = self.destinations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = all.get(name).filter(|standing| standing.settings == settings) {
            return Arc::clone(standing);
        }
        if all.len() >= MAX_DESTINATIONS {
            all.retain(|_, standing| Arc::strong_count(standing) > 1);
        }
        let budget = RetryBudget::new(settings, self.start);
        let standing = Arc::new(Standing { limits: Limits::default(), budget, settings });
        all.insert(name.clone(), Arc::clone(&standing));
        standing
    }
}

/// What one worker's exchanges share.
pub struct Context {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// This worker's counters.
    pub shard: Shard,
    reader: RefCell<Reader>,
    upstream: RefCell<Upstream>,
    dialer: Dialer,
    pool: RefCell<Pool<Kept>>,
    random: RefCell<fastrand::Rng>,
    standings: RefCell<HashMap<DestinationName, Arc<Standing>>>,
}

impl Context {
    /// The context of worker `index`; to be made on its thread.
    pub fn new(index: usize, shared: Arc<Shared>) -> Self {
        let mut random = fastrand::Rng::new();
        let seed = random.u64(..).wrapping_add(index as u64);
        Self {
            shard: shared.telemetry.shard(),
            reader: RefCell::new(shared.config.reader()),
            upstream: RefCell::new(Upstream::new(Arc::clone(&shared.endpoints), seed)),
            dialer: Dialer::default(),
            pool: RefCell::default(),
            random: RefCell::new(random),
            standings: RefCell::default(),
            shared,
        }
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.reader.borrow_mut().current())
    }

    /// The workload's credentials, once it has some.
    pub fn credentials(&self) -> Option<Arc<Credentials>> {
        self.shared.config.identity().current()
    }

    /// TLS settings for peers that open tunnels here; `None` before the first certificate.
    pub fn tunnel_server(&self) -> Option<Arc<ServerConfig>> {
        let snapshot = self.snapshot();
        let aliases: &[TrustDomain] =
            snapshot.mesh.as_ref().map_or(&[], |facts| &facts.trust_domain_aliases);
        match self.credentials()?.server_config(aliases) {
            Ok(settings) => Some(settings),
            Err(error) => {
                tracing::error!(%error, "TLS settings");
                None
            }
        }
    }

    /// Runs `decide` with this worker's random numbers.
    pub fn with_random<R>(&self, decide: impl FnOnce(&mut dyn Random) -> R) -> R {
        decide(&mut Dice(&mut self.random.borrow_mut()))
    }

    /// The limits and budget of `name`.
    pub fn standing(&self, name: &DestinationName, settings: Budget) -> Arc<Standing> {
        let mut standings = self.standings.borrow_mut();
        if let Some(standing) = standings.get(name).filter(|known| known.settings == settings) {
            return Arc::clone(standing);
        }
        if standings.len() >= MAX_DESTINATIONS {
            standings.clear();
        }
        let standing = self.shared.standing(name, settings);
        standings.insert(name.clone(), Arc::clone(&standing));
        standing
    }

    /// Records a connection that is not served.
    pub fn refuse_connection(&self, direction: Direction, reason: &'static str, peer: SocketAddr) {
        let event = ConnectionRefused { direction, reason, peer: Some(peer) };
        self.shared.telemetry.connection_refused(&event);
    }

    /// Records a peer's handshake that failed.
    pub fn handshake_failed(&self, peer: SocketAddr, reason: &'static str, detail: &dyn fmt::Display) {
        let direction = Direction::Inbound;
        let event = TlsHandshakeFailed { direction, reason, peer: Some(peer), detail };
        self.shared.telemetry.tls_handshake_failed(&event);
    }

    /// Closes idle connections that are over their time or that peers closed.
    pub fn tidy(&self) {
        self.pool.borrow_mut().evict(Instant::now());
    }
}

/// Evicts idle connections now and then, until the worker ends.
pub async fn keep_tidy(context: Rc<Context>) {
    let mut interval = tokio::time::interval(std::time::Duration::from_secs(1));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        context.tidy();
    }
}

struct Dice<'r>(&'r mut fastrand::Rng);

impl Random for Dice<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }
}
