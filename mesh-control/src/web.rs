//! A small server of HTTP/1.1 for callers that are not proxies: bounded connections, heads, bodies
//! and times. May use `certificate`.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::certificate::SharedTls;

/// An answer.
pub(crate) type Answer = Response<Full<Bytes>>;

/// Why a request got no answer of its own.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) String);

/// Binds, both families where the address is `::`.
///
/// # Errors
/// An address that cannot be bound.
pub(crate) async fn bind(at: SocketAddr) -> Result<TcpListener, crate::error::Error> {
    let path = std::path::Path::new("tcp").join(at.to_string());
    let bound = match TcpListener::bind(at).await {
        // A system without IPv6.
        Err(_) if at.ip() == std::net::Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, at.port())).await
        }
        bound => bound,
    };
    bound.map_err(crate::error::Error::io("bind", &path))
}

/// Serves `answer` on `listener` until dropped, over TLS if there is any.
pub(crate) async fn serve<F, A>(listener: TcpListener, tls: Option<SharedTls>, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut running = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = listener.accept().await;
        while running.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: give some time to close.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let config = tls.as_ref().map(|shared| {
            let held = shared.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&held)
        });
        let answer = answer.clone();
        running.spawn(async move {
            if let Err(error) = connection(stream, config, answer).await {
                tracing::debug!(error, "connection");
            }
            drop(place);
        });
    }
}

async fn connection<F, A>(
    stream: TcpStream,
    config: Option<Arc<rustls::ServerConfig>>,
    answer: F,
) -> Result<(), String>
where
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    match config {
        Some(config) => {
            let handshake = TlsAcceptor::from(config).accept(stream);
            let stream = tokio::time::timeout(HANDSHAKE_TIME, handshake)
                .await
                .map_err(|_| "handshake took too long".to_owned())?
                .map_err(|error| error.to_string())?;
            exchange(stream, answer).await
        }
        None => exchange(stream, answer).await,
    }
}

async fn exchange<S, F, A>(stream: S, answer: F) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answered = answer(request);
        async move {
            let answered = tokio::time::timeout(ANSWER_TIME, answered).await;
            Ok::<_, std::convert::Infallible>(answered.unwrap_or_else(|_| {
                let text = "this took too long";
                refuse(&Refusal(StatusCode::GATEWAY_TIMEOUT, text.into()))
            }))
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service);
    tokio::time::timeout(CONNECTION_TIME, served)
        .await
        .map_err(|_| "connection at its age".to_owned())?
        .map_err(|error| error.to_string())
}

/// Reads a body of at most `most` bytes.
///
/// # Errors
/// A longer one, or one that breaks off.
pub(crate) async fn read_body(request: Request<Incoming>, most: usize) -> Result<Bytes, Refusal> {
    Limited::new(request.into_body(), most)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| Refusal(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))
}

/// 200 with JSON.
pub(crate) fn ok(value: &impl Serialize) -> Answer {
    reply(StatusCode::OK, value)
}

/// JSON.
pub(crate) fn reply(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => respond(status, "application/json", body.into()),
        Err(error) => refuse(&Refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
        )),
    }
}

/// `{"error"}`.
pub(crate) fn refuse(Refusal(status, text): &Refusal) -> Answer {
    let body = serde_json::json!({ "error": text }).to_string();
    respond(*status, "application/json", body.into())
}

/// Bytes of a type.
pub(crate) fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

const MAX_CONNECTIONS: usize = 256;
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
const ANSWER_TIME: Duration = Duration::from_secs(25);
/// A connection is closed at this age, so that callers find other replicas and new certificates.
const CONNECTION_TIME: Duration = Duration::from_mins(10);
