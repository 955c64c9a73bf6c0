//! The receiving side: a peer's tunnel or plaintext connection, on its way to the local app.
//!
//! May use everything above it. The receiver's own configuration decides what is spoken on a port;
//! a peer's word is a hint at most.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::StatusCode;
use mesh_api::decide::refusal::{INBOUND, mesh_error_value};
use mesh_api::decide::version::{self, HttpVersion};
use mesh_api::model::policy::MutualTls;
use mesh_api::name::{Identity, ObjectName, Port};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::buffer::Fill;
use crate::capture;
use crate::context::{Context, Reached};
use crate::detect::{self, Spoken};
use crate::error::Kind;
use crate::exchange::{self, Receiving, Scope, mesh_error};
use crate::h1::Connection;
use crate::tcp::{self, Facts, Passage};
use crate::telemetry::Direction;
use crate::tunnel::server::ConnectRequest;
use crate::tunnel::{self, Hint};
use crate::upstream::Reset;

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
    let mut drain = context.shared.drain_of(Direction::Inbound);
    let handler = |request: ConnectRequest| {
        let (context, workload) = (Rc::clone(context), workload.clone());
        async move { connect(&context, request, peer_address, &workload).await }
    };
    tracing::debug!(%peer_address, %peer, "tunnel open");
    let draining = async move { drain.draining().await };
    if let Err(error) = tunnel::server::serve(stream, peer, draining, handler).await {
        tracing::debug!(%peer_address, %error, "tunnel broken");
    }
}

/// One CONNECT: checks that it is for this workload, reaches the app, then carries what follows.
async fn connect(
    context: &Rc<Context>,
    request: ConnectRequest,
    peer_address: SocketAddr,
    workload: &ObjectName,
) {
    let snapshot = context.snapshot();
    let entry = snapshot.inbound.get(workload);
    let own = request.authority.ip();
    let port = entry
        .filter(|entry| entry.addresses.contains(&own))
        .and_then(|entry| entry.port(Port::new(request.authority.port())?));
    let (Some(entry), Some(port)) = (entry, port) else {
        return request.refuse(
            StatusCode::NOT_FOUND,
            Some(&mesh_error("inbound", Kind::NotHere)),
        );
    };
    let peer = Some(Identity::clone(&request.peer));
    if let Err(denial) = context.authorise(entry, port.port, peer.as_ref()) {
        context.refuse_connection(Direction::Inbound, Kind::Denied.reason(), peer_address);
        let policy = denial.policy().to_string();
        let said = mesh_error_value(INBOUND, Kind::Denied.reason(), Some(&policy));
        return request.refuse(StatusCode::FORBIDDEN, Some(&said));
    }
    if context.admit(workload, port.port).is_err() {
        context.refuse_connection(Direction::Inbound, Kind::RateLimited.reason(), peer_address);
        let said = mesh_error("inbound", Kind::RateLimited);
        return request.refuse(StatusCode::TOO_MANY_REQUESTS, Some(&said));
    }
    let peer = (peer, peer_address.ip());
    let receiving = Receiving::new(context, entry, (own, port.port), peer);
    let hint = request
        .hint()
        .filter(|hint| !port.has_http_policy || is_http(*hint));
    let spoken =
        Spoken::declared(port.protocol).or_else(|| hint.map(|hint| detect::hinted(context, hint)));
    // Answered only once the app is there: a peer takes any other answer as unsent.
    let reached = if spoken == Some(Spoken::Http1) {
        context.reach_app(&receiving.backend).await
    } else {
        let group = context.group(&receiving.backend);
        context.reach_opaque(&group, 0, Hint::Tcp).await
    };
    let reached = match reached {
        Ok(reached) => reached,
        Err(error) => {
            let said = mesh_error("inbound", error.kind);
            return request.refuse(StatusCode::SERVICE_UNAVAILABLE, Some(&said));
        }
    };
    let Ok(stream) = request.accept() else { return };
    serve_port(context, stream, spoken, receiving, Some(reached)).await;
}

/// True for a hint that what follows is read as requests.
fn is_http(hint: Hint) -> bool {
    matches!(hint, Hint::Http | Hint::Http2)
}

/// Serves a plaintext connection that the system redirected here on its way to the local app.
pub async fn serve_captured(
    context: &Rc<Context>,
    stream: TcpStream,
    peer_address: SocketAddr,
    workload: &ObjectName,
) {
    let original = capture::original_destination(&stream).ok();
    let original = original.and_then(|to| Some((to.ip(), Port::new(to.port())?)));
    let Some(to) = original else {
        stream.reset();
        let reason = Kind::NotHere.reason();
        return context.refuse_connection(Direction::Inbound, reason, peer_address);
    };
    serve_plain(context, stream, peer_address, workload, to).await;
}

