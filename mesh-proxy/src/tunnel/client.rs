//! The calling end: connections pooled per worker, streams multiplexed on them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use foldhash::HashMap;
use mesh_api::name::Identity;
use rustls::pki_types::ServerName;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::{Connection, Slot};
use super::mux::{self, Code, Head, Reset};
use super::socket::Socket;
use super::stream::Handle;
use super::{ERROR_HEADER, Hint, PROTOCOL_HEADER, TunnelError, TunnelStream, connect};
use crate::h2::peer::{self, Pooled};
use crate::identity::{Credentials, IdentityError, WrongIdentity, peer_not_after};

/// CONNECTs tried again on another connection, because one went away.
const MAX_REPLAYS: usize = 3;
/// A connection is retired this long before a certificate in use ends.
const EXPIRY_MARGIN: i64 = 5;
/// Longest `mesh-error` kept, in bytes.
const MAX_REASON: usize = 1024;

/// What a stream is opened to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Who calls. New credentials retire the connections made with older ones.
    pub credentials: &'a Arc<Credentials>,
    /// Who must answer.
    pub expected: &'a Identity,
    /// The peer's tunnel port.
    pub address: SocketAddr,
    /// The app's address as the peer knows it.
    pub authority: SocketAddr,
    /// What will be inside.
    pub hint: Option<Hint>,
}

/// A worker's tunnels. Must be used where tasks stay on their thread (`spawn_local`); dropping it
/// breaks every stream.
#[derive(Default)]
pub struct Tunnels {
    peers: RefCell<HashMap<Key, Rc<Peer>>>,
    tasks: RefCell<JoinSet<()>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    local: Identity,
    expected: Identity,
    address: SocketAddr,
}

/// One peer: its connections, and who it is.
struct Peer {
    identity: Rc<Identity>,
    shared: peer::Peer<Connection, TunnelError>,
}

/// What came of one CONNECT.
enum Answer {
    Open(TunnelStream),
    /// The peer did not process it: the same CONNECT may go elsewhere.
    GoneAway,
    /// The connection broke: a pooled one may have died unnoticed.
    Broken,
    Failed(TunnelError),
}

impl Tunnels {
    /// No tunnels yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a stream: on a pooled connection with room, or on a new one.
    ///
    /// # Errors
    /// See [`TunnelError`]; after `timeout` in all, [`TunnelError::ConnectTimeout`].
    pub async fn open(
        &self,
        target: &Target<'_>,
        timeout: Duration,
    ) -> Result<TunnelStream, TunnelError> {
        // Boxed: handshakes are rare and large, and would weigh on every exchange's future.
        let opening = Box::pin(self.open_untimed(target));
        match tokio::time::timeout(timeout, opening).await {
            Ok(result) => result,
            Err(_) => Err(TunnelError::ConnectTimeout),
        }
    }

    /// Connections that still take streams.
    pub fn connections(&self) -> usize {
        let peers = self.peers.borrow();
        peers.values().map(|peer| peer.shared.live()).sum()
    }

    /// Opens no stream on what is there now; open streams go on. For a workload that is drained,
    /// or whose roots changed.
    pub fn retire(&self, local: &Identity) {
        for (key, peer) in &*self.peers.borrow() {
            if key.local == *local {
                peer.shared.retire();
            }
        }
    }

    async fn open_untimed(&self, target: &Target<'_>) -> Result<TunnelStream, TunnelError> {
        let peer = self.peer(target);
        let generation = target.credentials.generation();
        let mut replays = 0;
        loop {
            let dial = async || self.dial(target).await;
            let reserving = peer
                .shared
                .reserve_or_dial(generation, dial, || TunnelError::Closed);
            let (slot, fresh) = reserving.await?;
            match ask(slot, target, &peer.identity).await {
                Answer::Open(stream) => return Ok(stream),
                Answer::GoneAway if replays < MAX_REPLAYS => replays += 1,
                Answer::Broken if !fresh && replays < MAX_REPLAYS => replays += 1,
                Answer::GoneAway | Answer::Broken => return Err(TunnelError::Closed),
                Answer::Failed(error) => return Err(error),
            }
        }
    }

    fn peer(&self, target: &Target<'_>) -> Rc<Peer> {
        let key = Key {
            local: target.credentials.identity().clone(),
            expected: target.expected.clone(),
            address: target.address,
        };
        let mut peers = self.peers.borrow_mut();
        let peer = peers.entry(key).or_insert_with(|| {
            Rc::new(Peer {
                identity: Rc::new(target.expected.clone()),
                shared: peer::Peer::default(),
            })
        });
        Rc::clone(peer)
    }

