//! Clients of the cases: many requests, numbered where that matters, each answer counted.
//!
//! May use `figure` and nothing else of this crate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::figure::percentile;

/// Wait for one answer before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which HTTP a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The listener.
    pub address: SocketAddr,
    /// The client's HTTP.
    pub version: Version,
    /// Requests in all; every second is a POST with its number as body.
    pub count: u64,
    /// Connections.
    pub connections: u64,
    /// Requests at once on each connection (1 for HTTP/1.1).
    pub streams: u64,
}

/// What came back.
#[derive(Debug, Default)]
pub struct Sum {
    /// GETs answered with 200 and the whole body.
    pub gets: u64,
    /// POSTs answered with 200.
    pub posts: u64,
    /// GETs that failed, by kind.
    pub failed_gets: BTreeMap<String, u64>,
    /// POSTs that failed, by kind.
    pub failed_posts: BTreeMap<String, u64>,
}

impl Sum {
    /// GETs that failed.
    pub fn lost_gets(&self) -> u64 {
        self.failed_gets.values().sum()
    }

    /// POSTs that failed.
    pub fn lost_posts(&self) -> u64 {
        self.failed_posts.values().sum()
    }
}

/// Sends everything of `plan` in a closed loop.
///
/// # Errors
///
/// If a connection cannot be opened at all.
pub async fn run(plan: &Plan) -> anyhow::Result<Sum> {
    run_from(plan, 0).await
}

/// As [`run`], with numbers from `first` on.
///
/// # Errors
///
/// As [`run`].
pub async fn run_from(plan: &Plan, first: u64) -> anyhow::Result<Sum> {
    let (next, end) = (Arc::new(AtomicU64::new(first)), first + plan.count);
    let sum = Arc::<Mutex<Sum>>::default();
    let mut senders = JoinSet::new();
    for _ in 0..plan.connections {
        let shared = Arc::new(tokio::sync::Mutex::new(None));
        for _ in 0..plan.streams {
            let (plan, next) = (plan.clone(), Arc::clone(&next));
            let (sum, shared) = (Arc::clone(&sum), Arc::clone(&shared));
            senders.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return anyhow::Ok(());
                    }
                    let sender = sender(&plan, &shared).await?;
                    let result = ask(sender, number).await;
                    note(&sum, number, result);
                }
            });
        }
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut sum))
}

fn note(sum: &Mutex<Sum>, number: u64, result: anyhow::Result<()>) {
    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    let sum = &mut *sum;
    let (good, failed) = if is_post(number) {
        (&mut sum.posts, &mut sum.failed_posts)
    } else {
        (&mut sum.gets, &mut sum.failed_gets)
    };
    match result {
        Ok(()) => *good += 1,
        Err(error) => *failed.entry(format!("{error:#}")).or_default() += 1,
    }
}

fn is_post(number: u64) -> bool {
    number % 2 == 1
}

/// One connection as a client.
#[derive(Clone)]
pub enum Sender {
    /// HTTP/1.1: one request at a time.
    Http1(Arc<tokio::sync::Mutex<http1::SendRequest<Full<Bytes>>>>),
    /// HTTP/2: many.
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// The connection and the task that drives it.
pub struct Open {
    /// Sends on it.
    pub sender: Sender,
    _driver: JoinSet<()>,
}

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.try_lock().is_ok_and(|sender| sender.is_closed()),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Sends one request.
    ///
    /// # Errors
    ///
    /// If it is not answered.
    pub async fn send(
        &mut self,
        request: http::Request<Full<Bytes>>,
    ) -> hyper::Result<http::Response<hyper::body::Incoming>> {
        match self {
            Self::Http1(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// Opens a connection.
///
/// # Errors
///
/// If nobody listens.
pub async fn open(address: SocketAddr, version: Version) -> anyhow::Result<Open> {
    let stream = TcpStream::connect(address).await.context("connect")?;
    stream.set_nodelay(true)?;
    let stream = TokioIo::new(stream);
    let mut driver = JoinSet::new();
    // How a connection ended is told to whoever used it.
    let sender = match version {
        Version::Http1 => {
            let (sender, connection) = http1::handshake(stream).await?;
            driver.spawn(async move { connection.await.unwrap_or_default() });
            Sender::Http1(Arc::new(tokio::sync::Mutex::new(sender)))
        }
        Version::Http2 => {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                // A client that cancels much must remember what it cancelled: what still comes for
                // a forgotten stream is an error, and too many of those end the connection.
                .max_concurrent_reset_streams(100_000)
                .handshake(stream)
                .await?;
            driver.spawn(async move { connection.await.unwrap_or_default() });
            Sender::Http2(sender)
        }
    };
    Ok(Open {
        sender,
        _driver: driver,
    })
}

async fn sender(plan: &Plan, shared: &tokio::sync::Mutex<Option<Open>>) -> anyhow::Result<Sender> {
    let mut shared = shared.lock().await;
    if let Some(open) = shared.as_ref().filter(|open| !open.sender.is_closed()) {
        return Ok(open.sender.clone());
    }
    let fresh = open(plan.address, plan.version).await?;
    Ok(shared.insert(fresh).sender.clone())
}

/// The request of a number.
///
/// # Errors
///
/// Never for a number.
pub fn request(number: u64) -> anyhow::Result<http::Request<Full<Bytes>>> {
    let (method, body) = if is_post(number) {
        ("POST", number.to_string())
    } else {
        ("GET", String::new())
    };
    Ok(http::Request::builder()
        .method(method)
        .uri(format!("http://echo/{number}"))
        .header("host", "echo")
        .body(Full::new(body.into()))?)
}

async fn ask(mut sender: Sender, number: u64) -> anyhow::Result<()> {
    let answered = async {
        let response = sender.send(request(number)?).await?;
        let status = response.status();
        let error = response.headers().get("mesh-error").cloned();
        response.into_body().collect().await.context("its body")?;
        if status != 200 {
            bail!("{status} {error:?}");
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, answered).await.context("no answer")?
}

/// Latencies of an open loop.
#[derive(Debug)]
pub struct Paced {
    /// Answered with 200.
    pub good: u64,
    /// All others.
    pub failed: u64,
    /// At the 50th and the 99th percentile, from when each request was due.
    pub latency: [Duration; 2],
}

/// Sends `count` GETs at `rate` a second, each when it is due whatever became of those before.
///
/// # Errors
///
/// If a connection cannot be opened.
pub async fn paced(
    address: SocketAddr,
    version: Version,
    rate: u32,
    count: u32,
) -> anyhow::Result<Paced> {
    let mut pool = Vec::new();
    for _ in 0..8 {
        pool.push(open(address, version).await?);
    }
    let started = Instant::now();
    let mut asked = JoinSet::new();
    for index in 0..count {
        let due = started + Duration::from_secs(1) * index / rate;
        sleep_until(due).await;
        let slot = usize::try_from(index)? % pool.len();
        let sender = pool.get(slot).context("a pool")?.sender.clone();
        asked.spawn(async move {
            (
                ask(sender, u64::from(index) * 2).await.is_ok(),
                due.elapsed(),
            )
        });
    }
    let all = asked.join_all().await;
    let mut latencies: Vec<Duration> = all.iter().map(|&(_, latency)| latency).collect();
    latencies.sort_unstable();
    let good = all.iter().filter(|&&(good, _)| good).count() as u64;
    ensure!(all.len() == usize::try_from(count)?, "some were not sent");
    Ok(Paced {
        good,
        failed: u64::from(count) - good,
        latency: [50, 99].map(|percent| percentile(&latencies, percent)),
    })
}
