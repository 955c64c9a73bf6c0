//! An app that does as it is told: holds requests, or answers with a status.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use e2e::backend::Backend;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// An app, until dropped.
pub(crate) struct App {
    pub(crate) port: u16,
    pub(crate) mood: Arc<Mood>,
    _backend: Backend,
}

/// What the app does, and what reached it.
pub(crate) struct Mood {
    /// The status of its answers.
    pub(crate) status: AtomicU16,
    /// Whether `/healthz` says that all is well.
    pub(crate) healthy: AtomicBool,
    /// Requests other than for `/healthz`.
    pub(crate) requests: AtomicU64,
    /// Requests for `/healthz`.
    pub(crate) checks: AtomicU64,
    /// Requests for `/hold` that wait.
    held: AtomicU64,
    /// Each lets one of them go.
    released: Semaphore,
}

impl App {
    /// Starts one.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mood = Arc::new(Mood {
            status: AtomicU16::new(200),
            healthy: AtomicBool::new(true),
            requests: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            held: AtomicU64::new(0),
            released: Semaphore::new(0),
        });
        let held = Arc::clone(&mood);
        let backend = Backend::start(move |stream, _seen| {
            let mood = Arc::clone(&held);
            async move {
                let answer = service_fn(move |request| answer(Arc::clone(&mood), request));
                let server = auto::Builder::new(TokioExecutor::new());
                let served = server.serve_connection(TokioIo::new(stream), answer).await;
                served.map_err(|error| anyhow::anyhow!(error))
            }
        })
        .await?;
        Ok(Self {
            port: backend.port,
            mood,
            _backend: backend,
        })
    }

    /// Requests that reached it.
    pub(crate) fn requests(&self) -> u64 {
        self.mood.requests.load(Ordering::SeqCst)
    }

    /// Waits until it holds so many.
    pub(crate) async fn holds(&self, count: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.mood.held.load(Ordering::SeqCst) != count {
            ensure!(
                begun.elapsed() < PATIENCE,
                "{} are held and not {count}",
                self.mood.held.load(Ordering::SeqCst)
            );
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Lets so many go.
    pub(crate) fn release(&self, count: usize) {
        self.mood.released.add_permits(count);
    }
}

async fn answer(
    mood: Arc<Mood>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut status = mood.status.load(Ordering::SeqCst);
    match request.uri().path() {
        "/healthz" => {
            mood.checks.fetch_add(1, Ordering::SeqCst);
            status = if mood.healthy.load(Ordering::SeqCst) {
                200
            } else {
                500
            };
        }
        "/hold" => {
            mood.requests.fetch_add(1, Ordering::SeqCst);
            mood.held.fetch_add(1, Ordering::SeqCst);
            if let Ok(go) = mood.released.acquire().await {
                go.forget();
            }
            mood.held.fetch_sub(1, Ordering::SeqCst);
        }
        _ => {
            mood.requests.fetch_add(1, Ordering::SeqCst);
        }
    }
    let mut response = Response::new(Full::new(Bytes::from_static(b"said\n")));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    Ok(response)
}
