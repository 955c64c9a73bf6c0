//! Apps that end connections under load: no GET is lost, no POST arrives twice.

use std::time::Duration;

use anyhow::ensure;
use e2e::backend::{Backend, closing, goaway};
use e2e::figure::record;
use e2e::load::{Plan, Sum, Version, run};
use e2e::mesh::Mesh;
use tokio::time::{Instant, timeout};

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn goaway_every_100_streams() -> anyhow::Result<()> {
    let plan = http2(20_000).await?;
    timeout(Duration::from_mins(3), plan).await?
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask prove goaway"]
async fn prove_goaway_every_100_streams() -> anyhow::Result<()> {
    let plan = http2(1_000_000).await?;
    timeout(Duration::from_mins(30), plan).await?
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn idle_connections_closed_at_random() -> anyhow::Result<()> {
    let plan = http1(20_000).await?;
    timeout(Duration::from_mins(3), plan).await?
}

#[tokio::test]
#[ignore = "takes minutes: cargo xtask prove idle_connections"]
async fn prove_idle_connections_closed_at_random() -> anyhow::Result<()> {
    let plan = http1(1_000_000).await?;
    timeout(Duration::from_mins(30), plan).await?
}

async fn http2(count: u64) -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
    let app = goaway().await?;
    Ok(async move {
        let (_mesh, address) = Mesh::pair("kubernetes.io/h2c", app.port).await?;
        let plan = Plan {
            address,
            version: Version::Http2,
            count,
            connections: 4,
            streams: 16,
        };
        let begun = Instant::now();
        let sum = run(&plan).await?;
        let goaways = app.seen.goaways();
        ensure!(goaways >= count / 200, "only {goaways} GOAWAYs in {count}");
        judge("goaway-http2", &app, &sum, begun)
    })
}

async fn http1(count: u64) -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
    let app = closing().await?;
    Ok(async move {
        let (_mesh, address) = Mesh::pair("http", app.port).await?;
        let plan = Plan {
            address,
            version: Version::Http1,
            count,
            connections: 32,
            streams: 1,
        };
        let begun = Instant::now();
        let sum = run(&plan).await?;
        let connections = app.seen.connections();
        ensure!(connections >= count / 200, "only {connections} in {count}");
        judge("idle-close-http1", &app, &sum, begun)
    })
}

fn judge(case: &str, app: &Backend, sum: &Sum, begun: Instant) -> anyhow::Result<()> {
    let duplicates = app.seen.duplicates();
    let asked = sum.gets + sum.posts + sum.lost_gets() + sum.lost_posts();
    record(
        case,
        format!(
            "{} of {} GETs failed {:?}, {} of {} POSTs duplicated, {} of them failed {:?}; {} connections \
             of the app, {} ended by GOAWAY; {:.0} s for {asked}",
            sum.lost_gets(),
            sum.gets + sum.lost_gets(),
            sum.failed_gets,
            duplicates.len(),
            sum.posts + sum.lost_posts(),
            sum.lost_posts(),
            sum.failed_posts,
            app.seen.connections(),
            app.seen.goaways(),
            begun.elapsed().as_secs_f64(),
        ),
    );
    ensure!(sum.lost_gets() == 0, "GETs failed");
    ensure!(duplicates.is_empty(), "POSTs arrived twice: {duplicates:?}");
    ensure!(
        app.seen.posts() as u64 >= sum.posts,
        "POSTs were answered that never arrived"
    );
    Ok(())
}
