//! The gRPC service of the demo: messages, stubs, and a client over one HTTP/2 connection.

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated from proto/pricing.proto"
)]
#[rustfmt::skip]
pub(crate) mod generated;

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::body::Body;

use generated::pricing_client::PricingClient;

/// What callers send as authority.
const ORIGIN: &str = "http://pricing";

/// One HTTP/2 connection as a client. It enforces nothing by itself: no deadline, no retry.
pub(crate) struct Connection {
    sender: SendRequest<Body>,
    /// Owns the task that drives the connection.
    _driver: JoinSet<()>,
}

/// The stubs over one connection.
pub(crate) type Stubs = PricingClient<Transport>;

/// What the stubs send on.
#[derive(Clone)]
pub(crate) struct Transport(SendRequest<Body>);

impl Connection {
    /// Connects with prior knowledge of HTTP/2.
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its error reaches the caller through the call it broke.
            connection.await.ok();
        });
        Ok(Self {
            sender,
            _driver: driver,
        })
    }

    /// The stubs, on this connection.
    pub(crate) fn client(&self) -> Stubs {
        PricingClient::with_origin(
            Transport(self.sender.clone()),
            hyper::Uri::from_static(ORIGIN),
        )
    }
}

impl tower_service::Service<hyper::Request<Body>> for Transport {
    type Response = hyper::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
