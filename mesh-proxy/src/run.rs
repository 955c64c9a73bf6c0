//! Starts a proxy, follows its configuration, and ends it without losing what is open.
//!
//! Wiring only. May use everything.

mod readings;
mod redirect;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{io, thread};

use mesh_api::model::locality::Locality;
use mesh_api::snapshot::{Known, Snapshot};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::admin::{Admin, AdminSocket, Observe, ServeError, WaitingFor};
use crate::bootstrap::{Bootstrap, Ends};
use crate::capture::Check;
use crate::checker;
use crate::config::{Config, ConfigError};
use crate::context::Shared;
use crate::drain::{Drain, Phase};
use crate::listener::{self, Bound, Missing, Wanted, wanted};
use crate::memory;
use crate::telemetry::{Direction, Telemetry};
use crate::upstream::Newcomers;
use crate::worker::Workers;

/// How long peers get to hear that the workload's lease is over, before it stops listening.
const FAREWELL: Duration = Duration::from_millis(300);
/// Between looks at what is still open.
const LOOK: Duration = Duration::from_millis(20);
/// Share of the time to drain that what comes in may take.
const LEAVING: f64 = 0.8;
/// How long workers get to end once everything left was cut.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why a proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The access log cannot be opened.
    #[error("the access log cannot be opened")]
    AccessLog(#[source] io::Error),
    /// No identity, and no way to get one.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The admin socket or the observing listener cannot be opened.
    #[error(transparent)]
    Admin(#[from] ServeError),
    /// A thread cannot be started.
    #[error("a thread cannot be started")]
    Thread(#[source] io::Error),
}

/// Runs a proxy until `shutdown`, then drains it.
///
/// # Errors
/// It could not start. Later trouble is reported and outlived.
pub async fn run(
    bootstrap: Bootstrap,
    shutdown: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let telemetry = Telemetry::new(bootstrap.workload.clone(), &bootstrap.access_log.sink())
        .map_err(StartError::AccessLog)?;
    let (config, control) = Config::open(&bootstrap, Arc::clone(&telemetry))?;
    let drain = Drain::default();
    let shared = Arc::new(Shared::new(
        bootstrap.clone(),
        config.clone(),
        drain.watch(),
    ));
    readings::show(&shared);
    let (workers, threads) =
        Workers::start(bootstrap.workers, &shared).map_err(StartError::Thread)?;
    let (missing, bound) = Missing::first();
    let (listeners, acceptor) = start_acceptor(workers, missing)?;
    let health = health(&shared);
    let waiting = waiting_for(bound, shared.redirect.clone());
    let admin = Admin::new(config.clone(), bootstrap.clone(), health, waiting);
    let mut tasks = JoinSet::new();
    if let (Some(check), Some(capture)) = (shared.redirect.clone(), bootstrap.capture.clone()) {
        tasks.spawn(redirect::watch(check, capture));
    }
    tasks.spawn(checker::watch(Arc::clone(&shared)));
    tasks.spawn(memory::give_back(connections(&shared)));
    tasks.spawn(AdminSocket::bind(&bootstrap.admin_socket)?.serve(admin.clone()));
    let _observe = match bootstrap.observe {
        Some(address) => Some(Observe::start(address, admin.clone())?),
        None => None,
    };
    tasks.spawn(control.run(admin.handler()));
    let orders = listeners.clone();
    let follows = follow(
        config.clone(),
        bootstrap.clone(),
        orders,
        Arc::clone(&shared),
    );
    let following = tasks.spawn(follows);
    shutdown.await;

    tracing::info!(workload = %bootstrap.workload, "draining");
    let began = Instant::now();
    admin.draining();
    if bootstrap.registration.is_some() {
        config.deregister().await;
        tokio::time::sleep(FAREWELL).await;
    }
    following.abort();
    leave(&bootstrap, &shared, &listeners, &drain).await;
    // Everything accepted reaches a worker before workers stop taking.
    drop(listeners);
    wait_for(vec![acceptor], LAST_WORDS).await;
    drain.enter(Phase::Draining);
    let left = bootstrap.drain.saturating_sub(began.elapsed());
    finish(&drain, threads, left).await;
    tasks.shutdown().await;
    telemetry.flush();
    Ok(())
}

/// Counts the connections that are open.
fn connections(shared: &Arc<Shared>) -> impl Fn() -> usize + use<> {
    let shared = Arc::clone(shared);
    move || {
        let open = |direction| shared.open(direction).load(Ordering::Relaxed);
        open(Direction::Inbound) + open(Direction::Outbound)
    }
}

/// The acceptor's thread, and the way to tell it which listeners are wanted.
fn start_acceptor(
    workers: Workers,
    missing: Missing,
) -> Result<(mpsc::Sender<Wanted>, thread::JoinHandle<()>), StartError> {
    let (orders, wanted) = mpsc::channel(8);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let body = move || runtime.block_on(listener::serve(wanted, workers, missing));
    let thread = thread::Builder::new().name("acceptor".into()).spawn(body);
    Ok((orders, thread.map_err(StartError::Thread)?))
}

/// Takes nothing new in, and lets what is open finish; where the app ends first, also what it still
/// sends. Part of the time to drain is left for the way out.
async fn leave(
    bootstrap: &Bootstrap,
    shared: &Shared,
    listeners: &mpsc::Sender<Wanted>,
    drain: &Drain,
) {
    let config = &shared.config;
    let mut outbound = wanted(bootstrap, &config.snapshot(), |host, port| {
        config.destination_of(host, port)
    });
    outbound.retain(|_, role| role.direction() == Direction::Outbound);
    if listeners.send(outbound).await.is_err() {
        return;
    }
    // What the kernel holds reaches a worker first.
    tokio::time::sleep(LOOK).await;
    drain.enter(Phase::Leaving);
    let end = Instant::now() + bootstrap.drain.mul_f64(LEAVING);
    let is_open = |direction| shared.open(direction).load(Ordering::Acquire) > 0;
    while Instant::now() < end {
        let outlives = bootstrap.ends == Ends::AfterApp;
        let is_needed = is_open(Direction::Inbound) || (outlives && is_open(Direction::Outbound));
        if !is_needed {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Opens and closes listeners, and forgets endpoints, as the configuration in force says.
async fn follow(
    config: Config,
    bootstrap: Bootstrap,
    listeners: mpsc::Sender<Wanted>,
    shared: Arc<Shared>,
) {
    let mut changes = config.watch();
    let mut last = Wanted::new();
    let mut newcomers = Newcomers::default();
    loop {
        changes.borrow_and_update();
        let snapshot = config.snapshot();
        shared.endpoints.retain(&endpoints_of(&snapshot));
        let own = snapshot.inbound.get(&bootstrap.workload);
        let locality = own.and_then(|own| Locality::of_labels(&own.labels));
        shared.endpoints.locate(locality);
        for (backend, address) in newcomers.arrived(&snapshot) {
            shared.endpoints.mark_new(address, Instant::now());
            shared.telemetry().slow_start(&backend);
        }
        let next = wanted(&bootstrap, &snapshot, |host, port| {
            config.destination_of(host, port)
        });
        if next != last {
            last.clone_from(&next);
            if listeners.send(next).await.is_err() {
                return;
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Every endpoint that some destination has.
fn endpoints_of(snapshot: &Snapshot) -> HashSet<SocketAddr> {
    let tables = snapshot
        .destinations
        .values()
        .filter_map(|known| match known {
            Known::Present(table) => Some(table),
            Known::Absent | Known::Failed(_) => None,
        });
    let backends = tables.flat_map(|table| &table.backends);
    backends
        .flat_map(|backend| &backend.endpoints)
        .map(|endpoint| endpoint.address)
        .collect()
}

/// What readiness waits for besides configuration and identity.
fn waiting_for(bound: Bound, redirect: Option<Arc<Check>>) -> WaitingFor {
    Arc::new(move || {
        let is_redirected = redirect.as_ref().is_none_or(|check| check.has_passed());
        let all = [(bound.all(), "listeners"), (is_redirected, "redirect")];
        let missing = all.into_iter().filter(|(is_there, _)| !is_there);
        missing.map(|(_, what)| what).collect()
    })
}

/// What the admin socket tells of endpoints.
fn health(shared: &Arc<Shared>) -> crate::admin::EndpointHealth {
    let shared = Arc::clone(shared);
    Arc::new(move || {
        let now = Instant::now();
        let outliers = shared.endpoints.outliers(now);
        let outliers = outliers.into_iter().map(|one| {
            json!({
                "backend": one.backend,
                "address": one.address,
                "cause": one.cause,
                "times": one.times,
                "left": one.left.as_secs_f64(),
            })
        });
        let outliers: Vec<_> = outliers.collect();
        json!({ "ejected": shared.endpoints.ejected(now), "outliers": outliers })
    })
}

/// Waits for the workers; cuts what is left after `limit`.
async fn finish(drain: &Drain, threads: Vec<thread::JoinHandle<()>>, limit: Duration) {
    let cut = async {
        tokio::time::sleep(limit).await;
        tracing::warn!("drain time is over; what is left is cut");
        drain.enter(Phase::Cut);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = cut => {}
        () = wait_for(threads, limit + LAST_WORDS) => {}
    }
}

/// Waits until `threads` have ended, at most `limit`.
async fn wait_for(threads: Vec<thread::JoinHandle<()>>, limit: Duration) {
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread panicked");
            }
        }
    });
    if tokio::time::timeout(limit, joined).await.is_err() {
        tracing::error!("a thread does not end");
    }
}
