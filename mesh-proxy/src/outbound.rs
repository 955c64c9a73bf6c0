//! The calling side: the local workload's connections, on their way to a destination.
//!
//! May use everything above it. An explicit listener names its destination; the forward proxy takes
//! it from each request's host, and a captured connection has it from its address.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mesh_api::decide::Step;
use mesh_api::decide::connection::{self, ConnectionDecision, ConnectionFacts};
use mesh_api::decide::destination::{self, Dialled};
use mesh_api::explain::Silent;
use mesh_api::model::connection::ConnectionRouteKind;
use mesh_api::model::destination::Protocol;
use mesh_api::model::policy::DEFAULTS;
use mesh_api::name::DestinationName;
use mesh_api::snapshot::{ConnectionTable, DestinationTable, Known};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::buffer::Fill;
use crate::capture;
use crate::context::Context;
use crate::detect::{self, Greeting, Spoken};
use crate::error::{Error, Kind};
use crate::exchange::{self, Scope};
use crate::h1::Connection;
use crate::tcp::{self, Facts, Passage};
use crate::telemetry::Direction;
use crate::tunnel::Hint;
use crate::upstream::Reset;

/// Time allowed to a client's first message where its port declares TLS.
const HELLO_WAIT: Duration = Duration::from_secs(10);

/// What is left of a connection once it is known what it speaks. An idle one holds this alone, and no room
/// for what led to it.
pub type Rest<'c> = Pin<Box<dyn Future<Output = ()> + 'c>>;

/// Serves a connection to an explicit listener of `name`.
pub async fn serve(
    context: &Rc<Context>,
    stream: TcpStream,
    name: DestinationName,
) -> Option<Rest<'_>> {
    serve_stream(context, stream, BytesMut::new(), name).await
}

/// Serves a connection to the HTTP forward proxy. After a CONNECT, what follows is handled as if
/// the app had dialled the authority itself.
pub async fn serve_forward_proxy(context: &Rc<Context>, stream: TcpStream) -> Option<Rest<'_>> {
    let mut connection = Connection::new(stream);
    let serving = exchange::serve(context, &mut connection, &Scope::ForwardProxy);
    let served = Box::pin(serving).await;
    let (mut downstream, authority) = served.end(connection)?;
    let host_and_port = authority.rsplit_once(':');
    let name = host_and_port.and_then(|(host, port)| {
        context
            .shared
            .config
            .destination_of(host, port.parse().ok()?)
    });
    let Some(name) = name else {
        exchange::refuse_connect(downstream, Kind::UnknownDestination).await;
        return None;
    };
    downstream.queue(b"HTTP/1.1 200 OK\r\n\r\n");
    downstream.flush().await.ok()?;
    let (stream, first) = downstream.into_inner();
    serve_stream(context, stream, first, name).await
}

/// Serves a connection of the workload that the system redirected here.
pub async fn serve_captured(
    context: &Rc<Context>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Rest<'_>> {
    let Ok(original) = capture::original_destination(&stream) else {
        stream.reset();
        let reason = Kind::NotHere.reason();
        context.refuse_connection(Direction::Outbound, reason, peer);
        return None;
    };
    if let Some(check) = context.shared.redirect.as_deref()
        && check.is_meant(original)
    {
        check.answer(stream).await;
        return None;
    }
    let outside = match dialled(context, original).await {
        Dialled::Service(name) => {
            return serve_stream(context, stream, BytesMut::new(), name).await;
        }
        Dialled::Outside => {
            let host = original.ip().to_string();
            context.resolve_outside(&host, original.port()).await
        }
        Dialled::Denied => Err(Error::internal(Kind::UnknownDestination)),
        Dialled::Pending => Err(Error::internal(Kind::ConfigPending)),
    };
    match outside {
        Ok(backend) => {
            let name = backend.name.clone();
            let passage = Passage {
                downstream: stream,
                first: BytesMut::new(),
                facts: Facts::new(Direction::Outbound, name, Hint::Tcp),
            };
            let carrying = async move { tcp::connect(context, &backend, None, passage).await };
            Some(Box::pin(carrying))
        }
        Err(error) => {
            let reason = error.kind.reason();
            tracing::debug!(%original, reason, "captured connection refused");
            context.refuse_connection(Direction::Outbound, reason, peer);
            stream.reset();
            None
        }
    }
}

/// What `original` means, waiting for the control plane's word where only that tells.
async fn dialled(context: &Context, original: SocketAddr) -> Dialled {
    let found = destination::dialled(&context.snapshot(), original);
    if found != Dialled::Pending {
        return found;
    }
    let config = &context.shared.config;
    let end = Instant::now() + DEFAULTS.config_wait;
    let snapshot = config.known_mesh(DEFAULTS.config_wait).await;
    let found = destination::dialled(&snapshot, original);
    if found != Dialled::Pending || snapshot.mesh.is_none() {
        return found;
    }
    let left = end.saturating_duration_since(Instant::now());
    let snapshot = config.known_address(original, left).await;
    destination::dialled(&snapshot, original)
}

