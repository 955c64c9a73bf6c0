//! What a worker's exchanges work with: configuration, identity, upstream, telemetry.
//!
//! [`Shared`] is one per proxy, [`Context`] one per worker. May use everything above it.

mod rates;
mod reach;
mod reached;
mod room;

use std::cell::RefCell;
use std::fmt;
use std::hash::Hash;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use foldhash::HashMap;
use mesh_api::decide::authorise::{self, Denial};
use mesh_api::decide::{Caller, Random};
use mesh_api::model::backend::{Backend, Endpoint, Transport};
use mesh_api::model::inbound::Inbound;
use mesh_api::model::policy::Budget;
use mesh_api::name::{DestinationName, Identity, Port, TrustDomain};
use mesh_api::snapshot::{BackendTable, Snapshot};
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::rates::{RateKey, Used};
pub use self::reach::plain_backend;
use self::reached::Kept;
pub use self::reached::{Counted, Reached};
use crate::bootstrap::Bootstrap;
use crate::buffer;
use crate::capture::Check;
use crate::config::{Config, Reader};
use crate::drain;
use crate::identity::{Credentials, View};
use crate::rate::{Buckets, Keys};
use crate::telemetry::{
    Audited, ConnectionRefused, Direction, Shard, Telemetry, TlsHandshakeFailed,
};
use crate::upstream::{
    self, Dialer, Dice, Endpoints, Group, Limit, Limits, Place, Pool, RetryBudget, Upstream,
};

/// Destinations whose limits and budgets are kept; the least used go when there are more.
const MAX_DESTINATIONS: usize = 4096;

/// What all workers of a proxy share.
pub struct Shared {
    /// How it was started.
    pub bootstrap: Bootstrap,
    /// Configuration and identity.
    pub config: Config,
    /// Endpoint health and load.
    pub endpoints: Arc<Endpoints>,
    /// How far a shutdown is.
    pub drain: drain::Watch,
    /// Whether connections are redirected here, where that is checked.
    pub redirect: Option<Arc<Check>>,
    open_inbound: AtomicUsize,
    open_outbound: AtomicUsize,
    limits: Mutex<HashMap<LimitsKey, Arc<Limits>>>,
    /// Tells workers that one of them waits for room that another may have.
    make_room: watch::Sender<()>,
    /// Copies of requests under way, by where they go.
    mirrors: Mutex<HashMap<DestinationName, Arc<Limit>>>,
    budgets: Mutex<HashMap<BudgetKey, Arc<RetryBudget>>>,
    /// Buckets of the limits of what is received.
    rates: Mutex<HashMap<RateKey, Arc<Buckets>>>,
    rate_keys: Keys,
    start: Instant,
}

/// A Service has one set of limits where it is called, and its app another where it is received.
type LimitsKey = (DestinationName, bool);
/// A budget whose settings change starts anew.
type BudgetKey = (DestinationName, Budget);

impl Shared {
    /// Nothing counted yet.
    pub fn new(bootstrap: Bootstrap, config: Config, drain: drain::Watch) -> Self {
        let start = Instant::now();
        let endpoints = Arc::new(Endpoints::new(start));
        let (limits, budgets) = (Mutex::default(), Mutex::default());
        let check_port = bootstrap.capture.as_ref().and_then(|c| c.check_port);
        let redirect = check_port.map(|port| Arc::new(Check::new(port)));
        Self {
            bootstrap,
            config,
            endpoints,
            drain,
            redirect,
            open_inbound: AtomicUsize::new(0),
            open_outbound: AtomicUsize::new(0),
            limits,
            make_room: watch::channel(()).0,
            mirrors: Mutex::default(),
            budgets,
            rates: Mutex::default(),
            rate_keys: Keys::default(),
            start,
        }
    }

