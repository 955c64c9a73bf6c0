//! Listening sockets and their acceptors: each accepted socket goes to the least busy worker.
//!
//! Acceptors live on a thread of their own, so that neither a busy worker nor the compilation of a
//! configuration delays an accept. May use everything above but `admin`.

mod wanted;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

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

/// Opens and closes listeners as `wanted` says, until it closes.
pub async fn serve(mut wanted: mpsc::Receiver<Wanted>, workers: Workers) {
    let mut tasks = JoinSet::new();
    let mut open: HashMap<SocketAddr, (Role, AbortHandle)> = HashMap::new();
    while let Some(wanted) = wanted.recv().await {
        open.retain(|address, (role, task)| {
            let keep = wanted.get(address) == Some(role);
            if !keep {
                task.abort();
            }
            keep
        });
        for (address, role) in wanted {
            open.entry(address).or_insert_with(|| {
                let task = tasks.spawn(accept(address, role.clone(), workers.clone()));
                (role, task)
            });
        }
        while tasks.try_join_next().is_some() {}
    }
    tasks.shutdown().await;
}

/// Binds `address`, trying again while it is taken, and hands out what it accepts.
async fn accept(address: SocketAddr, role: Role, workers: Workers) {
    let listener = loop {
        match bind(address) {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::warn!(%address, %error, "cannot listen; trying again");
                tokio::time::sleep(BIND_RETRY).await;
            }
        }
    };
    tracing::debug!(%address, ?role, "listening");
    loop {
        let accepted = async {
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(Accepted {
                stream: stream.into_std()?,
                peer,
                role: role.clone(),
            })
        };
        match accepted.await {
            Ok(accepted) => workers.hand(accepted),
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
