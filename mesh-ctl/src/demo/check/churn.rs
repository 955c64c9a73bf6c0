//! Endpoints that come, leave and die under load.

use std::time::Duration;

use anyhow::ensure;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::canary::late;
use super::{Figure, load};
use crate::command::signal;
use crate::demo::generate;
use crate::demo::mesh::Mesh;

/// Seconds of load: 24,000 requests.
const SECONDS: u32 = 12;

/// When what happened.
struct Moments {
    removed: Instant,
    took: Duration,
}

/// Adds one, removes one in order, kills one whole and the app of another.
pub(super) async fn check(mesh: &mut Mesh) -> Figure {
    let plan = load(mesh, SECONDS)?;
    let (load, moments) = tokio::join!(generate::run(plan), churn(mesh));
    let moments = moments?;
    restore(mesh).await?;
    ensure!(load.failures() == 0, "{}", load.figure());
    ensure!(
        load.ok + load.cut.len() as u64 == load.sent,
        "{}",
        load.figure()
    );
    let late = late(&load, "v1-1", moments.removed);
    ensure!(
        late <= Duration::from_secs(1),
        "v1-1 was sent requests {late:?} after it left"
    );
    let added = load.by_instance.get("v1-2").map_or(0, |seen| seen.count);
    ensure!(added > 0, "the instance added got nothing");
    let cut = match load.cut.as_slice() {
        [] => String::new(),
        cut => format!("; cut: {cut:?}"),
    };
    Ok(format!(
        "{}; the added instance answered {added}; the removed one left in {:.0?} and got its last \
         request {late:.0?} later{cut}",
        load.figure(),
        moments.took
    ))
}

async fn churn(mesh: &mut Mesh) -> anyhow::Result<Moments> {
    sleep(Duration::from_secs(1)).await;
    mesh.start_catalog("v1", 2)?;
    mesh.wait_synced(Duration::from_secs(5)).await?;
    sleep(Duration::from_secs(1)).await;
    let leaving = Instant::now();
    mesh.tell("catalog-v1-1", Signal::TERM)?;
    mesh.wait_unregistered("catalog-v1-1", Duration::from_secs(5))
        .await?;
    let removed = Instant::now();
    sleep(Duration::from_millis(1500)).await;
    mesh.kill_workload("catalog-v2-1").await?;
    sleep(Duration::from_millis(1500)).await;
    if let Some(app) = mesh.pids("catalog-v1-0")?.app {
        signal::send(app, Signal::KILL);
    }
    Ok(Moments {
        removed,
        took: removed - leaving,
    })
}

/// The four instances that there were, and no other.
async fn restore(mesh: &mut Mesh) -> anyhow::Result<()> {
    for name in ["catalog-v1-0", "catalog-v1-1", "catalog-v1-2"] {
        mesh.stop_workload(name).await?;
    }
    for (version, instance) in [("v1", 0), ("v1", 1), ("v2", 1)] {
        mesh.start_catalog(version, instance)?;
    }
    mesh.wait_synced(Duration::from_secs(10)).await.map(drop)
}