/// Serves a plaintext connection to a port of `workload`, as its mutual TLS mode allows.
pub async fn serve_plain(
    context: &Rc<Context>,
    mut stream: TcpStream,
    peer_address: SocketAddr,
    workload: &ObjectName,
    (own, port): (IpAddr, Port),
) {
    let snapshot = context.snapshot();
    let entry = snapshot.inbound.get(workload);
    let accepts = entry.and_then(|entry| Some((entry, entry.port(port)?)));
    let Some((entry, accepts)) = accepts else {
        stream.reset();
        let reason = Kind::NotHere.reason();
        return context.refuse_connection(Direction::Inbound, reason, peer_address);
    };
    if accepts.mutual_tls.value == MutualTls::Strict {
        let mut first = BytesMut::new();
        let spoken = detect::protocol(context, Direction::Inbound, &mut stream, &mut first).await;
        context.refuse_connection(Direction::Inbound, Kind::TlsRequired.reason(), peer_address);
        return exchange::refuse_plaintext(stream, spoken == Spoken::Http1).await;
    }
    if context.authorise(entry, port, None).is_err() {
        stream.reset();
        let reason = Kind::Denied.reason();
        return context.refuse_connection(Direction::Inbound, reason, peer_address);
    }
    if context.admit(workload, port).is_err() {
        stream.reset();
        let reason = Kind::RateLimited.reason();
        return context.refuse_connection(Direction::Inbound, reason, peer_address);
    }
    let peer = (None, peer_address.ip());
    let receiving = Receiving::new(context, entry, (own, port), peer);
    let spoken = Spoken::declared(accepts.protocol);
    serve_port(context, stream, spoken, receiving, None).await;
}

/// HTTP goes through exchanges, anything else through as bytes; `None`: the first ones tell.
/// `reached` is the app, where it had to be connected before.
async fn serve_port<T>(
    context: &Rc<Context>,
    mut stream: T,
    spoken: Option<Spoken>,
    receiving: Receiving,
    reached: Option<Reached>,
) where
    T: Fill + AsyncWrite + Reset,
{
    let started = Instant::now();
    let mut first = BytesMut::new();
    let mut reached = reached;
    let spoken = match spoken {
        Some(told @ (Spoken::Http1 | Spoken::Http2)) => {
            // Nothing is held for a peer that says nothing.
            keep(context, &receiving, told, reached.take()).await;
            detect::version(context, receiving.protocol, &mut stream, &mut first).await
        }
        Some(spoken) => spoken,
        None => detect::protocol(context, Direction::Inbound, &mut stream, &mut first).await,
    };
    let stream = match spoken {
        Spoken::Http1 | Spoken::Http2 => {
            keep(context, &receiving, spoken, reached).await;
            let serving = serve_http(context, (stream, first), spoken, receiving);
            return Box::pin(serving).await;
        }
        Spoken::Tls | Spoken::Opaque => stream,
    };
    let name = receiving.backend.name.clone();
    let mut facts = Facts::new(Direction::Inbound, name, spoken.hint());
    facts.started = started;
    facts.peer.clone_from(&receiving.peer);
    let passage = Passage {
        downstream: stream,
        first,
        facts,
    };
    if receiving.protocol.is_http() {
        let stream = passage.downstream;
        return Box::pin(exchange::refuse_preface(
            context,
            stream,
            Direction::Inbound,
        ))
        .await;
    }
    if receiving.has_http_policy() {
        // Where requests are read, bytes that are none are no way around it.
        let reason = Kind::UnsupportedProtocol.reason();
        return tcp::refuse(context, passage.downstream, &passage.facts, reason);
    }
    match reached {
        Some(reached) => Box::pin(tcp::carry(context, reached, 1, passage)).await,
        None => Box::pin(tcp::connect(context, &receiving.backend, None, passage)).await,
    }
}

/// Keeps a connection that was made to the app before, for what will be spoken to it.
async fn keep(context: &Context, receiving: &Receiving, spoken: Spoken, reached: Option<Reached>) {
    let Some(reached) = reached else { return };
    match version::app(receiving.protocol, received(spoken)) {
        HttpVersion::Http1 => context.give_back(reached, true),
        HttpVersion::Http2 => context.share(reached).await,
    }
}

fn received(spoken: Spoken) -> HttpVersion {
    match spoken {
        Spoken::Http2 => HttpVersion::Http2,
        Spoken::Http1 | Spoken::Tls | Spoken::Opaque => HttpVersion::Http1,
    }
}

/// Exchanges in the version that the peer speaks.
async fn serve_http<T>(
    context: &Rc<Context>,
    (stream, first): (T, BytesMut),
    spoken: Spoken,
    receiving: Receiving,
) where
    T: Fill + AsyncWrite + Reset,
{
    let scope = Scope::Receiving(receiving);
    match received(spoken) {
        HttpVersion::Http2 => {
            Box::pin(exchange::serve_http2(context, stream, first, scope)).await;
        }
        HttpVersion::Http1 => {
            let mut connection = Connection::with_read(stream, first);
            let served = Box::pin(exchange::serve(context, &mut connection, &scope)).await;
            // A CONNECT was refused there: only the forward proxy hands over.
            served.end(connection);
        }
    }
}
