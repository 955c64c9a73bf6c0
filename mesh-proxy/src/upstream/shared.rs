//! HTTP/2 connections of a worker, each shared by the exchanges with one endpoint.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use tokio::task::JoinSet;

use super::limit::{Limit, Place};
use super::pool::PoolKey;
use super::stream::Stream;
use crate::error::{Error, Kind};
use crate::h2::client::{self, ClientStream};
use crate::h2::connection::Connection;
use crate::h2::peer::Peer;

/// A worker's shared connections. Must be used where tasks stay on their thread (`spawn_local`);
/// dropping it breaks every stream.
#[derive(Default)]
pub struct Shared {
    peers: RefCell<HashMap<PoolKey, Rc<Peer<Connection, Failure>>>>,
    tasks: RefCell<JoinSet<()>>,
    /// Under which limit each connection counts.
    counted: RefCell<Vec<(Weak<Connection>, Arc<Limit>)>>,
}

/// Why no connection could be made, for all who waited for it.
#[derive(Clone)]
struct Failure {
    kind: Kind,
    reason: String,
}

/// A new connection that is to speak HTTP/2.
pub struct Dialled {
    /// The connection.
    pub stream: Stream,
    /// Its place under the destination's limit, kept until it ends.
    pub place: Place,
    /// Time without a stream after which it is closed.
    pub idle: Duration,
    /// When it takes no more streams, and closes once those it has end.
    pub ends: Option<Instant>,
    /// Time allowed to start HTTP/2.
    pub limit: Duration,
}

impl Shared {
    /// A stream to the endpoint of `key`: on a connection with room, or on one that `dial` makes.
    ///
    /// # Errors
    /// The dial's. Nothing was sent.
    pub async fn open(
        &self,
        key: &PoolKey,
        dial: impl AsyncFnOnce() -> Result<Dialled, Error>,
    ) -> Result<ClientStream, Error> {
        let peer = Rc::clone(self.peers.borrow_mut().entry(key.clone()).or_default());
        let connect = async || {
            let dialled = dial().await.map_err(|error| Failure::of(&error))?;
            self.start(dialled).await
        };
        let full = || Failure {
            kind: Kind::ConnectFailed,
            reason: "the endpoint takes no stream".to_owned(),
        };
        let reserved = peer.reserve_or_dial(0, connect, full).await;
        reserved
            .map(ClientStream::new)
            .map_err(|failure| Error::upstream(failure.kind).because(failure.reason))
    }

    /// Takes a connection that was made before it was known that it is to speak HTTP/2.
    pub async fn adopt(&self, key: &PoolKey, dialled: Dialled) {
        // A failure shows at the first exchange, which then makes a connection of its own.
        if let Ok(connection) = self.start(dialled).await {
            let peer = Rc::clone(self.peers.borrow_mut().entry(key.clone()).or_default());
            peer.adopt(connection);
        }
    }

    async fn start(&self, dialled: Dialled) -> Result<Rc<Connection>, Failure> {
        let Dialled {
            stream,
            place,
            idle,
            ends,
            limit,
        } = dialled;
        let failed = |error: std::io::Error| Failure {
            kind: Kind::ConnectFailed,
            reason: error.to_string(),
        };
        let starting = tokio::time::timeout(limit, Box::pin(client::connect(stream, idle, ends)));
        let started = starting.await.map_err(|_| Failure {
            kind: Kind::ConnectTimeout,
            reason: "HTTP/2 did not start in time".to_owned(),
        })?;
        let (connection, driving) = started.map_err(failed)?;
        let counted = (Rc::downgrade(&connection), Arc::clone(place.limit()));
        self.counted.borrow_mut().push(counted);
        self.tasks.borrow_mut().spawn_local(async move {
            driving.await;
            drop(place);
        });
        Ok(connection)
    }

    /// Closes connections without streams whose places others wait for.
    pub fn make_room(&self) {
        for (connection, limit) in &*self.counted.borrow() {
            if let Some(connection) = connection.upgrade()
                && limit.waiting() > 0
            {
                connection.retire_unused();
            }
        }
    }

    /// Closes connections without streams that are over their time, and forgets what ended.
    pub fn evict(&self) {
        let mut tasks = self.tasks.borrow_mut();
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "the task of a connection failed");
            }
        }
        let mut counted = self.counted.borrow_mut();
        counted.retain(|(connection, _)| connection.strong_count() > 0);
        let mut peers = self.peers.borrow_mut();
        peers.values().for_each(|peer| peer.retire_idle());
        peers.retain(|_, peer| Rc::strong_count(peer) > 1 || peer.live() > 0);
    }
}

impl Failure {
    fn of(error: &Error) -> Self {
        let source = error.source.as_ref().map(ToString::to_string);
        Self {
            kind: error.kind,
            reason: source.unwrap_or_default(),
        }
    }
}
