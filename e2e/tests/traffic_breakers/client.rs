//! Requests, each on a connection of its own or together on one.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Wait for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Status and the reason in `mesh-error`, if there is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: String,
}

impl Answer {
    /// Of the app.
    pub(crate) fn of_app(status: u16) -> Self {
        Self {
            status,
            reason: String::new(),
        }
    }

    /// Of the mesh.
    pub(crate) fn refused(reason: &str) -> Self {
        Self {
            status: 503,
            reason: reason.to_owned(),
        }
    }
}

/// One GET by HTTP/1.1, on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let asked = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = Request::get(path).header("host", "app");
        let response = sender.send_request(request.body(Empty::<Bytes>::new())?);
        read(response.await?).await
    };
    timeout(PATIENCE, asked).await.context("no answer")?
}

/// An HTTP/2 connection, for many requests at a time.
pub(crate) struct Http2 {
    sender: http2::SendRequest<Empty<Bytes>>,
    _driver: JoinSet<hyper::Result<()>>,
}

impl Http2 {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self {
            sender,
            _driver: driver,
        })
    }

    /// One GET on it.
    pub(crate) fn get(&self, path: &str) -> impl Future<Output = anyhow::Result<Answer>> + use<> {
        let mut sender = self.sender.clone();
        let request = Request::get(format!("http://app{path}")).body(Empty::new());
        async move {
            let asked = async { read(sender.send_request(request?).await?).await };
            timeout(PATIENCE, asked).await.context("no answer")?
        }
    }
}

async fn read(response: Response<Incoming>) -> anyhow::Result<Answer> {
    let said = response.headers().get("mesh-error");
    let said = said.and_then(|said| said.to_str().ok()).unwrap_or_default();
    let reason = said
        .split("; ")
        .find_map(|part| part.strip_prefix("reason="));
    let answer = Answer {
        status: response.status().as_u16(),
        reason: reason.unwrap_or_default().to_owned(),
    };
    response.into_body().collect().await?;
    Ok(answer)
}
