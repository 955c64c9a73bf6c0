//! Dials an endpoint: plain TCP or a tunnel, as its transport says. Never one for the other.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::model::backend::{Endpoint, Transport};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::stream::Stream;
use crate::identity::Credentials;
use crate::tunnel::{Hint, Target, TunnelError, Tunnels};

/// A worker's way to endpoints; clones share its tunnels.
#[derive(Clone, Default)]
pub struct Dialer {
    tunnels: Rc<Tunnels>,
}

/// Why there is no connection. Nothing was sent in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The system refused, or the endpoint did.
    #[error("connecting to {address} failed")]
    Tcp {
        /// Where to.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The time allowed passed.
    #[error("connecting to {0} took too long")]
    Timeout(SocketAddr),
    /// The endpoint needs a tunnel and this workload has no certificate yet.
    #[error("no identity yet, and the endpoint is reached by its tunnel only")]
    NoIdentity,
    /// The tunnel did not open.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
}

impl ConnectError {
    /// Nothing of the exchange reached the app. Always true.
    pub fn is_unsent(&self) -> bool {
        true
    }
}

impl Dialer {
    /// Dials through `tunnels`.
    pub fn new(tunnels: Rc<Tunnels>) -> Self {
        Self { tunnels }
    }

    /// The worker's tunnels.
    pub fn tunnels(&self) -> &Rc<Tunnels> {
        &self.tunnels
    }

    /// Connects to `endpoint` as its transport says.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn dial(
        &self,
        endpoint: &Endpoint,
        credentials: Option<&Arc<Credentials>>,
        hint: Option<Hint>,
        timeout: Duration,
    ) -> Result<Stream, ConnectError> {
        match &endpoint.transport {
            Transport::Plain => self.dial_plain(endpoint.address, timeout).await,
            Transport::Hbone { identity, port } => {
                let target = Target {
                    credentials: credentials.ok_or(ConnectError::NoIdentity)?,
                    expected: identity,
                    address: SocketAddr::new(endpoint.ip(), port.number()),
                    authority: endpoint.address,
                    hint,
                };
                Ok(Stream::Tunnel(self.tunnels.open(&target, timeout).await?))
            }
        }
    }

    /// Connects to an address by plain TCP: the local app, or an endpoint outside the mesh.
    ///
    /// # Errors
    /// [`ConnectError::Tcp`] and [`ConnectError::Timeout`].
    pub async fn dial_plain(
        &self,
        address: SocketAddr,
        timeout: Duration,
    ) -> Result<Stream, ConnectError> {
        match tokio::time::timeout(timeout, connect(address)).await {
            Ok(Ok(socket)) => Ok(Stream::Tcp(socket)),
            Ok(Err(source)) => Err(ConnectError::Tcp { address, source }),
            Err(_) => Err(ConnectError::Timeout(address)),
        }
    }
}

/// A plain connection. No limit on unacknowledged bytes, unlike between proxies: to the system an app
/// that stops reading looks the same after `TCP_USER_TIMEOUT` (measured: reset after 10 s with a full
/// window), and an app that does so holds its callers back, it does not lose them.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    tune(&socket)?;
    Ok(socket)
}

/// Settings of every socket to an app: no delay, and an end some 25 s after the peer's machine is gone.
///
/// # Errors
/// The system refuses.
pub fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE[0])
        .with_interval(KEEPALIVE[1])
        .with_retries(3);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// Silence before the first probe, and between probes.
const KEEPALIVE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(5)];
