//! The control plane: an I/O shell around `mesh_api::translate`.
//!
//! Modules form a list: each uses only those above it.

pub mod crd;
pub mod error;
pub mod telemetry;

pub mod bootstrap;
mod state;

pub mod lease;

pub mod ca;
pub mod status;

pub mod inject;

pub mod watch;

pub mod index;

pub mod last_good;

pub mod publish;

pub mod kubernetes;

pub mod certificate;

pub mod serve;

mod web;

mod observe;
mod webhook;

pub mod admin;

mod doors;
mod world;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch as watching};
use tokio::task::JoinSet;

use admin::{Admin, Socket};
use bootstrap::Bootstrap;
use ca::token::Tokens;
use certificate::Certificates;
use doors::Doors;
use error::Error;
use kubernetes::attest::Attestor;
use serve::proof::Proof;
use serve::session::Shared;
use web::bind;
use world::World;

/// Told once, when proxies and administrators are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Where proxies connect, with the port that was bound.
    pub listen: SocketAddr,
}

/// Runs a control plane until `shutdown` completes; tells `started` when it listens.
///
/// Files and leases are loaded before it listens, so nothing incomplete is ever published.
///
/// # Errors
/// What keeps it from starting, or a part of it that fails for good.
pub async fn run(
    bootstrap: Bootstrap,
    started: Option<oneshot::Sender<Started>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    bootstrap.check()?;
    let mut parts = JoinSet::new();
    tokio::pin!(shutdown);
    let opening = open(&bootstrap, &mut parts);
    let opened = tokio::select! {
        opened = opening => opened?,
        () = &mut shutdown => return Ok(()),
    };
    let Opened { world, doors } = opened;
    let World {
        authority,
        publisher,
        cluster,
    } = world;
    let tokens = Arc::new(Tokens::open(&bootstrap.state)?);
    let place = bootstrap.kubernetes.clone().unwrap_or_default();
    let certificates = Certificates::new(
        Arc::clone(&authority),
        Arc::clone(&publisher),
        cluster.as_ref().map(|cluster| cluster.secrets.clone()),
        (place.namespace, place.service),
    )?;
    let socket = Socket::bind(&bootstrap.admin_socket)?;
    let listener = bind(bootstrap.listen).await?;
    let bound = listener.local_addr();
    let listen = bound.map_err(Error::io("bind", Path::new("tcp")))?;

    let (stop, stopping) = watching::channel(false);
    let (roots_changed, roots) = watching::channel(0);
    let shared = Shared {
        publisher: Arc::clone(&publisher),
        proxies: Arc::default(),
        authority: Arc::clone(&authority),
        roots,
        stopping,
    };
    let door = Arc::new(Admin {
        shared: shared.clone(),
        tokens: Arc::clone(&tokens),
        listen,
    });
    let resources = publisher.read(|index| index.statuses().len());
    telemetry::record_started(listen, resources, publisher.lease_count());
    let tls = Arc::clone(&certificates.proxies);
    let attestor = cluster
        .as_ref()
        .map(|cluster| Attestor::new(cluster.client.clone()));
    if let (Some(cluster), Some(doors)) = (cluster, doors) {
        doors.open(cluster, &certificates, &shared, &mut parts);
    }
    let leases = Arc::clone(&publisher);
    parts.spawn(async move { leases.expire_leases().await });
    parts.spawn(async move { publisher.publish_changes().await });
    parts.spawn(certificates.keep(roots_changed));
    parts.spawn(admin::serve(socket, door));
    let serving = serve::serve(listener, tls, shared, Proof { tokens, attestor });
    tokio::pin!(serving);
    if let Some(started) = started
        && started.send(Started { listen }).is_err()
    {
        tracing::debug!("nobody waits for the start");
    }
    tokio::select! {
        served = &mut serving => return served,
        _ = parts.join_next() => return Err(Error::Ended("a background task")),
        () = &mut shutdown => {}
    }
    stop.send_replace(true);
    match tokio::time::timeout(STOP_TIME, serving).await {
        Ok(served) => served,
        Err(_) => Ok(()),
    }
}

/// Keys and resources, complete, and what else a cluster gets.
struct Opened {
    world: World,
    doors: Option<Doors>,
}

async fn open(bootstrap: &Bootstrap, parts: &mut JoinSet<()>) -> Result<Opened, Error> {
    let world = World::open(bootstrap, parts).await?;
    let doors = match (&bootstrap.kubernetes, &world.cluster) {
        (Some(settings), Some(cluster)) => {
            Some(Doors::bind(settings, cluster.synced.clone(), parts).await?)
        }
        _ => None,
    };
    world.wait().await;
    Ok(Opened { world, doors })
}

/// Runs on a runtime of its own until SIGINT or SIGTERM.
///
/// # Errors
/// As [`run`], or a system that gives no runtime or signals.
pub fn run_until_signal(bootstrap: Bootstrap) -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let here = Path::new("runtime");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("start", here))?;
    runtime.block_on(async move {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::io("start", here))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::io("start", here))?;
        run(bootstrap, None, async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
        .await
    })
}

/// Makes a panic end the process: a control plane with a dead task must not look alive.
pub fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// How long a stop waits for streams to end.
const STOP_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