    /// What counts of `backend`.
    fn limits_of(&self, backend: &Backend) -> Arc<Limits> {
        let is_bare = |endpoint: &Endpoint| {
            endpoint.workload.is_none() && endpoint.transport == Transport::Plain
        };
        let mut endpoints = backend.endpoints.iter();
        let is_app = !backend.endpoints.is_empty() && endpoints.all(is_bare);
        let key = (backend.name.clone(), is_app);
        shared_value(&self.limits, &key, || Limits::new(self.bootstrap.workers))
    }

    /// What is in flight to each backend that was called, by its name.
    pub fn in_flight(&self) -> Vec<(String, Arc<Limits>)> {
        let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let called = limits.iter().filter(|((_, is_app), _)| !is_app);
        let named = called.map(|((name, _), limits)| (name.to_string(), Arc::clone(limits)));
        let mut all: Vec<_> = named.collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    }

    /// How far the shutdown of one direction is.
    pub fn drain_of(&self, direction: Direction) -> drain::Watch {
        match direction {
            Direction::Inbound => self.drain.inbound(),
            Direction::Outbound => self.drain.clone(),
        }
    }

    /// Connections that are open in one direction.
    pub fn open(&self, direction: Direction) -> &AtomicUsize {
        match direction {
            Direction::Inbound => &self.open_inbound,
            Direction::Outbound => &self.open_outbound,
        }
    }

    /// The recorder of cold events.
    pub fn telemetry(&self) -> &Arc<Telemetry> {
        self.config.telemetry()
    }
}

/// The value of `key`, made at first use; those nobody holds go when there are too many.
fn shared_value<K: Clone + Eq + Hash, V>(
    all: &Mutex<HashMap<K, Arc<V>>>,
    key: &K,
    make: impl FnOnce() -> V,
) -> Arc<V> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= MAX_DESTINATIONS {
        all.retain(|_, value| Arc::strong_count(value) > 1);
    }
    Arc::clone(all.entry(key.clone()).or_insert_with(|| Arc::new(make())))
}

/// What one worker's exchanges share.
pub struct Context {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// This worker's counters.
    pub shard: Shard,
    reader: RefCell<Reader>,
    credentials: RefCell<View>,
    upstream: RefCell<Upstream>,
    dialer: Dialer,
    pool: RefCell<Pool<Kept>>,
    streams: upstream::Shared,
    random: RefCell<fastrand::Rng>,
    /// Which worker it is.
    index: usize,
    /// Copies of requests under way.
    copies: RefCell<JoinSet<()>>,
    rates: RefCell<Used>,
}

impl Context {
    /// The context of worker `index`; to be made on its thread.
    pub fn new(index: usize, shared: Arc<Shared>) -> Self {
        let mut random = fastrand::Rng::new();
        let seed = random.u64(..).wrapping_add(index as u64);
        Self {
            shard: shared.telemetry().shard(),
            reader: RefCell::new(shared.config.reader()),
            credentials: RefCell::new(shared.config.identity().view()),
            upstream: RefCell::new(Upstream::new(Arc::clone(&shared.endpoints), seed)),
            dialer: Dialer::default(),
            pool: RefCell::default(),
            streams: upstream::Shared::default(),
            random: RefCell::new(random),
            index,
            copies: RefCell::default(),
            rates: RefCell::default(),
            shared,
        }
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(self.reader.borrow_mut().current())
    }

    /// Looks into the configuration in force, without holding it.
    pub fn with_snapshot<R>(&self, look: impl FnOnce(&Snapshot) -> R) -> R {
        look(self.reader.borrow_mut().current())
    }

    /// The workload's credentials, once it has some.
    pub fn credentials(&self) -> Option<Arc<Credentials>> {
        self.credentials.borrow_mut().current().cloned()
    }

    /// TLS settings for peers that open tunnels here; `None` before the first certificate.
    pub fn tunnel_server(&self) -> Option<Arc<ServerConfig>> {
        let snapshot = self.snapshot();
        let aliases: &[TrustDomain] = snapshot
            .mesh
            .as_ref()
            .map_or(&[], |facts| &facts.trust_domain_aliases);
        match self.credentials()?.server_config(aliases) {
            Ok(settings) => Some(settings),
            Err(error) => {
                tracing::error!(%error, "TLS settings");
                None
            }
        }
    }

