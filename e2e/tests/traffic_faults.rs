//! Injected faults through two sidecars: shares within exact bounds, kinds of aborts, waits, and who tries
//! again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use e2e::backend::http;
use e2e::binomial::bounds;
use e2e::figure::{percentile, record};
use e2e::load::{Version, open};
use e2e::mesh::{Mesh, Workload, free_address, service};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;

/// Requests of each share.
const COUNT: u32 = 10_000;
/// Connections at once.
const CONNECTIONS: usize = 8;
/// The injected wait, and the most that all else may take: far more than it does.
const WAIT: Duration = Duration::from_millis(20);
const SLACK: Duration = Duration::from_secs(2);

const POLICY: &str = r#"---
apiVersion: mesh.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: chaos, namespace: e2e }
spec:
  targetRefs: [{ kind: Service, name: echo }]
  retry: { attempts: 2, retryOn: { status: ["503"], grpc: [UNAVAILABLE] }, backoff: { base: 1ms } }
  fault:
  - { match: [{ path: { value: /status } }], abort: { percent: 10, status: 503 } }
  - { match: [{ path: { value: /asked } }], abort: { percent: 10, status: 503 }, retry: Allow }
  - { match: [{ path: { value: /rare } }], abort: { percent: 0.25, status: 418 } }
  - { match: [{ path: { value: /call } }], abort: { percent: 25, grpc: UNAVAILABLE } }
  - { match: [{ path: { value: /reset } }], abort: { percent: 2, reset: true } }
  - { match: [{ path: { value: /wait } }], delay: { percent: 5, fixed: 20ms } }
  - { match: [{ path: { value: /tester }, sourceWorkloads: { matchLabels: { app: tester } } }], abort: { status: 500 } }
"#;

/// Answers by kind: a status, `fault 503`, `grpc 14`, `broken`.
type Sum = BTreeMap<String, u64>;

struct Asked {
    sum: Sum,
    latencies: Vec<Duration>,
}