/// Serves bytes that the workload sends to `name`, `first` of which were read already.
async fn serve_stream<T>(
    context: &Rc<Context>,
    mut stream: T,
    mut first: BytesMut,
    name: DestinationName,
) -> Option<Rest<'_>>
where
    T: Fill + AsyncWrite + Reset + 'static,
{
    let started = Instant::now();
    let table = Box::pin(find(context, &name)).await;
    let known = table.as_ref().ok();
    let told = Box::pin(told(context, known, &mut stream, &mut first)).await;
    match told.spoken {
        // An idle connection keeps no configuration alive.
        Spoken::Http1 => {
            let mut connection = Connection::with_read(stream, first);
            let scope = Scope::Calling(name);
            return Some(Box::pin(async move {
                let served = exchange::serve(context, &mut connection, &scope).await;
                served.end(connection);
            }));
        }
        Spoken::Http2 => {
            let scope = Scope::Calling(name);
            let serving = exchange::serve_http2(context, stream, first, scope);
            return Some(Box::pin(serving));
        }
        Spoken::Tls | Spoken::Opaque => {}
    }
    let mut facts = Facts::new(Direction::Outbound, name.clone(), told.spoken.hint());
    facts.started = started;
    facts.server_name = told.server_name;
    match table.and_then(|table| told.refusal.map_or(Ok(table), Err)) {
        Ok(table) => Some(Box::pin(async move {
            forward(context, &table, stream, first, facts).await;
        })),
        Err(Kind::UnsupportedProtocol) => {
            let refusing = exchange::refuse_preface(context, stream, Direction::Outbound);
            Some(Box::pin(refusing))
        }
        Err(kind) => {
            tcp::refuse(context, stream, &facts, kind.reason());
            None
        }
    }
}

/// The destination's table, waiting for its configuration if need be.
async fn find(context: &Context, name: &DestinationName) -> Result<Arc<DestinationTable>, Kind> {
    let config = &context.shared.config;
    let snapshot = config.known(name, DEFAULTS.config_wait).await;
    match snapshot.destinations.get(name) {
        Some(Known::Present(table)) => Ok(Arc::clone(table)),
        Some(Known::Absent) => Err(Kind::UnknownDestination),
        Some(Known::Failed(_)) => Err(Kind::BadConfiguration),
        None => Err(Kind::ConfigPending),
    }
}

/// What is known of a connection before anything is decided.
struct Told {
    spoken: Spoken,
    server_name: Option<String>,
    /// Set where it may not go on, whatever its routes say.
    refusal: Option<Kind>,
}

/// What `stream` speaks: as its port declares, or as its first bytes tell. Where whole connections are
/// routed it is not read as HTTP, and where they are by server name that is looked for.
async fn told<T: AsyncRead + Unpin>(
    context: &Context,
    table: Option<&Arc<DestinationTable>>,
    stream: &mut T,
    first: &mut BytesMut,
) -> Told {
    let spoken = |spoken| Told {
        spoken,
        server_name: None,
        refusal: None,
    };
    // Where nothing is declared because nothing is known, HTTP at least is told why.
    let declared = Spoken::declared(table.map_or(Protocol::Detect, |table| table.protocol));
    let mut routes = table.iter().flat_map(|table| &table.connections.routes);
    match routes.next().map(|table| table.route.kind) {
        None => match declared {
            Some(Spoken::Http1 | Spoken::Http2) => {
                let protocol = table.map_or(Protocol::Http, |table| table.protocol);
                let told = detect::version(context, protocol, stream, first).await;
                let is_http = matches!(told, Spoken::Http1 | Spoken::Http2);
                Told {
                    refusal: (!is_http).then_some(Kind::UnsupportedProtocol),
                    ..spoken(told)
                }
            }
            Some(declared) => spoken(declared),
            None => spoken(detect::protocol(context, Direction::Outbound, stream, first).await),
        },
        Some(ConnectionRouteKind::Tcp) => spoken(Spoken::Opaque),
        Some(ConnectionRouteKind::Tls) => {
            let greeting = if declared.is_some() {
                let hello = detect::client_hello(stream, first, HELLO_WAIT).await;
                hello.unwrap_or(Greeting::Other)
            } else {
                detect::greeting(context, Direction::Outbound, stream, first).await
            };
            match greeting {
                Greeting::Hello(server_name) => Told {
                    server_name,
                    ..spoken(Spoken::Tls)
                },
                Greeting::Other => spoken(Spoken::Opaque),
                Greeting::Malformed => Told {
                    refusal: Some(Kind::BadClientHello),
                    ..spoken(Spoken::Tls)
                },
            }
        }
    }
}

/// Decides where a connection goes that is not read as HTTP, and carries it there.
async fn forward<T>(
    context: &Rc<Context>,
    table: &DestinationTable,
    stream: T,
    first: BytesMut,
    mut facts: Facts,
) where
    T: Fill + AsyncWrite + Reset,
{
    let server_name = facts.server_name.clone();
    let known = ConnectionFacts {
        server_name: server_name.as_deref(),
    };
    let Step::Done(decision) =
        context.with_random(|random| connection::connection(table, &known, random, &mut Silent));
    let rule = |route: &Arc<ConnectionTable>| (route.route.name.clone(), 0);
    match decision {
        ConnectionDecision::Forward(forward) => {
            facts.rule = forward.route.map(rule);
            let passage = Passage {
                downstream: stream,
                first,
                facts,
            };
            let policy = Some(&forward.retry.value);
            tcp::connect(context, forward.backend, policy, passage).await;
        }
        ConnectionDecision::Refuse(refused) => {
            facts.rule = refused.route.map(rule);
            tcp::refuse(context, stream, &facts, refused.refusal.reason());
        }
    }
}