    /// Who calls: the local workload.
    pub fn caller(&self) -> Caller<'_> {
        self.shared.bootstrap.caller()
    }

    /// Runs `decide` with this worker's random numbers.
    pub fn with_random<R>(&self, decide: impl FnOnce(&mut dyn Random) -> R) -> R {
        decide(&mut Dice(&mut self.random.borrow_mut()))
    }

    /// What this worker holds of `backend`.
    pub fn group(&self, backend: &Arc<BackendTable>) -> Rc<Group> {
        self.upstream.borrow_mut().group(backend)
    }

    /// A place for a copy of a request to `backend`, of `most` in all workers; `None` if all are taken.
    pub fn mirror_place(&self, backend: &DestinationName, most: u32) -> Option<Place> {
        // Nobody waits for one, so that no worker keeps a line.
        let make = || Limit::new(0);
        shared_value(&self.shared.mirrors, backend, make).enter(most)
    }

    /// Sends a copy of a request beside this worker's exchanges; it ends with the worker at the latest.
    pub fn start_copy(&self, copy: impl Future<Output = ()> + 'static) {
        let mut copies = self.copies.borrow_mut();
        while copies.try_join_next().is_some() {}
        copies.spawn_local(copy);
    }

    /// The retries a backend may have, in all workers.
    pub fn budget(&self, group: &Group, settings: Budget) -> Arc<RetryBudget> {
        group.budget(settings, || {
            let key = (group.backend().name.clone(), settings);
            let make = || RetryBudget::new(settings, self.shared.start);
            shared_value(&self.shared.budgets, &key, make)
        })
    }

    /// Records a connection that is not served.
    pub fn refuse_connection(&self, direction: Direction, reason: &'static str, peer: SocketAddr) {
        let event = ConnectionRefused {
            direction,
            reason,
            peer: Some(peer),
        };
        self.shared.telemetry().connection_refused(&event);
    }

    /// Decides whether `peer` may call `port` of the workload of `entry`, and counts what a policy that
    /// only audits would refuse.
    ///
    /// # Errors
    /// It may not.
    pub fn authorise<'e>(
        &self,
        entry: &'e Inbound,
        port: Port,
        peer: Option<&Identity>,
    ) -> Result<(), Denial<'e>> {
        let authorised = authorise::authorise(entry, port, peer);
        if let Some(denial) = authorised.denial() {
            tracing::debug!(?peer, %port, reason = %denial, "caller denied");
            return Err(denial);
        }
        if let Some(denial) = authorised.audited {
            let policy = denial.policy().to_string();
            self.shared.telemetry().audited(&Audited {
                policy: &policy,
                peer,
                detail: &denial,
            });
        }
        Ok(())
    }

    /// Records a peer's handshake that failed.
    pub fn handshake_failed(
        &self,
        peer: SocketAddr,
        reason: &'static str,
        detail: &dyn fmt::Display,
    ) {
        let direction = Direction::Inbound;
        let event = TlsHandshakeFailed {
            direction,
            reason,
            peer: Some(peer),
            detail,
        };
        self.shared.telemetry().tls_handshake_failed(&event);
    }

    /// Closes idle connections that are over their time or that peers closed.
    pub fn tidy(&self) {
        self.pool.borrow_mut().evict(Instant::now());
        self.streams.evict();
        self.upstream.borrow_mut().evict();
    }
}

/// Evicts idle connections now and then, until the worker ends.
pub async fn keep_tidy(context: Rc<Context>) {
    let mut interval = tokio::time::interval(std::time::Duration::from_secs(1));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut wanted = context.shared.make_room.subscribe();
    loop {
        tokio::select! {
            _ = interval.tick() => {
                context.tidy();
                buffer::trim();
            }
            Ok(()) = wanted.changed() => context.make_room(),
        }
    }
}
