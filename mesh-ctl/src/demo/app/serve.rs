//! The server under every demo app: on 127.0.0.1, one owned task per connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::content::Reply;
use super::tee::{Received, Tee};

/// A request as an app sees it.
pub(super) struct Call {
    /// The request.
    pub(super) request: hyper::Request<Incoming>,
    /// The bytes of its connection.
    pub(super) received: Received,
}

/// An app: answers calls.
pub(super) trait App: Send + Sync + 'static {
    /// Answers one call.
    fn answer(&self, call: Call) -> impl Future<Output = Reply> + Send;
}

/// Serves `app` at `address` for as long as it is polled.
pub(super) async fn serve<A: App>(address: SocketAddr, app: Arc<A>) -> anyhow::Result<()> {
    accept(address, move |stream| connection(stream, Arc::clone(&app))).await
}

/// Serves each connection to `address` by `connection`, for as long as it is polled.
pub(super) async fn accept<F>(
    address: SocketAddr,
    mut connection: impl FnMut(TcpStream) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                // A connection without this option is slower, no more.
                stream.set_nodelay(true).ok();
                connections.spawn(connection(stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection<A: App>(stream: TcpStream, app: Arc<A>) {
    // A connection that broke concerns its peer alone.
    let (stream, received) = Tee::new(stream);
    let service = service_fn(|request| {
        let call = Call {
            request,
            received: received.clone(),
        };
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(app.answer(call).await) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

impl Call {
    /// The path.
    pub(super) fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// A query parameter as a number, at most `limit`.
    pub(super) fn number(&self, name: &str, default: u64, limit: u64) -> u64 {
        let query = self.request.uri().query().unwrap_or_default();
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(default)
            .min(limit)
    }

    /// A header field as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name)?.to_str().ok()
    }

    /// The head as it arrived, up to its blank line.
    pub(super) fn head(&self) -> String {
        let start = format!(
            "{} {} HTTP/1.1\r\n",
            self.request.method(),
            self.request.uri()
        );
        let head = self.received.take_head(&start).unwrap_or_default();
        String::from_utf8_lossy(&head).into_owned()
    }
}
