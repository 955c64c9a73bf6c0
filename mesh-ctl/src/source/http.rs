//! One HTTP/1.1 connection as a client: for admin sockets, demo apps, generator and checks.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

/// Largest answer read whole, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A request as this client sends it.
pub(crate) type Request = hyper::Request<Full<Bytes>>;

/// A kept connection. Dropping it closes it.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Owns the task that drives the connection.
    _driver: JoinSet<()>,
}

/// A response read whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Its header fields.
    pub(crate) headers: hyper::HeaderMap,
    /// Its body, complete.
    pub(crate) body: Bytes,
    /// Its trailers, if any came.
    pub(crate) trailers: Option<hyper::HeaderMap>,
}

impl Connection {
    /// Connects to a TCP listener.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Self::over(stream).await
    }

    /// Connects to a Unix socket.
    pub(crate) async fn open_unix(path: &Path) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(path)
            .await
            .with_context(|| format!("cannot connect to {}", path.display()))?;
        Self::over(stream).await
    }

    /// Speaks over a stream that is connected.
    pub(crate) async fn over<S>(stream: S) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error reaches the caller through the exchange it broke.
            connection.await.ok();
        });
        Ok(Self {
            sender,
            _driver: driver,
        })
    }

    /// Sends `request` once the connection is ready; the body is still to be read.
    pub(crate) async fn send(
        &mut self,
        request: Request,
    ) -> hyper::Result<hyper::Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Sends `request` and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: Request) -> anyhow::Result<Answer> {
        let response = self.send(request).await?;
        let (head, body) = response.into_parts();
        let body = http_body_util::Limited::new(body, MAX_ANSWER)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("the response broke off: {error}"))?;
        let trailers = body.trailers().cloned();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        })
    }

    /// False once the other end closed it.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

impl Answer {
    /// A header field's value as text; empty if missing or not text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            let start: String = String::from_utf8_lossy(&self.body)
                .chars()
                .take(200)
                .collect();
            format!(
                "status {}, and the body is not JSON: {start:?}",
                self.status
            )
        })
    }
}

/// A request without a body.
pub(crate) fn get(target: &str, host: &str) -> anyhow::Result<Request> {
    request("GET", target, host, Bytes::new())
}

/// A request with a body.
pub(crate) fn request(
    method: &str,
    target: &str,
    host: &str,
    body: impl Into<Bytes>,
) -> anyhow::Result<Request> {
    hyper::Request::builder()
        .method(method)
        .uri(target)
        .header("host", host)
        .body(Full::new(body.into()))
        .with_context(|| format!("{method} {target} is no valid request"))
}
