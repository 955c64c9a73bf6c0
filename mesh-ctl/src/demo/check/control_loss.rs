//! The control plane dies for ten seconds: nobody notices but those who ask it.

use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::{Figure, load};
use crate::command::signal;
use crate::demo::generate;
use crate::demo::mesh::Mesh;
use crate::source::http::{Connection, get};

/// Seconds of load.
const SECONDS: u32 = 13;
/// How long the control plane is away.
const AWAY: Duration = Duration::from_secs(10);
/// Whose sidecar is killed meanwhile.
const VICTIM: &str = "catalog-v1-0";

struct Times {
    restarted: Duration,
    synced: Duration,
}

/// Kills the control plane, then a sidecar; brings the first back.
pub(super) async fn check(mesh: &mut Mesh) -> Figure {
    let before = endpoints(mesh).await?;
    let plan = load(mesh, SECONDS)?;
    let (load, times) = tokio::join!(generate::run(plan), lose(mesh));
    let times = times?;
    let after = endpoints(mesh).await?;
    ensure!(
        before == after,
        "endpoints were lost: {before} before, {after} after"
    );
    ensure!(load.failures() == 0, "{}", load.figure());
    ensure!(
        times.restarted <= Duration::from_secs(2),
        "the restarted sidecar needed {:?} to serve from disk",
        times.restarted
    );
    Ok(format!(
        "{AWAY:?} away: {}; a killed sidecar served from disk after {:.0?}; all SYNCED {:.0?} after \
         the return, {after} endpoints as before",
        load.figure(),
        times.restarted,
        times.synced
    ))
}

async fn lose(mesh: &mut Mesh) -> anyhow::Result<Times> {
    sleep(Duration::from_secs(1)).await;
    mesh.kill_control().await?;
    let lost = Instant::now();
    sleep(Duration::from_secs(2)).await;
    let restarted = restart_sidecar(mesh).await?;
    tokio::time::sleep_until(lost + AWAY).await;
    mesh.start_control().await?;
    let synced = mesh.wait_synced(Duration::from_secs(5)).await?;
    Ok(Times { restarted, synced })
}

/// Kills the sidecar and waits until a new one says that it is ready.
async fn restart_sidecar(mesh: &Mesh) -> anyhow::Result<Duration> {
    let old = mesh.pids(VICTIM)?.proxy;
    let killed = Instant::now();
    signal::send(old, Signal::KILL);
    loop {
        let new = mesh.pids(VICTIM)?.proxy;
        if new != 0 && new != old && is_ready(mesh).await.unwrap_or(false) {
            return Ok(killed.elapsed());
        }
        ensure!(
            killed.elapsed() < Duration::from_secs(8),
            "the sidecar is not back after 8 s"
        );
        sleep(Duration::from_millis(10)).await;
    }
}

async fn is_ready(mesh: &Mesh) -> anyhow::Result<bool> {
    let text = std::fs::read(mesh.folder(VICTIM)?.join("bootstrap.json"))?;
    let bootstrap: serde_json::Value = serde_json::from_slice(&text)?;
    let socket = bootstrap["adminSocket"]
        .as_str()
        .context("no adminSocket")?;
    let mut connection = Connection::open_unix(socket.as_ref()).await?;
    let answer = connection.exchange(get("/ready", "localhost")?).await?;
    Ok(answer.status == 200)
}

/// How many endpoints the control plane knows over all services.
async fn endpoints(mesh: &Mesh) -> anyhow::Result<usize> {
    let services = mesh.admin().get("/services").await?;
    let ports = services
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|service| service["ports"].as_array());
    Ok(ports
        .flatten()
        .filter_map(|port| port["endpoints"].as_array())
        .map(Vec::len)
        .sum())
}
