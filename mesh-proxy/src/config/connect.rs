//! A connection to the control plane: TCP, then TLS 1.3 by our own settings, under the gRPC client.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower_service::Service;

use crate::config::generated::control_client::ControlClient;
use crate::identity::{ControlTrust, IdentityCell, IdentityError, RootHash, control_client_config};

/// Time to connect, handshakes included.
const CONNECT: Duration = Duration::from_secs(3);
/// Time between PINGs, and to the answer of one.
const PING: Duration = Duration::from_secs(5);
/// Largest message taken: a batch of many entries.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// What vouches for both ends of a connection.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// The current certificate and its roots.
    Own(IdentityCell),
    /// Roots of which we know the hash; we have no certificate yet.
    Pinned(Vec<RootHash>),
}

/// The control plane was not reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0:?} is not the address of a control plane")]
    Address(String),
    #[error("{}", chain(.0))]
    Transport(#[from] tonic::transport::Error),
}

/// Connects; the channel reconnects by itself with what `trust` is then.
pub(super) async fn connect(address: &str, trust: Trust) -> Result<Channel, ConnectError> {
    let bad = || ConnectError::Address(address.to_owned());
    // The scheme stays "http": TLS is ours, and the client must not ask for its own.
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| bad())?;
    let connector = Connector {
        address: Arc::from(address),
        trust,
    };
    let endpoint = endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_with_connector(connector).await?)
}

/// The calls over `channel`.
pub(super) fn client(channel: Channel) -> ControlClient<Channel> {
    ControlClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

/// An error with its causes, as one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[derive(Clone, Debug)]
struct Connector {
    address: Arc<str>,
    trust: Trust,
}

impl Connector {
    fn settings(&self) -> Result<ClientConfig, IdentityError> {
        match &self.trust {
            Trust::Pinned(hashes) => {
                control_client_config(&ControlTrust::Pinned(hashes.clone()), None)
            }
            Trust::Own(cell) => {
                let own = cell.current().ok_or(IdentityError::NoIdentity)?;
                let trust = ControlTrust::Roots {
                    roots: own.roots().to_vec(),
                    trust_domain: own.identity().trust_domain.clone(),
                };
                control_client_config(&trust, Some(&own))
            }
        }
    }

    async fn dial(self) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let settings = self.settings().map_err(io::Error::other)?;
        let stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        // The name is not looked at: the control plane is told by its SPIFFE ID.
        let name = ServerName::IpAddress(stream.peer_addr()?.ip().into());
        let stream = TlsConnector::from(Arc::new(settings)).connect(name, stream);
        Ok(TokioIo::new(stream.await?))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        Box::pin(self.clone().dial())
    }
}
