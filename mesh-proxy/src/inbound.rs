//! The receiving side: a peer's tunnel or plaintext connection, on its way to the local app.
//!
//! May use everything above it. The receiver's own configuration decides what is spoken on a port;
//! a peer's word is a hint at most.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
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
    if is_http(port.protocol) {
        context.give_back(reached, true);
        serve_port(context, stream, port.protocol, receiving).await;
    } else {
        opaque(context, stream, reached, &[]).await;
    }
}

/// True where the first bytes decide or HTTP/1.1 is declared; other protocols go through as bytes.
fn is_http(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Http | Protocol::Detect)
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
    if is_http(accepts.protocol) {
        serve_port(context, stream, accepts.protocol, receiving).await;
    } else if let Ok(reached) = context.reach_app(&receiving.backend).await {
        opaque(context, stream, reached, &[]).await;
    }
}

/// HTTP goes through exchanges; on an undeclared port anything else goes through as bytes.
async fn serve_port<T>(
    context: &Rc<Context>,
    mut stream: T,
    protocol: Protocol,
    receiving: Receiving,
) where
    T: AsyncRead + AsyncWrite + Reset + Unpin,
{
    let mut first = BytesMut::new();
    if protocol == Protocol::Detect
        && detect::protocol(&mut stream, &mut first).await != Spoken::Http1
    {
        if let Ok(reached) = context.reach_app(&receiving.backend).await {
            opaque(context, stream, reached, &first).await;
        }
        return;
    }
    let connection = Connection::with_read(stream, first);
    // A CONNECT is refused there: only the forward proxy hands over.
    drop(exchange::serve(context, connection, &Scope::Receiving(receiving)).await);
}

async fn opaque<T>(context: &Rc<Context>, downstream: T, upstream: Reached, first: &[u8])
where
    T: AsyncRead + AsyncWrite + Reset + Unpin,
{
    let drain = context.shared.drain.clone();
    let carried = tcp::forward(downstream, upstream.into_stream(), first, drain).await;
    tracing::debug!(?carried, "opaque connection ended");
}

fn find_port(entry: &Inbound, port: u16) -> Option<&InboundPort> {
    entry.ports.iter().find(|known| known.port.number() == port)
}
