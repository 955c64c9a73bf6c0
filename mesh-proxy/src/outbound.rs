//! The calling side: the local workload's connections, on their way to a destination.
//!
//! May use everything above it. An explicit listener names its destination; the forward proxy takes
//! it from each request's host.

use std::rc::Rc;

use bytes::BytesMut;
use mesh_api::model::destination::Protocol;
use mesh_api::model::policy::DEFAULTS;
use mesh_api::name::DestinationName;
use mesh_api::snapshot::Known;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::attempt;
use crate::context::Context;
use crate::detect::{self, Spoken};
use crate::error::Kind;
use crate::exchange::{self, Handover, Scope};
use crate::h1::Connection;
use crate::tcp;
use crate::upstream::Reset;

/// Serves a connection to an explicit listener of `name`.
pub async fn serve(context: &Rc<Context>, stream: TcpStream, name: &DestinationName) {
    serve_stream(context, stream, BytesMut::new(), name).await;
}

/// Serves a connection to the HTTP forward proxy. After a CONNECT, what follows is handled as if
/// the app had dialled the authority itself.
pub async fn serve_forward_proxy(context: &Rc<Context>, stream: TcpStream) {
    let connection = Connection::new(stream);
    let handover = exchange::serve(context, connection, &Scope::ForwardProxy).await;
    let Some(Handover {
        mut downstream,
        authority,
    }) = handover
    else {
        return;
    };
    let host_and_port = authority.rsplit_once(':');
    let name = host_and_port.and_then(|(host, port)| {
        context
            .shared
            .config
            .destination_of(host, port.parse().ok()?)
    });
    let Some(name) = name else {
        return exchange::refuse_connect(downstream, Kind::UnknownDestination).await;
    };
    downstream.queue(b"HTTP/1.1 200 OK\r\n\r\n");
    if downstream.flush().await.is_ok() {
        let (stream, first) = downstream.into_inner();
        serve_stream(context, stream, first, &name).await;
    }
}

/// Serves bytes that the workload sends to `name`, `first` of which were read already.
async fn serve_stream<T>(
    context: &Rc<Context>,
    mut stream: T,
    mut first: BytesMut,
    name: &DestinationName,
) where
    T: AsyncRead + AsyncWrite + Reset + Unpin,
{
    let snapshot = context
        .shared
        .config
        .known(name, DEFAULTS.config_wait)
        .await;
    let protocol = match snapshot.destinations.get(name) {
        Some(Known::Present(destination)) => destination.protocol,
        // Refused with a reason, which only HTTP can carry.
        _ => Protocol::Http,
    };
    let spoken = match protocol {
        Protocol::Http => detect::http(&mut stream, &mut first).await,
        Protocol::Http2 | Protocol::Grpc => detect::http2(&mut stream, &mut first).await,
        Protocol::Detect => detect::protocol(&mut stream, &mut first).await,
        Protocol::Tls | Protocol::Tcp => Spoken::Opaque,
    };
    match spoken {
        Spoken::Http1 => {
            let connection = Connection::with_read(stream, first);
            exchange::serve(context, connection, &Scope::Calling(name.clone())).await;
            return;
        }
        Spoken::Http2 => {
            let scope = Scope::Calling(name.clone());
            return exchange::serve_http2(context, stream, first, scope).await;
        }
        // What is declared to be HTTP and is not goes nowhere.
        Spoken::Tls | Spoken::Opaque if protocol.is_http() => return stream.reset(),
        Spoken::Tls | Spoken::Opaque => {}
    }
    if let Some(Known::Present(destination)) = snapshot.destinations.get(name)
        && let Some(backend) = destination.backends.first()
    {
        match attempt::connect(context, backend).await {
            Ok(connected) => {
                let drain = context.shared.drain.clone();
                let Some(upstream) = connected.into_stream() else {
                    return;
                };
                let carried = tcp::forward(stream, upstream, &first, drain).await;
                tracing::debug!(destination = %name, ?carried, "opaque connection ended");
            }
            Err(error) => tracing::debug!(destination = %name, %error, "opaque connection refused"),
        }
    }
}
