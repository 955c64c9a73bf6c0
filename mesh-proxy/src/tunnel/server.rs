//! The receiving end: CONNECT streams of one peer, each handed to a handler.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use mesh_api::name::Identity;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{ERROR_HEADER, Hint, PROTOCOL_HEADER, TunnelStream, WINDOWS, tune};
use crate::h2::{FRAME_SIZE, HEADER_LIST, RESET_STREAMS, SEND_BUFFER, SMALL_FRAMES, keepalive};
use crate::identity::peer_identity;

/// Time allowed to a peer's HTTP/2 preface and settings.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Streams a peer may have open on one connection.
const MAX_STREAMS: u32 = 200;

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
    receive: RecvStream,
    respond: SendResponse<Bytes>,
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
    pub fn accept(mut self) -> io::Result<TunnelStream> {
        let sent = self.respond.send_response(Response::new(()), false);
        let send = sent.map_err(|error| io::Error::new(io::ErrorKind::ConnectionReset, error))?;
        Ok(TunnelStream::new(send, self.receive, self.peer, None))
    }

    /// Answers `status`, with a `mesh-error` where the mesh itself refuses.
    pub fn refuse(mut self, status: StatusCode, mesh_error: Option<&str>) {
        refuse(&mut self.respond, status, mesh_error);
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
) -> io::Result<(TlsStream<TcpStream>, Identity)> {
    tune(&socket)?;
    let tls = TlsAcceptor::from(config).accept(socket).await?;
    let peer = peer_identity(tls.get_ref().1)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a peer without identity"))?;
    Ok((tls, peer))
}

/// Serves one connection until it ends: each CONNECT runs `handler`, all side by side. Once
/// `drain` is ready no new stream is taken (GOAWAY twice) and open ones finish.
///
/// Must be used within a `LocalSet`. Dropping the future breaks every stream.
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
    T: AsyncRead + AsyncWrite + Unpin,
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
    T: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = tokio::time::timeout(HANDSHAKE, settings().handshake(io)).await;
    let mut connection = handshake
        .map_err(|_| io::ErrorKind::TimedOut)?
        .map_err(broken)?;
    let mut alive = pin!(keepalive::watch(connection.ping_pong(), || {}));
    let (mut drain, mut draining) = (pin!(drain), false);
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                None => return Ok(()),
                Some(Err(error)) => return Err(broken(error)),
                Some(Ok((request, respond))) => {
                    if let Some(request) = check(request, respond, &peer) {
                        take(request);
                    }
                }
            },
            () = &mut drain, if !draining => {
                draining = true;
                connection.graceful_shutdown();
            }
            () = &mut alive => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

fn settings() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOWS.stream)
        .initial_connection_window_size(WINDOWS.connection)
        .max_frame_size(FRAME_SIZE)
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .data_frame_budget(SMALL_FRAMES);
    builder
}

/// Only CONNECT to an address and port is taken; anything else is answered 400.
fn check(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    peer: &Rc<Identity>,
) -> Option<ConnectRequest> {
    let target = request.uri().authority();
    let authority = target.and_then(|text| text.as_str().parse::<SocketAddr>().ok());
    match authority {
        Some(authority) if request.method() == Method::CONNECT => {
            let (parts, receive) = request.into_parts();
            Some(ConnectRequest {
                authority,
                peer: peer.clone(),
                headers: parts.headers,
                receive,
                respond,
            })
        }
        _ => {
            let reason = "origin=inbound; reason=bad-tunnel-request; unsent";
            refuse(&mut respond, StatusCode::BAD_REQUEST, Some(reason));
            None
        }
    }
}

fn refuse(respond: &mut SendResponse<Bytes>, status: StatusCode, mesh_error: Option<&str>) {
    let mut response = Response::new(());
    *response.status_mut() = status;
    if let Some(value) = mesh_error.and_then(|text| HeaderValue::from_str(text).ok()) {
        response.headers_mut().insert(ERROR_HEADER, value);
    }
    if let Err(error) = respond.send_response(response, true) {
        tracing::debug!(%error, "a refusal did not reach the peer");
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a stream's handler failed");
    }
}

fn broken(error: h2::Error) -> io::Error {
    error
        .into_io()
        .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
}