/// What an answer is counted as.
fn kind_of(status: u16, fields: &HeaderMap) -> String {
    let field = |name: &str| {
        let value = fields.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let injected =
        field("mesh-error").is_some_and(|text| text.contains("reason=fault; policy=e2e/chaos"));
    match field("grpc-status") {
        Some(code) => format!("grpc {code}"),
        None if injected => format!("fault {status}"),
        None => status.to_string(),
    }
}

/// Sends `count` requests for `path` on several connections, and counts what came.
async fn ask(
    address: SocketAddr,
    version: Version,
    path: &str,
    count: u32,
) -> anyhow::Result<Asked> {
    let next = Arc::new(AtomicU64::new(0));
    let all: Arc<Mutex<(Sum, Vec<Duration>)>> = Arc::default();
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (next, all, path) = (Arc::clone(&next), Arc::clone(&all), path.to_owned());
        senders.spawn(async move {
            let mut connection = open(address, version).await?;
            while next.fetch_add(1, Ordering::Relaxed) < u64::from(count) {
                let request = Request::get(format!("http://echo{path}"))
                    .header("host", "echo")
                    .header(
                        "content-type",
                        if path == "/call" {
                            "application/grpc"
                        } else {
                            "text/plain"
                        },
                    )
                    .body(Full::<Bytes>::default())?;
                let begun = Instant::now();
                let kind = if let Ok(answer) = connection.sender.send(request).await {
                    let kind = kind_of(answer.status().as_u16(), answer.headers());
                    answer.into_body().collect().await?;
                    kind
                } else {
                    connection = open(address, version).await?;
                    "broken".to_owned()
                };
                let took = begun.elapsed();
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                *all.0.entry(kind).or_default() += 1;
                all.1.push(took);
            }
            anyhow::Ok(())
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let (sum, latencies) = std::mem::take(&mut *all);
    Ok(Asked { sum, latencies })
}

/// Two callers, one of them a tester.
async fn mesh(app: u16) -> anyhow::Result<(Mesh, [SocketAddr; 2])> {
    let mut mesh = Mesh::start(&(service("echo", 80, "") + POLICY)).await?;
    let listen = [free_address()?, free_address()?];
    mesh.run(&Workload::new("echo").port(app))?;
    mesh.run(&Workload::new("caller").upstream("echo", 80, listen[0]))?;
    mesh.run(&Workload::new("tester").upstream("echo", 80, listen[1]))?;
    mesh.wait_synced().await?;
    Ok((mesh, listen))
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn shares_of_faults_are_exact() -> anyhow::Result<()> {
    let app = http().await?;
    let (mesh, [caller, tester]) = mesh(app.port).await?;
    let mut told = Vec::new();
    // Three tries all fail once in a thousand.
    for (path, version, kind, probability) in [
        ("/status", Version::Http1, "fault 503", 0.1),
        ("/asked", Version::Http1, "fault 503", 0.001),
        ("/rare", Version::Http2, "fault 418", 0.0025),
        ("/call", Version::Http2, "grpc 14", 0.25),
        ("/reset", Version::Http1, "broken", 0.02),
    ] {
        let before = app.seen.requests();
        let Asked { sum, .. } = ask(caller, version, path, COUNT).await?;
        let hit = sum.get(kind).copied().unwrap_or_default();
        let good = sum.get("200").copied().unwrap_or_default();
        let within = bounds(COUNT, probability);
        ensure!(
            within.contains(&hit),
            "{path}: {hit} of {COUNT}, not within {within:?}: {sum:?}"
        );
        ensure!(hit + good == u64::from(COUNT), "{path}: {sum:?}");
        let reached = app.seen.requests() - before;
        ensure!(
            reached == good,
            "{path}: {reached} reached the app, {good} were answered"
        );
        told.push(format!(
            "{path} {version:?} {hit} ({} to {})",
            within.start(),
            within.end()
        ));
    }
    record(
        "traffic-faults",
        format!("of {COUNT} each: {}", told.join(", ")),
    );
    let Asked { sum, .. } = ask(tester, Version::Http1, "/tester", 50).await?;
    ensure!(sum.get("fault 500") == Some(&50), "{sum:?}");
    let Asked { sum, .. } = ask(caller, Version::Http1, "/tester", 50).await?;
    ensure!(sum.get("200") == Some(&50), "{sum:?}");
    let metrics = mesh.metrics("caller").await?;
    ensure!(metrics.contains("mesh_faults_injected_total{"), "no metric");
    Ok(())
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn waits_take_their_time_and_their_share() -> anyhow::Result<()> {
    let app = http().await?;
    let (mesh, [caller, _]) = mesh(app.port).await?;
    let asked = ask(caller, Version::Http1, "/wait", COUNT).await?;
    ensure!(
        asked.sum.get("200") == Some(&u64::from(COUNT)),
        "{:?}",
        asked.sum
    );
    let mut latencies = asked.latencies;
    latencies.sort_unstable();
    let waited = latencies.iter().filter(|latency| **latency >= WAIT).count() as u64;
    let metrics = mesh.metrics("caller").await?;
    let samples = metrics.lines().filter(|line| {
        line.starts_with("mesh_faults_injected_total{") && line.contains("fault=\"delay\"")
    });
    let drawn: u64 = samples
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    let within = bounds(COUNT, 0.05);
    ensure!(
        within.contains(&drawn),
        "{drawn} drawn, not within {within:?}"
    );
    // Others may be slow by themselves: only too few would be wrong.
    ensure!(waited >= drawn, "{waited} waited of {drawn} drawn");
    let most = latencies.last().copied().context("no latency")?;
    ensure!(most < WAIT + SLACK, "{most:?}");
    record(
        "traffic-fault-delay",
        format!(
            "{drawn} of {COUNT} drawn ({} to {}), {waited} took {WAIT:?} or more; median {:?}, p99 {:?}",
            within.start(),
            within.end(),
            percentile(&latencies, 50),
            percentile(&latencies, 99),
        ),
    );
    Ok(())
}
