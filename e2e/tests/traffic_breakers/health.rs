//! Endpoints that fail their checks get no requests, and get them again once they pass.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::ensure;
use e2e::figure::record;
use e2e::mesh::{Mesh, Workload, free_address, free_port, service};
use tokio::time::{Instant, sleep};

use super::app::App;
use super::client::{Answer, get};
use super::outliers::{outside, policy, sample};

/// Between checks, without jitter.
const INTERVAL: Duration = Duration::from_millis(500);
/// The longest, with a tenth of it as jitter.
const LONGEST: Duration = Duration::from_millis(550);
/// Time for a check.
const TIMEOUT: Duration = Duration::from_millis(300);
/// Checks in a row that change what holds.
const ROW: u32 = 2;
/// What a busy machine adds.
const SLACK: Duration = Duration::from_millis(150);
/// Time over which checks are counted.
const COUNTED: Duration = Duration::from_secs(5);
/// Requests that must reach the other.
const REQUESTS: u64 = 300;
/// Times that it falls ill and recovers.
const ROUNDS: u32 = 3;
/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Two instances behind sidecars that are asked by HTTP, and two outside of which one is not there.
pub(crate) async fn run() -> anyhow::Result<()> {
    let mut manifests = String::new();
    for (name, check) in [
        (
            "checked",
            "http: { path: /healthz, expectedStatus: [\"200-299\"] }, interval: 500ms, jitter: 10, timeout: 300ms, \
             unhealthyAfter: 2, healthyAfter: 2",
        ),
        (
            "dialled",
            "tcp: {}, interval: 200ms, timeout: 200ms, unhealthyAfter: 2",
        ),
    ] {
        manifests += &service(name, 80, "http");
        manifests += &policy(name, &format!("healthCheck: {{ {check} }}"));
    }
    let there = App::start().await?;
    manifests += &outside("dialled-0", "dialled", there.port);
    manifests += &outside("dialled-1", "dialled", free_port()?);
    let mut mesh = Mesh::start(&manifests).await?;
    let apps = [App::start().await?, App::start().await?];
    for (at, app) in apps.iter().enumerate() {
        mesh.run(&Workload::named(&format!("checked-{at}"), "checked").port(app.port))?;
    }
    let [checked, dialled] = [free_address()?, free_address()?];
    let caller = Workload::new("caller").upstream("checked", 80, checked);
    mesh.run(&caller.upstream("dialled", 80, dialled))?;
    mesh.wait_synced().await?;
    is_asked_once(&apps).await?;
    for round in 0..ROUNDS {
        turns(&apps, checked, round).await?;
    }
    record(
        "health-checks",
        format!(
            "0 of {} requests reached the one that failed its checks, from {:?} on, in {ROUNDS} of {ROUNDS} rounds",
            REQUESTS * u64::from(ROUNDS),
            LONGEST * ROW + TIMEOUT
        ),
    );
    without_a_listener(&mesh).await
}

/// Each is asked once an interval, though the caller has two workers.
async fn is_asked_once(apps: &[App]) -> anyhow::Result<()> {
    let checks = |app: &App| app.mood.checks.load(Ordering::SeqCst);
    let begun = Instant::now();
    while apps.iter().any(|app| checks(app) == 0) {
        ensure!(begun.elapsed() < PATIENCE, "nobody checks");
        sleep(Duration::from_millis(10)).await;
    }
    let before: Vec<u64> = apps.iter().map(checks).collect();
    let begun = Instant::now();
    sleep(COUNTED).await;
    let took = begun.elapsed();
    let counts: Vec<u64> = apps
        .iter()
        .zip(before)
        .map(|(app, n)| checks(app) - n)
        .collect();
    let most = took.as_secs_f64() / INTERVAL.as_secs_f64() + 1.0;
    let least = took.as_secs_f64() / (LONGEST + Duration::from_millis(50)).as_secs_f64() - 1.0;
    let is_once = |count: &u64| {
        (least..=most).contains(&(f64::from(u32::try_from(*count).unwrap_or(u32::MAX))))
    };
    ensure!(
        counts.iter().all(is_once),
        "{counts:?} checks in {took:?}, not between {least:.1} and {most:.1}"
    );
    record(
        "health-checks-per-proxy",
        format!(
            "{counts:?} checks in {:.1} s, between {least:.1} and {most:.1}",
            took.as_secs_f64()
        ),
    );
    Ok(())
}

/// One of two fails its checks and gets nothing; passes them and gets its share.
async fn turns(apps: &[App], address: SocketAddr, round: u32) -> anyhow::Result<()> {
    let ill = &apps[0];
    let ask = async || {
        let answer = get(address, "/").await?;
        ensure!(answer == Answer::of_app(200), "round {round}: {answer:?}");
        anyhow::Ok(())
    };
    // Of the requests after the time that a change may take.
    let reached = async |healthy| {
        ill.mood.healthy.store(healthy, Ordering::SeqCst);
        let until = Instant::now() + LONGEST * ROW + TIMEOUT + SLACK;
        while Instant::now() < until {
            ask().await?;
        }
        let before = ill.requests();
        for _ in 0..REQUESTS {
            ask().await?;
        }
        anyhow::Ok(ill.requests() - before)
    };
    let ill = reached(false).await?;
    ensure!(ill == 0, "round {round}: {ill} of {REQUESTS} reached it");
    let well = reached(true).await?;
    ensure!(well > 0, "round {round}: none of {REQUESTS} reached it");
    Ok(())
}

/// What cannot be connected to is found without a request.
async fn without_a_listener(mesh: &Mesh) -> anyhow::Result<()> {
    let begun = Instant::now();
    let series = "mesh_endpoints_unhealthy{backend=\"e2e/dialled:80\"} ";
    while sample(mesh, series).await? != 1 {
        ensure!(begun.elapsed() < PATIENCE, "it is not unhealthy");
        sleep(Duration::from_millis(20)).await;
    }
    let ill = sample(
        mesh,
        "mesh_endpoints_unhealthy{backend=\"e2e/checked:80\"} ",
    )
    .await?;
    ensure!(ill == 0, "{ill} unhealthy");
    Ok(())
}
