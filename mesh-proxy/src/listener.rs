//! Listening sockets and their acceptors: each accepted socket goes to the least busy worker.
//!
//! Acceptors live on a thread of their own, so that neither a busy worker nor the compilation of a
//! configuration delays an accept. May use everything above but `admin`.

mod wanted;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::upstream::connect::tune;
use crate::worker::{Accepted, Role, Workers};

pub use self::wanted::wanted;

/// Pending connections the kernel keeps for a listener.
const BACKLOG: i32 = 1024;
/// Wait after an accept that failed for want of a resource.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Wait between two tries to bind an address that is taken.
const BIND_RETRY: Duration = Duration::from_millis(500);

/// Every listener the proxy should have, by address; replaces the set before.
pub type Wanted = HashMap<SocketAddr, Role>;

/// One listener that is wanted and not bound yet; the first stands for the first set of them.
#[derive(Debug)]
pub struct Missing(Arc<AtomicUsize>);

/// Tells whether every listener that is wanted is bound.
#[derive(Clone, Debug)]
pub struct Bound(Arc<AtomicUsize>);

impl Missing {
    /// The first, and what counts all.
    pub fn first() -> (Self, Bound) {
        let count = Arc::new(AtomicUsize::new(1));
        (Self(Arc::clone(&count)), Bound(count))
    }

    fn one_more(bound: &Bound) -> Self {
        bound.0.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&bound.0))
    }
}

impl Drop for Missing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Bound {
    /// True if none is missing.
    pub fn all(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }
}

/// Opens and closes listeners as `wanted` says, until it closes; then hands out what the kernel
/// has accepted already, and ends. `first` is missing until the first set is taken up.
pub async fn serve(mut wanted: mpsc::Receiver<Wanted>, workers: Workers, first: Missing) {
    let bound = Bound(Arc::clone(&first.0));
    let mut first = Some(first);
    let mut tasks = JoinSet::new();
    // Dropping the sender stops a listener.
    let mut open: HashMap<SocketAddr, (Role, oneshot::Sender<()>)> = HashMap::new();
    while let Some(wanted) = wanted.recv().await {
        open.retain(|address, (role, _)| wanted.get(address) == Some(role));
        for (address, role) in wanted {
            open.entry(address).or_insert_with(|| {
                let (stop, stopped) = oneshot::channel();
                let missing = Missing::one_more(&bound);
                let work = accept(address, role.clone(), workers.clone(), stopped, missing);
                tasks.spawn(work);
                (role, stop)
            });
        }
        drop(first.take());
        while tasks.try_join_next().is_some() {}
    }
    drop(open);
    while tasks.join_next().await.is_some() {}
}

/// Binds `address`, trying again while it is taken, and hands out what it accepts.
async fn accept(
    address: SocketAddr,
    role: Role,
    workers: Workers,
    mut stopped: oneshot::Receiver<()>,
    missing: Missing,
) {
    let listener = loop {
        match bind(address) {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::warn!(%address, %error, "cannot listen; trying again");
                tokio::select! {
                    () = tokio::time::sleep(BIND_RETRY) => {}
                    _ = &mut stopped => return,
                }
            }
        }
    };
    drop(missing);
    tracing::debug!(%address, ?role, "listening");
    loop {
        let accepted = async {
            let (stream, peer) = tokio::select! {
                // Who is in the kernel's queue already is served before the listener stops.
                biased;
                accepted = listener.accept() => accepted?,
                _ = &mut stopped => return Ok(None),
            };
            tune(&stream)?;
            Ok::<_, io::Error>(Some(Accepted {
                stream: stream.into_std()?,
                peer,
                role: role.clone(),
            }))
        };
        match accepted.await {
            Ok(Some(accepted)) => workers.hand(accepted),
            Ok(None) => return,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%address, %error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A socket listening on `address`; reusable at once after a restart.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // The unspecified address would take IPv4's too, which has a listener of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | InvalidInput | NotConnected
    )
}
