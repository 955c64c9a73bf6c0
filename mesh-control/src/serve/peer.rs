//! Connections of proxies: TLS, and who is at the other end. May use `error`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh_api::name::Identity;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// Who called, as its certificate says; attached to each request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The identity of its verified certificate, if it showed one.
    pub certified: Option<Certified>,
    /// Where it called from.
    pub address: SocketAddr,
}

/// A verified certificate's content.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Its one URI name.
    pub identity: Identity,
    /// When it ends.
    pub not_after: SystemTime,
}

impl Peer {
    /// Reads the verified certificate of a connection; a name that is no identity counts as none.
    fn of(stream: &TlsStream<TcpStream>, address: SocketAddr) -> Self {
        let certified = stream
            .get_ref()
            .1
            .peer_certificates()
            .and_then(|chain| chain.first())
            .and_then(|leaf| read_certificate(leaf));
        Self { certified, address }
    }
}

/// Identity and end of a leaf with exactly one URI name.
fn read_certificate(leaf: &[u8]) -> Option<Certified> {
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let names = leaf.subject_alternative_name().ok()??;
    let [x509_parser::extensions::GeneralName::URI(uri)] = names.value.general_names.as_slice()
    else {
        return None;
    };
    let end = u64::try_from(leaf.validity().not_after.timestamp()).ok()?;
    Some(Certified {
        identity: uri.parse().ok()?,
        not_after: UNIX_EPOCH + Duration::from_secs(end),
    })
}

/// One TLS connection, with its peer.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    /// When a connection without a certificate closes: it is there to join, which is one call.
    closes: Option<Pin<Box<Sleep>>>,
    /// Its place among the connections allowed; given back when it closes.
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Connection {
    /// Wraps a stream whose handshake is done.
    pub fn new(
        stream: TlsStream<TcpStream>,
        address: SocketAddr,
        place: tokio::sync::OwnedSemaphorePermit,
    ) -> Self {
        let peer = Peer::of(&stream, address);
        Self {
            stream,
            closes: peer
                .certified
                .is_none()
                .then(|| Box::pin(tokio::time::sleep(JOIN_TIME))),
            peer,
            _place: place,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(closes) = &mut self.closes
            && closes.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How long a connection without a certificate may stay.
const JOIN_TIME: Duration = Duration::from_secs(30);
