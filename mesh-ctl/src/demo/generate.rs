//! Load: numbered requests at a fixed rate, each answer verified and counted.
//!
//! Open loop: request `n` is due at `n / rate` whether or not earlier ones were answered, and its
//! latency counts from then.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::source::http::{Connection, Request, get};

/// Wait for one answer before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest body read, in bytes.
const MAX_BODY: usize = 1024 * 1024;
/// Distinct kinds of failure kept; more are counted as `other`.
const MAX_KINDS: usize = 32;

/// What to send.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The listener.
    pub(crate) address: SocketAddr,
    /// Host sent.
    pub(crate) host: &'static str,
    /// Path; the request's number is appended.
    pub(crate) path: &'static str,
    /// Requests in all.
    pub(crate) count: u64,
    /// Requests per second.
    pub(crate) rate: u32,
    /// Connections kept open.
    pub(crate) connections: u32,
    /// Number of the first request; numbers are unique within a demo.
    pub(crate) first: u64,
}

/// What came back.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Load {
    /// Requests sent.
    pub(crate) sent: u64,
    /// Answered whole, with the right number.
    pub(crate) ok: u64,
    /// Failed, by kind.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Numbers of the responses cut after their first byte.
    pub(crate) cut: Vec<u64>,
    /// Good answers by `x-version`.
    pub(crate) by_version: BTreeMap<String, u64>,
    /// Good answers by `x-instance`.
    pub(crate) by_instance: BTreeMap<String, Seen>,
    /// Latency at the 50th, 99th and 100th percentile, in milliseconds.
    pub(crate) latency_ms: [f64; 3],
    /// Seconds from first due to last answered.
    pub(crate) seconds: f64,
    #[serde(skip)]
    latencies: Vec<Duration>,
}

/// Answers of one instance.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seen {
    /// How many.
    pub(crate) count: u64,
    /// When the last request that it answered was sent.
    #[serde(skip)]
    pub(crate) last_sent: Instant,
}

/// Why a request counts as failed.
enum Failure {
    Kind(String),
    CutAfterFirstByte,
}

struct Good {
    version: String,
    instance: String,
}

impl Load {
    /// Requests that failed, cut responses not among them.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// One line for people: counts with their denominator.
    pub(crate) fn figure(&self) -> String {
        let mut text = format!(
            "{} failed, {} cut after the first byte, of {} at {:.0}/s; p99 {:.1} ms",
            self.failures(),
            self.cut.len(),
            self.sent,
            self.rate(),
            self.latency_ms[1]
        );
        for (kind, count) in self.failed.iter().take(3) {
            text.push_str(&["; ", &count.to_string(), " x ", kind].concat());
        }
        text
    }

    /// Requests per second, as sent and answered.
    fn rate(&self) -> f64 {
        f64::from(u32::try_from(self.sent).unwrap_or(u32::MAX)) / self.seconds.max(0.001)
    }

    fn record(&mut self, number: u64, due: Instant, sent: Instant, result: Result<Good, Failure>) {
        self.sent += 1;
        self.latencies.push(due.elapsed());
        match result {
            Ok(good) => {
                self.ok += 1;
                *self.by_version.entry(good.version).or_default() += 1;
                let seen = self.by_instance.entry(good.instance).or_insert(Seen {
                    count: 0,
                    last_sent: sent,
                });
                seen.count += 1;
                seen.last_sent = seen.last_sent.max(sent);
            }
            Err(Failure::CutAfterFirstByte) => self.cut.push(number),
            Err(Failure::Kind(kind)) => {
                let full = self.failed.len() >= MAX_KINDS && !self.failed.contains_key(&kind);
                let kind = if full { "other".to_owned() } else { kind };
                *self.failed.entry(kind).or_default() += 1;
            }
        }
    }

    fn finish(&mut self, started: Instant) {
        self.seconds = started.elapsed().as_secs_f64();
        self.latencies.sort_unstable();
        self.latency_ms = [50, 99, 100].map(|percent| {
            let index =
                (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
            self.latencies
                .get(index)
                .map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
        });
    }
}

/// Sends everything of `plan`. Ends: every request has a due time and a limit.
///
/// Must run within a `LocalSet`.
pub(crate) async fn run(plan: Plan) -> Load {
    let started = Instant::now();
    let load = Rc::new(RefCell::new(Load::default()));
    let next = Rc::new(RefCell::new(0));
    let plan = Rc::new(plan);
    let mut senders = JoinSet::new();
    for _ in 0..plan.connections {
        let (plan, next, load) = (Rc::clone(&plan), Rc::clone(&next), Rc::clone(&load));
        senders.spawn_local(async move { send_due(&plan, started, &next, &load).await });
    }
    while senders.join_next().await.is_some() {}
    let mut load = load.take();
    load.finish(started);
    load
}

/// One connection: takes the next number, waits until it is due, sends it.
async fn send_due(plan: &Plan, started: Instant, next: &RefCell<u64>, load: &RefCell<Load>) {
    let mut connection = None;
    loop {
        let index = next.replace_with(|next| *next + 1);
        if index >= plan.count {
            return;
        }
        let due = started
            + Duration::from_secs(1).mul_f64(
                f64::from(u32::try_from(index).unwrap_or(u32::MAX)) / f64::from(plan.rate.max(1)),
            );
        sleep_until(due).await;
        let number = plan.first + index;
        let sent = Instant::now();
        let result = timeout(PATIENCE, send(plan, number, &mut connection))
            .await
            .unwrap_or_else(|_| Err(Failure::Kind("no answer within 10 s".into())));
        if result.is_err() {
            connection = None;
        }
        load.borrow_mut().record(number, due, sent, result);
    }
}

async fn send(
    plan: &Plan,
    number: u64,
    connection: &mut Option<Connection>,
) -> Result<Good, Failure> {
    let request = numbered(plan, number).map_err(|error| Failure::Kind(error.to_string()))?;
    let open = match connection {
        Some(open) if open.is_open() => open,
        closed => {
            let fresh = Connection::open(plan.address).await;
            closed.insert(fresh.map_err(|error| Failure::Kind(format!("{error:#}")))?)
        }
    };
    let response = open
        .send(request)
        .await
        .map_err(|error| Failure::Kind(format!("before the head: {error}")))?;
    verify(number, response).await
}

fn numbered(plan: &Plan, number: u64) -> anyhow::Result<Request> {
    let mut request = get(&format!("{}{number}", plan.path), plan.host)?;
    request
        .headers_mut()
        .insert("x-request-number", number.into());
    Ok(request)
}

async fn verify(number: u64, response: hyper::Response<Incoming>) -> Result<Good, Failure> {
    let (head, body) = response.into_parts();
    let header = |name| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let body = Limited::new(body, MAX_BODY).collect().await;
    let body = body.map_err(|_| Failure::CutAfterFirstByte)?.to_bytes();
    if head.status != 200 {
        return Err(Failure::Kind(format!(
            "status {} {}",
            head.status.as_u16(),
            header("mesh-error")
        )));
    }
    if header("x-request-number") != number.to_string() {
        return Err(Failure::Kind("another request's answer".into()));
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_err() {
        return Err(Failure::Kind("a body that is not whole".into()));
    }
    Ok(Good {
        version: header("x-version"),
        instance: header("x-instance"),
    })
}
