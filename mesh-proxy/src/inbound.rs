//! The receiving side: a peer's tunnel or plaintext connection, on its way to the local app.
//!
//! May use everything above it. The receiver's own configuration decides what is spoken on a port;
//! a peer's word is a hint at most.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use mesh_api::decide::version::{self, HttpVersion};
use mesh_api::model::destination::Protocol;
use mesh_api::model::inbound::{Inbound, InboundPort};
use mesh_api::model::policy::MutualTls;
use mesh_api::name::{Identity, ObjectName, Port};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::context::{Context, Reached};
use crate::detect::{self, Spoken};
use crate::error::Kind;
use crate::exchange::{self, Receiving, Scope, mesh_error};
use crate::h1::Connection;
use crate::telemetry::Direction;
use crate::tunnel::server::ConnectRequest;
use crate::upstream::Reset;
use crate::{tcp, tunnel};

/// Time allowed to a peer's TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serves a connection to the tunnel port of `workload`.
pub async fn serve_tunnel(
    context: &Rc<Context>,
    stream: TcpStream,
    peer_address: SocketAddr,
    workload: &ObjectName,
) {
    let Some(settings) = context.tunnel_server() else {
        return context.refuse_connection(Direction::Inbound, "no-certificate", peer_address);
    };
    let handshake = tunnel::server::handshake(stream, settings);
    let (stream, peer) = match tokio::time::timeout(HANDSHAKE, Box::pin(handshake)).await {
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => return context.handshake_failed(peer_address, "refused", &error),
        Err(_) => return context.handshake_failed(peer_address, "timeout", &"over 10 s"),
    };
    let mut drain = context.shared.drain.clone();
    let handler = |request: ConnectRequest| {
        let (context, workload) = (Rc::clone(context), workload.clone());
        async move { connect(&context, request, &workload).await }
    };
    tracing::debug!(%peer_address, %peer, "tunnel open");
    let draining = async move { drain.draining().await };
    if let Err(error) = tunnel::server::serve(stream, peer, draining, handler).await {
        tracing::debug!(%peer_address, %error, "tunnel broken");
    }
}

/// One CONNECT: checks that it is for this workload, reaches the app, then carries what follows.
async fn connect(context: &Rc<Context>, request: ConnectRequest, workload: &ObjectName) {
    let snapshot = context.snapshot();
    let entry = snapshot.inbound.get(workload);
    let port = entry
        .filter(|entry| entry.address == request.authority.ip())
        .and_then(|entry| find_port(entry, request.authority.port()));
    let (Some(entry), Some(port)) = (entry, port) else {
        return request.refuse(
            StatusCode::NOT_FOUND,
            Some(&mesh_error("inbound", Kind::NotHere)),
        );
    };
    let peer = Some(Identity::clone(&request.peer));
    let receiving = Receiving::new(context, entry, port.port, peer);
    // Answered only once the app is there: a peer takes any other answer as unsent.
    let reached = match context.reach_app(&receiving.backend).await {
        Ok(reached) => reached,
        Err(error) => {
            let said = mesh_error("inbound", error.kind);
            return request.refuse(StatusCode::SERVICE_UNAVAILABLE, Some(&said));
        }
    };
    let Ok(stream) = request.accept() else { return };
    serve_port(context, stream, receiving, Some(reached)).await;
}

/// Serves a plaintext connection to `port` of `workload`, as its mutual TLS mode allows.
pub async fn serve_plain(
    context: &Rc<Context>,
    mut stream: TcpStream,
    peer_address: SocketAddr,
    workload: &ObjectName,
    port: Port,
) {
    let snapshot = context.snapshot();
    let Some(entry) = snapshot.inbound.get(workload) else {
        return;
    };
    let Some(accepts) = find_port(entry, port.number()) else {
        return;
    };
    let receiving = Receiving::new(context, entry, port, None);
    if accepts.mutual_tls.value == MutualTls::Strict {
        let mut first = BytesMut::new();
        let spoken = detect::protocol(&mut stream, &mut first).await;
        context.refuse_connection(Direction::Inbound, Kind::TlsRequired.reason(), peer_address);
        return exchange::refuse_plaintext(stream, spoken == Spoken::Http1).await;
    }
    serve_port(context, stream, receiving, None).await;
}

/// HTTP goes through exchanges; on a port that does not declare it anything else goes through as
/// bytes. `reached` is the app's connection, where one was made already.
async fn serve_port<T>(
    context: &Rc<Context>,
    mut stream: T,
    receiving: Receiving,
    reached: Option<Reached>,
) where
    T: AsyncRead + AsyncWrite + Reset + Unpin,
{
    let mut first = BytesMut::new();
    let spoken = match receiving.protocol {
        Protocol::Http => detect::http(&mut stream, &mut first).await,
        Protocol::Http2 | Protocol::Grpc => detect::http2(&mut stream, &mut first).await,
        Protocol::Detect => detect::protocol(&mut stream, &mut first).await,
        Protocol::Tls | Protocol::Tcp => Spoken::Opaque,
    };
    if matches!(spoken, Spoken::Tls | Spoken::Opaque) {
        if receiving.protocol.is_http() {
            // What is declared to be HTTP and is not never reaches the app.
            return stream.reset();
        }
        let reached = match reached {
            Some(reached) => Ok(reached),
            None => context.reach_app(&receiving.backend).await,
        };
        if let Ok(reached) = reached {
            opaque(context, stream, reached, &first).await;
        }
        return;
    }
    let received = match spoken {
        Spoken::Http2 => HttpVersion::Http2,
        Spoken::Http1 | Spoken::Tls | Spoken::Opaque => HttpVersion::Http1,
    };
    if let Some(reached) = reached {
        match version::app(receiving.protocol, received) {
            HttpVersion::Http1 => context.give_back(reached, true),
            HttpVersion::Http2 => context.share(reached).await,
        }
    }
    let scope = Scope::Receiving(receiving);
    match received {
        HttpVersion::Http2 => exchange::serve_http2(context, stream, first, scope).await,
        HttpVersion::Http1 => {
            let connection = Connection::with_read(stream, first);
            // A CONNECT is refused there: only the forward proxy hands over.
            drop(exchange::serve(context, connection, &scope).await);
        }
    }
}

async fn opaque<T>(context: &Rc<Context>, downstream: T, upstream: Reached, first: &[u8])
where
    T: AsyncRead + AsyncWrite + Reset + Unpin,
{
    let drain = context.shared.drain.clone();
    let Some(upstream) = upstream.into_stream() else {
        return;
    };
    let carried = tcp::forward(downstream, upstream, first, drain).await;
    tracing::debug!(?carried, "opaque connection ended");
}

fn find_port(entry: &Inbound, port: u16) -> Option<&InboundPort> {
    entry.ports.iter().find(|known| known.port.number() == port)
}
