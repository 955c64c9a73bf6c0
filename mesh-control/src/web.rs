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
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::certificate::SharedTls;

/// An answer.
pub(crate) type Answer = Response<Full<Bytes>>;

/// True once the process is told to end.
pub(crate) type Stopping = watch::Receiver<bool>;

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

/// Serves `answer` on `listener` until dropped, over TLS if there is any. Once it is `stopping`, each
/// connection is closed after the request under way, so that callers who keep one find another replica;
/// who still comes here is answered.
pub(crate) async fn serve<F, A>(
    listener: TcpListener,
    tls: Option<SharedTls>,
    stopping: Option<Stopping>,
    answer: F,
) where
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
        let stopping = stopping.clone();
        running.spawn(async move {
            if let Err(error) = connection(stream, config, stopping, answer).await {
                tracing::debug!(error, "connection");
            }
            drop(place);
        });
    }
}

async fn connection<F, A>(
    stream: TcpStream,
    config: Option<Arc<rustls::ServerConfig>>,
    stopping: Option<Stopping>,
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
            exchange(stream, stopping, answer).await
        }
        None => exchange(stream, stopping, answer).await,
    }
}

async fn exchange<S, F, A>(stream: S, stopping: Option<Stopping>, answer: F) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let begun = Arc::new(Notify::new());
    let told = Arc::clone(&begun);
    let until = stopping.clone();
    let service = service_fn(move |request| {
        told.notify_one();
        let answered = answer(request);
        let stopping = until.clone();
        async move {
            let answered = tokio::time::timeout(ANSWER_TIME, answered).await;
            let mut answer = answered.unwrap_or_else(|_| {
                let text = "this took too long";
                refuse(&Refusal(StatusCode::GATEWAY_TIMEOUT, text.into()))
            });
            if stopping.is_some_and(|stopping| *stopping.borrow()) {
                let close = header::HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let time_to_close = async {
        tokio::join!(
            async {
                tokio::select! {
                    () = stopped(stopping) => {}
                    () = tokio::time::sleep(CONNECTION_TIME) => {}
                }
            },
            // Who has just connected has something to ask: that is answered first.
            begun.notified(),
        )
    };
    tokio::select! {
        served = &mut served => return served.map_err(|error| error.to_string()),
        _ = time_to_close => {}
    }
    served.as_mut().graceful_shutdown();
    tokio::time::timeout(LAST_TIME, served)
        .await
        .map_err(|_| "the last exchange took too long".to_owned())?
        .map_err(|error| error.to_string())
}

/// Waits for a stop, for ever if none can come.
async fn stopped(stopping: Option<Stopping>) {
    let told = match stopping {
        Some(mut stopping) => stopping.wait_for(|is| *is).await.is_ok(),
        None => false,
    };
    if !told {
        std::future::pending::<()>().await;
    }
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
/// For the exchange under way when a connection is to be closed.
const LAST_TIME: Duration = Duration::from_mins(1);
/// A connection is closed at this age, so that callers find other replicas and new certificates.
const CONNECTION_TIME: Duration = Duration::from_mins(10);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(GET).await.unwrap();
        let mut answer = vec![0; 1024];
        let count = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }

    #[tokio::test]
    async fn a_stop_closes_kept_connections_and_answers_new_ones_once() {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let answer = |_| async { respond(StatusCode::OK, "text/plain", Bytes::new()) };
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, None, Some(stopping), answer));
        let mut kept = TcpStream::connect(address).await.unwrap();
        let mut unused = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            let answer = ask(&mut kept).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(!answer.contains("connection: close"), "{answer}");
        }
        stop.send_replace(true);
        assert_eq!(kept.read(&mut [0; 8]).await.unwrap(), 0, "it is closed");
        let mut new = TcpStream::connect(address).await.unwrap();
        for stream in [&mut unused, &mut new] {
            let answer = ask(stream).await;
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(answer.contains("connection: close"), "{answer}");
        }
    }
}
