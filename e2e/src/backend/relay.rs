//! An app in the middle: for each request it calls another service, through its own sidecar.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::{Backend, Seen};
use crate::load::{Open, Sender, Version, open};

/// Connections to its sidecar.
const CONNECTIONS: usize = 8;

/// What a relay does with a request.
#[derive(Clone, Debug)]
pub struct Relay {
    /// Its sidecar's listener for the next service.
    pub next: SocketAddr,
    /// Fields that it passes on as they came.
    pub forwards: &'static [&'static str],
    /// It takes up to so long before it calls, by chance.
    pub pause: Duration,
}

struct Calls {
    relay: Relay,
    connections: Mutex<Vec<Open>>,
}

/// An app that answers with the status of what it calls.
///
/// # Errors
///
/// If it cannot listen.
pub async fn relay(relay: Relay) -> anyhow::Result<Backend> {
    let calls = Arc::new(Calls {
        relay,
        connections: Mutex::default(),
    });
    Backend::start(move |stream, seen| serve(stream, seen, Arc::clone(&calls))).await
}

async fn serve(stream: TcpStream, seen: Seen, calls: Arc<Calls>) -> anyhow::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let (seen, calls) = (seen.clone(), Arc::clone(&calls));
        async move {
            seen.answered(None);
            let status = calls.call(&request).await.unwrap_or(599);
            let mut answer = Response::new(Full::<Bytes>::default());
            *answer.status_mut() = http::StatusCode::from_u16(status)?;
            anyhow::Ok(answer)
        }
    });
    auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .map_err(anyhow::Error::from_boxed)
}

impl Calls {
    async fn call(&self, request: &Request<Incoming>) -> anyhow::Result<u16> {
        let most = u64::try_from(self.relay.pause.as_micros())?;
        tokio::time::sleep(Duration::from_micros(fastrand::u64(..=most))).await;
        let mut call = Request::builder().uri("http://next/");
        for name in self.relay.forwards {
            let name: HeaderName = name.parse()?;
            for value in request.headers().get_all(&name) {
                call = call.header(&name, value);
            }
        }
        let answer = self
            .sender()
            .await?
            .send(call.body(Full::default())?)
            .await?;
        Ok(answer.status().as_u16())
    }

    async fn sender(&self) -> anyhow::Result<Sender> {
        let mut connections = self.connections.lock().await;
        while connections.len() < CONNECTIONS {
            connections.push(open(self.relay.next, Version::Http2).await?);
        }
        let chosen = fastrand::usize(..CONNECTIONS);
        connections
            .get(chosen)
            .map(|open| open.sender.clone())
            .ok_or_else(|| anyhow::anyhow!("no connection"))
    }
}