    async fn dial(&self, target: &Target<'_>) -> Result<Rc<Connection>, TunnelError> {
        self.reap();
        let tls = secure(target).await?;
        let own = target.credentials.not_after();
        let theirs = peer_not_after(tls.get_ref().1).unwrap_or(own);
        let expires = u64::try_from(own.min(theirs).saturating_sub(EXPIRY_MARGIN)).unwrap_or(0);
        let connection = Connection::new(
            target.credentials.generation(),
            SystemTime::UNIX_EPOCH + Duration::from_secs(expires),
        );
        let driving = Rc::clone(&connection).drive(tls);
        self.tasks.borrow_mut().spawn_local(driving);
        Ok(connection)
    }

    /// Forgets ended tasks and peers without connections.
    fn reap(&self) {
        let mut tasks = self.tasks.borrow_mut();
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a tunnel's task failed");
            }
        }
        self.peers
            .borrow_mut()
            .retain(|_, peer| Rc::strong_count(peer) > 1 || peer.shared.live() > 0);
    }
}

/// Connects and proves both identities.
async fn secure(target: &Target<'_>) -> Result<TlsStream<Socket>, TunnelError> {
    let config = target.credentials.client_config(target.expected);
    let config =
        config.map_err(|error: IdentityError| TunnelError::Handshake(error.to_string()))?;
    let socket = connect(target.address)
        .await
        .map_err(|error| TunnelError::Connect(Arc::new(error)))?;
    let name = ServerName::IpAddress(target.address.ip().into());
    let connecting = TlsConnector::from(config).connect(name, Socket::from(socket));
    connecting.await.map_err(|error| handshake_failure(&error))
}

fn handshake_failure(error: &io::Error) -> TunnelError {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) = tls
        && let Some(wrong) = other.0.downcast_ref::<WrongIdentity>()
    {
        return TunnelError::WrongIdentity {
            expected: Box::new(wrong.expected.clone()),
            presented: wrong.presented.clone().map(Box::new),
        };
    }
    TunnelError::Handshake(error.to_string())
}

/// Sends the CONNECT and waits for its answer.
async fn ask(slot: Slot, target: &Target<'_>, peer: &Rc<Identity>) -> Answer {
    let connection = Rc::clone(&slot.connection);
    let hint = target.hint.map(|hint| (PROTOCOL_HEADER, hint.as_str()));
    let block = mux::connect(&target.authority.to_string(), hint);
    let opened = connection.state().borrow_mut().connect(&block);
    let Some(id) = opened else {
        return failure(None, &connection);
    };
    let handle = Handle::new(Rc::clone(connection.state()), id, Some(slot));
    let answer = poll_fn(|context| {
        let mut state = connection.state().borrow_mut();
        state.poll_answer(id, context)
    });
    match answer.await {
        Some(head) if head.status == Some(200) => {
            Answer::Open(TunnelStream::new(handle, Rc::clone(peer)))
        }
        Some(head) => Answer::Failed(refusal(&head)),
        None => {
            let reset = connection.state().borrow_mut().reset_of(id);
            failure(reset, &connection)
        }
    }
}

fn refusal(head: &Head) -> TunnelError {
    let reason = head
        .headers
        .get(ERROR_HEADER)
        .and_then(|value| value.to_str().ok())
        .map(|text| text.chars().take(MAX_REASON).collect::<String>());
    let marked = |text: &String| text.split(';').any(|part| part.trim() == "unsent");
    TunnelError::Refused {
        status: head.status.unwrap_or_default(),
        unsent: reason.as_ref().is_some_and(marked),
        reason,
    }
}

/// Tells a CONNECT the peer never processed from one that failed.
fn failure(reset: Option<Reset>, connection: &Connection) -> Answer {
    match reset {
        Some(Reset::Gone(Code::NONE) | Reset::Peer(Code::REFUSED)) => {
            connection.retire();
            return Answer::GoneAway;
        }
        Some(Reset::Peer(_) | Reset::Here) => return Answer::Failed(TunnelError::Closed),
        Some(Reset::Gone(_)) | None => connection.retire(),
    }
    match connection.state().borrow().failure() {
        // The TLS alert of a peer that takes no one like us.
        Some(reason) if reason.contains("alert") => {
            Answer::Failed(TunnelError::Handshake(reason.to_owned()))
        }
        _ => Answer::Broken,
    }
}
