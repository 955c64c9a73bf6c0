//! The receiving end: CONNECT streams of one peer, each handed to a handler.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use mesh_api::name::Identity;
use rustls::ServerConfig;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::mux::{self, Driver, Head, Role, State};
use super::socket::Socket;
use super::stream::Handle;
use super::{ERROR_HEADER, Hint, PROTOCOL_HEADER, TunnelStream, tune};
use crate::identity::peer_identity;

/// Time allowed to a peer's HTTP/2 preface and settings.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A CONNECT that waits for its answer. Dropping it resets the stream.
#[derive(Debug)]
pub struct ConnectRequest {
    /// Where the peer wants to go: an address and a port. Whether that is this workload is for
    /// the handler to check.
    pub authority: SocketAddr,
    /// Who asks, by its certificate.
    pub peer: Rc<Identity>,
    /// Its header fields: `mesh-protocol`, and what ztunnel and waypoints send.
    pub headers: HeaderMap,
    handle: Handle,
}

impl ConnectRequest {
    /// What the peer says is inside.
    pub fn hint(&self) -> Option<Hint> {
        Hint::parse(self.headers.get(PROTOCOL_HEADER)?.as_bytes())
    }

    /// Answers 200: to be called once the app is connected.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn accept(self) -> io::Result<TunnelStream> {
        self.handle.answer(&mux::answer(200, None), false)?;
        Ok(TunnelStream::new(self.handle, self.peer))
    }

    /// Answers `status`, with a `mesh-error` where the mesh itself refuses.
    pub fn refuse(self, status: StatusCode, mesh_error: Option<&str>) {
        refuse(&self.handle, status, mesh_error);
    }
}

/// Ends the TLS handshake of an accepted socket, and reads who the peer is. The caller limits its
/// time (10 s).
///
/// # Errors
/// A peer that does not speak TLS 1.3, or is not of the mesh.
pub async fn handshake(
    socket: TcpStream,
    config: Arc<ServerConfig>,
) -> io::Result<(TlsStream<Socket>, Identity)> {
    tune(&socket)?;
    let tls = TlsAcceptor::from(config)
        .accept(Socket::from(socket))
        .await?;
    let peer = peer_identity(tls.get_ref().1)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a peer without identity"))?;
    Ok((tls, peer))
}

/// Serves one connection until it ends: each CONNECT runs `handler`, all side by side. Once
/// `drain` is ready no new stream is taken (GOAWAY twice) and open ones finish.
///
/// Must be used where tasks stay on their thread (`spawn_local`). Dropping the future breaks every
/// stream.
///
/// # Errors
/// The connection broke, or the peer broke the protocol. Its handlers have ended by then.
pub async fn serve<T, H, F>(
    io: T,
    peer: Identity,
    drain: impl Future<Output = ()>,
    handler: H,
) -> io::Result<()>
where
    T: AsyncBufRead + AsyncWrite + Unpin,
    H: Fn(ConnectRequest) -> F,
    F: Future<Output = ()> + 'static,
{
    let mut handlers = JoinSet::new();
    let served = accept(io, Rc::new(peer), drain, |request| {
        handlers.spawn_local(handler(request));
        while let Some(ended) = handlers.try_join_next() {
            report(ended);
        }
    })
    .await;
    // The connection is gone: what handlers still hold fails, so they end by themselves.
    while let Some(ended) = handlers.join_next().await {
        report(ended);
    }
    served
}

async fn accept<T>(
    io: T,
    peer: Rc<Identity>,
    drain: impl Future<Output = ()>,
    mut take: impl FnMut(ConnectRequest),
) -> io::Result<()>
where
    T: AsyncBufRead + AsyncWrite + Unpin,
{
    let state = Rc::new(RefCell::new(State::new(Role::Receiver)));
    let mut driver = Driver::new(io, Rc::clone(&state));
    let (mut begins, mut beginning) = (pin!(sleep(HANDSHAKE)), true);
    let (mut drain, mut draining) = (pin!(drain), false);
    loop {
        tokio::select! {
            next = driver.next(|| false) => match next? {
                None => return Ok(()),
                Some((id, head)) => {
                    let handle = Handle::new(Rc::clone(&state), id, None);
                    if let Some(request) = check(handle, head, &peer) {
                        take(request);
                    }
                }
            },
            () = &mut drain, if !draining => {
                draining = true;
                state.borrow_mut().leave();
            }
            () = &mut begins, if beginning => {
                beginning = false;
                if !state.borrow().has_begun() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }
}

/// Only CONNECT to an address and port is taken; anything else is answered 400.
fn check(handle: Handle, head: Head, peer: &Rc<Identity>) -> Option<ConnectRequest> {
    let target = head.authority.as_deref();
    let authority = target
        .and_then(|text| std::str::from_utf8(text).ok())
        .and_then(|text| text.parse::<SocketAddr>().ok());
    match authority {
        Some(authority) if head.is_connect() => Some(ConnectRequest {
            authority,
            peer: Rc::clone(peer),
            headers: head.headers,
            handle,
        }),
        _ => {
            let reason = "origin=inbound; reason=bad-tunnel-request; unsent";
            refuse(&handle, StatusCode::BAD_REQUEST, Some(reason));
            None
        }
    }
}

fn refuse(handle: &Handle, status: StatusCode, mesh_error: Option<&str>) {
    let reason = mesh_error.map(|text| (ERROR_HEADER, text));
    if let Err(error) = handle.answer(&mux::answer(status.as_u16(), reason), true) {
        tracing::debug!(%error, "a refusal did not reach the peer");
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a stream's handler failed");
    }
}
