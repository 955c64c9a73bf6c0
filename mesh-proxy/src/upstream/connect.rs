//! Dials an endpoint: plain TCP or a tunnel, as its transport says. Never one for the other.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::model::backend::{Endpoint, Transport};
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

/// A plain connection. No limit on unacknowledged bytes, unlike between proxies: an app that stops
/// reading for a while holds its callers back, it does not lose them.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    socket.set_nodelay(true)?;
    socket2::SockRef::from(&socket).set_keepalive(true)?;
    Ok(socket)
}
