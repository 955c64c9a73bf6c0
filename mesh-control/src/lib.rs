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
pub mod watch;

pub mod index;

pub mod last_good;

pub mod publish;

pub mod serve;

pub mod admin;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use mesh_api::name::{Identity, TrustDomain};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch as watching};
use tokio::task::JoinSet;

use admin::{Admin, Socket};
use bootstrap::Bootstrap;
use ca::Authority;
use ca::token::Tokens;
use error::Error;
use index::Index;
use last_good::LastGood;
use lease::LeaseFiles;
use publish::Publisher;
use serve::acceptor::SharedTls;
use serve::session::Shared;
use watch::{Folder, Watcher};

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
    let now = SystemTime::now();
    let authority = Arc::new(Authority::open(
        &bootstrap.state,
        bootstrap.leaf_lifetime,
        now,
    )?);
    let tokens = Arc::new(Tokens::open(&bootstrap.state)?);
    let watcher = Watcher::new(&bootstrap.manifests)?;
    let mut folder = Folder::new(&bootstrap.manifests);
    let (index, last_good) = load_files(&bootstrap, &mut folder)?;
    let store = LeaseFiles::open(&bootstrap.state)?;
    let publisher = Arc::new(Publisher::new(
        index,
        store,
        bootstrap.lease,
        Instant::now(),
    )?);
    let tls = SharedTls::new(RwLock::new(Arc::new(own_tls(&authority, &publisher)?)));
    let socket = Socket::bind(&bootstrap.admin_socket)?;
    let at = Path::new("tcp").join(bootstrap.listen.to_string());
    let listener = TcpListener::bind(bootstrap.listen)
        .await
        .map_err(Error::io("bind", &at))?;
    let listen = listener.local_addr().map_err(Error::io("bind", &at))?;

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
    let mut parts = JoinSet::new();
    let leases = Arc::clone(&publisher);
    parts.spawn(async move { leases.expire_leases().await });
    let changes = Arc::clone(&publisher);
    parts.spawn(async move { changes.publish_changes().await });
    let files = (watcher, folder, last_good);
    parts.spawn(follow_files(files, Arc::clone(&publisher)));
    parts.spawn(renew_tls(
        Arc::clone(&authority),
        publisher,
        Arc::clone(&tls),
        roots_changed,
    ));
    parts.spawn(admin::serve(socket, door));
    let serving = serve::serve(listener, tls, shared, tokens);
    tokio::pin!(serving, shutdown);
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

/// Applies what changes in the folder of manifests; never returns.
async fn follow_files(
    (mut watcher, mut folder, last_good): (Watcher, Folder, LastGood),
    publisher: Arc<Publisher>,
) {
    let mut wait = watch::POLL;
    loop {
        watcher.changed(wait).await;
        wait = watch::POLL;
        match folder.scan() {
            Ok(scan) => {
                if scan.unsettled {
                    wait = watch::SETTLE;
                }
                publisher.apply_files(scan.clone());
                publisher.read(|index| last_good.keep(&scan, index));
            }
            Err(error) => telemetry::record_failure("manifests", &error.chain()),
        }
    }
}

/// Renews the own certificate from a third of its life, and takes in changed roots; never returns.
async fn renew_tls(
    authority: Arc<Authority>,
    publisher: Arc<Publisher>,
    tls: SharedTls,
    roots_changed: watching::Sender<u64>,
) {
    let third = authority.leaf_lifetime() / 3;
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(ROOTS_POLL.min(third)).await;
        let changed = authority.reload_roots().unwrap_or_else(|error| {
            telemetry::record_failure("roots", &error.chain());
            false
        });
        if !changed && renewed.elapsed() < third {
            continue;
        }
        match own_tls(&authority, &publisher) {
            Ok(config) => {
                *tls.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                renewed = Instant::now();
            }
            Err(error) => telemetry::record_failure("own certificate", &error.chain()),
        }
        if changed {
            roots_changed.send_modify(|count| *count += 1);
        }
    }
}

/// The first look at the folder of manifests. The trust domain of the first one stays for good:
/// certificates and peers carry it.
fn load_files(bootstrap: &Bootstrap, folder: &mut Folder) -> Result<(Index, LastGood), Error> {
    let last_good = LastGood::open(&bootstrap.state)?;
    let before = read_trust_domain(&bootstrap.state)?;
    let is_first = before.is_none();
    let mut index = Index::new(before.or_else(|| bootstrap.trust_domain.clone()));
    if !is_first {
        index.fix_trust_domain();
    }
    last_good.start(folder, &mut index)?;
    if is_first {
        index.fix_trust_domain();
        let domain = index.facts().trust_domain.to_string();
        state::write(&bootstrap.state.join(TRUST_DOMAIN), domain.as_bytes())?;
    }
    Ok((index, last_good))
}

/// The trust domain that this control plane first ran with, if it ran before.
fn read_trust_domain(state: &Path) -> Result<Option<TrustDomain>, Error> {
    let Some(text) = state::read(&state.join(TRUST_DOMAIN))? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&text);
    let domain = text.trim().parse();
    domain
        .map(Some)
        .map_err(|fault| Error::Authority(format!("{TRUST_DOMAIN}: {fault}")))
}

fn own_tls(authority: &Authority, publisher: &Publisher) -> Result<rustls::ServerConfig, Error> {
    let wrong = |_| Error::Authority("the own identity is malformed".into());
    let identity = Identity {
        trust_domain: publisher.read(|index| index.facts().trust_domain),
        namespace: "mesh-system".parse().map_err(wrong)?,
        service_account: "mesh-control".parse().map_err(wrong)?,
    };
    authority.server_config(&identity, SystemTime::now())
}

/// The file of the state folder with the trust domain.
const TRUST_DOMAIN: &str = "trust-domain";
/// How often the folder of trusted roots is looked at.
const ROOTS_POLL: Duration = Duration::from_secs(10);
/// How long a stop waits for streams to end.
const STOP_TIME: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
