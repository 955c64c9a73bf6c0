//! What the mesh promises, proved on the running demo: one file per promise.

mod canary;
mod chain;
mod churn;
mod control_loss;
mod explain;
mod grpc;
mod http2;
mod manifest;
mod security;
mod shapes;
mod stream;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;
use tokio::time::{Instant, timeout};

use crate::demo::generate::Plan;
use crate::demo::mesh::Mesh;
use crate::render::{Output, Rows, note, show};

/// Requests per second from the generator to the catalog.
const RATE: u32 = 2000;
/// Connections the generator keeps.
const CONNECTIONS: u32 = 32;
/// Longest a single check may take.
const LIMIT: Duration = Duration::from_mins(1);

/// What a check found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CheckResult {
    /// Which promise.
    name: &'static str,
    /// Whether it holds.
    ok: bool,
    /// What was measured, or why it does not hold.
    figure: String,
}

/// A check's figure; an error says what does not hold.
type Figure = anyhow::Result<String>;

struct Checks<'a> {
    only: &'a [String],
    results: Vec<CheckResult>,
}

/// Runs the checks whose names contain one of `only` (all, if it is empty), in order.
pub(crate) async fn run(mesh: &mut Mesh, only: &[String], output: Output) -> anyhow::Result<u8> {
    let mut checks = Checks {
        only,
        results: Vec::new(),
    };
    checks.add("http-shapes", shapes::check(mesh)).await;
    add_protocols(&mut checks, mesh).await;
    checks
        .add("tls-between-sidecars", security::tape(mesh))
        .await;
    checks
        .add("plaintext-peer-refused", security::plaintext(mesh))
        .await;
    checks
        .add("foreign-ca-refused", security::foreign(mesh))
        .await;
    checks
        .add("wrong-identity-refused", security::impostor(mesh))
        .await;
    checks.add("explain-agrees", explain::check(mesh)).await;
    checks.add("chain", chain::check(mesh)).await;
    checks.add("canary-split", canary::split(mesh)).await;
    checks.add("canary-flips", canary::flips(mesh)).await;
    checks.add("bad-manifest", manifest::check(mesh)).await;
    checks.add("endpoint-churn", churn::check(mesh)).await;
    checks
        .add("control-plane-loss", control_loss::check(mesh))
        .await;
    let results = checks.results;
    show(output, &results, || {
        let mut rows = Rows::new(&["CHECK", "OK", "FIGURE"]);
        for result in &results {
            let ok = if result.ok { "yes" } else { "NO" };
            rows.push([result.name, ok, &result.figure]);
        }
        rows.to_text()
    })?;
    if results.is_empty() {
        bail!("no check's name contains any of {only:?}");
    }
    Ok(u8::from(!results.iter().all(|result| result.ok)))
}

/// What is not HTTP/1.1.
async fn add_protocols(checks: &mut Checks<'_>, mesh: &Mesh) {
    checks.add("grpc-kinds", grpc::kinds(mesh)).await;
    checks.add("grpc-deadline", grpc::deadline(mesh)).await;
    checks.add("grpc-cancel", grpc::cancel(mesh)).await;
    checks.add("http2-streams", http2::streams(mesh)).await;
    checks
        .add("http-translation", http2::translation(mesh))
        .await;
    checks.add("websocket", stream::websocket(mesh)).await;
    checks
        .add("server-first-tcp", stream::server_first(mesh))
        .await;
}

impl Checks<'_> {
    /// Runs one check if it was asked for; a panic-free failure is a result like any other.
    async fn add(&mut self, name: &'static str, check: impl Future<Output = Figure>) {
        if !self.only.is_empty() && !self.only.iter().any(|part| name.contains(part.as_str())) {
            return;
        }
        let started = Instant::now();
        let figure = match timeout(LIMIT, Box::pin(check)).await {
            Ok(figure) => figure,
            Err(_) => Err(anyhow::anyhow!("not done within {LIMIT:?}")),
        };
        let (ok, figure) = match figure {
            Ok(figure) => (true, figure),
            Err(error) => (false, format!("{error:#}")),
        };
        let mark = if ok { "ok  " } else { "FAIL" };
        let seconds = started.elapsed().as_secs_f64();
        note(&format!("{mark} {name} ({seconds:.1} s): {figure}"));
        self.results.push(CheckResult { name, ok, figure });
    }
}

/// `seconds` of load at the full rate on the catalog.
fn load(mesh: &Mesh, seconds: u32) -> anyhow::Result<Plan> {
    plan(mesh, "catalog", "/items/", seconds * RATE)
}

/// `count` requests at the full rate.
fn plan(
    mesh: &Mesh,
    service: &'static str,
    path: &'static str,
    count: u32,
) -> anyhow::Result<Plan> {
    let count = u64::from(count);
    Ok(Plan {
        address: mesh.outbound(service)?,
        host: service,
        path,
        count,
        rate: RATE,
        connections: CONNECTIONS,
        first: numbers(count),
    })
}

/// Takes `count` request numbers that no other request of this process has; the first of them.
fn numbers(count: u64) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(count, Ordering::Relaxed)
}
