//! HBONE: HTTP/2 CONNECT streams over mutual TLS 1.3, each carrying one TCP connection's bytes.
//!
//! [`client`] keeps pooled connections per worker, [`server`] accepts them, [`stream`] is one
//! tunnelled connection, [`socket`] what all of a peer's go over. What ztunnel speaks, plus one optional header of ours. May use `identity` and `h2`.

pub mod client;
mod connection;
mod mux;
pub mod server;
pub mod socket;
pub mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::name::Identity;

use crate::h2::Windows;

pub use self::client::{Target, Tunnels};
pub use self::server::{ConnectRequest, handshake, serve};
pub use self::stream::TunnelStream;

/// What the stream carries, by the sender's account: a hint, the receiver's config decides.
pub const PROTOCOL_HEADER: &str = "mesh-protocol";
/// Why the receiver's mesh refused, `origin=...; reason=...; unsent`.
pub const ERROR_HEADER: &str = "mesh-error";

/// Unread bytes a peer may send.
const WINDOWS: Windows = Windows {
    stream: 1024 * 1024,
    connection: 100 * 1024 * 1024,
};
/// After this time without a stream a connection closes.
const IDLE: Duration = Duration::from_mins(5);

/// What is said to be inside a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// HTTP/1.1.
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS that the mesh does not open.
    Tls,
    /// Bytes.
    Tcp,
}

impl Hint {
    /// As the header has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        }
    }

    /// Reads the header's value; what is not known says nothing.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let known = [Self::Http, Self::Http2, Self::Tls, Self::Tcp];
        known
            .into_iter()
            .find(|hint| hint.as_str().as_bytes() == value)
    }
}

/// Why no stream was opened. Nothing was sent to the app in any of these cases.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TunnelError {
    /// The peer's tunnel port does not answer.
    #[error("connecting to the tunnel port failed")]
    Connect(#[source] Arc<io::Error>),
    /// The time allowed passed, in whichever step.
    #[error("the tunnel was not open in time")]
    ConnectTimeout,
    /// TLS or HTTP/2 could not be agreed on.
    #[error("the handshake with the peer failed: {0}")]
    Handshake(String),
    /// The peer is someone else.
    #[error("the peer is not {expected}")]
    WrongIdentity {
        /// Who was called.
        expected: Box<Identity>,
        /// Who answered; `None` for a certificate without an identity.
        presented: Option<Box<Identity>>,
    },
    /// The peer answered the CONNECT with something else than 200.
    #[error("the peer refused the connection with {status}")]
    Refused {
        /// Its status.
        status: u16,
        /// The peer's mesh says so too.
        unsent: bool,
        /// Its `mesh-error`, at most 1 KiB.
        reason: Option<String>,
    },
    /// The connection broke before the answer.
    #[error("the tunnel closed before the peer answered")]
    Closed,
}

impl TunnelError {
    /// Nothing of what the caller has to send reached the app: a CONNECT not answered with 200
    /// carried no data. Always true.
    pub fn is_unsent(&self) -> bool {
        true
    }
}

/// Settings of every socket between proxies: no delay, and an end after 10 s without an
/// acknowledgement.
///
/// # Errors
/// The system refuses.
pub fn tune(socket: &tokio::net::TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(socket).set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

/// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`).
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// A socket that connects with [`tune`]d settings.
///
/// # Errors
/// As `connect(2)`.
pub async fn connect(address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
    let socket = tokio::net::TcpStream::connect(address).await?;
    tune(&socket)?;
    Ok(socket)
}
