//! Endpoints that fail are taken out exactly when they should be, never too many, and come back.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::binomial::bounds;
use e2e::figure::record;
use e2e::mesh::{Mesh, Workload, free_address, free_port, service};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::app::App;
use super::client::{Answer, get};

/// Times that an endpoint falls ill and recovers.
const ROUNDS: u64 = 5;
/// Requests while it is ill, after those that took it out.
const WHILE_ILL: u64 = 200;
/// Requests in panic.
const PANIC: u32 = 2000;
/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Services, how many apps each has, and their policies.
const SERVICES: [(&str, usize, &str); 6] = [
    (
        "row",
        2,
        "outlierDetection: { consecutive: { errors5xx: 5 }, baseEjection: 50ms, maxEjection: 50ms }",
    ),
    (
        "cap",
        4,
        // By turns: under EWMA one that never answered may get nothing while others answer at once.
        "outlierDetection: { consecutive: { errors5xx: 5 }, baseEjection: 1h, maxEjectedPercent: 50 }, \
         loadBalancing: { algorithm: RoundRobin }",
    ),
    (
        "single",
        1,
        "outlierDetection: { consecutive: { errors5xx: 1 }, baseEjection: 1h, maxEjectedPercent: 100 }",
    ),
    (
        "panic",
        4,
        "outlierDetection: { consecutive: { gatewayErrors: 2 }, baseEjection: 1h, maxEjectedPercent: 75, \
         panicThreshold: 50 }, loadBalancing: { algorithm: Random }",
    ),
    (
        "share",
        3,
        "outlierDetection: { failurePercentage: { threshold: 50, minimumHosts: 3, requestVolume: 20 }, \
         interval: 500ms, baseEjection: 1h }, loadBalancing: { algorithm: RoundRobin }",
    ),
    (
        "gone",
        1,
        "outlierDetection: { consecutive: { localOriginFailures: 3 }, baseEjection: 1h }, \
         loadBalancing: { algorithm: RoundRobin }",
    ),
];

/// The apps of a service, and where its caller listens.
struct Place {
    apps: Vec<App>,
    address: SocketAddr,
}

/// Starts a mesh with a service per policy, and judges each.
pub(crate) async fn run() -> anyhow::Result<()> {
    let mut manifests = String::new();
    let mut caller = Workload::new("caller");
    let mut places = Vec::new();
    for (name, count, sections) in SERVICES {
        manifests += &service(name, 80, "http");
        manifests += &policy(name, sections);
        let mut apps = Vec::new();
        for at in 0..count {
            let app = App::start().await?;
            manifests += &outside(&format!("{name}-{at}"), name, app.port);
            apps.push(app);
        }
        let address = free_address()?;
        caller = caller.upstream(name, 80, address);
        places.push(Place { apps, address });
    }
    // Nobody listens there.
    manifests += &outside("gone-1", "gone", free_port()?);
    let mut mesh = Mesh::start(&manifests).await?;
    mesh.run(&caller)?;
    mesh.wait_synced().await?;
    let [row, cap, single, panic, share, gone] = &places[..] else {
        return Ok(());
    };
    trips_and_recovers(&mesh, row).await?;
    keeps_its_share(&mesh, cap).await?;
    never_takes_all(&mesh, single).await?;
    panics(&mesh, panic).await?;
    counts_shares(&mesh, share).await?;
    counts_connects(&mesh, gone).await
}

/// A policy of a service.
pub(crate) fn policy(service: &str, sections: &str) -> String {
    format!(
        "---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\n\
         metadata: {{ name: {service}, namespace: e2e }}\n\
         spec: {{ targetRefs: [{{ kind: Service, name: {service} }}], {sections} }}\n"
    )
}

/// An app outside the mesh.
pub(crate) fn outside(name: &str, app: &str, port: u16) -> String {
    format!(
        "---\napiVersion: mesh.dev/v1alpha1\nkind: Workload\n\
         metadata: {{ name: {name}, namespace: e2e, labels: {{ app: {app} }} }}\n\
         spec: {{ address: 127.0.0.1, ports: {{ main: {port} }}, protocol: None }}\n"
    )
}

/// One GET, now by this worker and now by that: a connection that says nothing moves it to another.
async fn ask(place: &Place, turn: u64) -> anyhow::Result<u16> {
    let silent = match turn % 2 {
        0 => None,
        _ => Some(TcpStream::connect(place.address).await?),
    };
    let answer = get(place.address, "/").await?;
    drop(silent);
    ensure!(answer == Answer::of_app(answer.status), "{answer:?}");
    Ok(answer.status)
}

/// The value of a sample, 0 where there is none.
pub(crate) async fn sample(mesh: &Mesh, series: &str) -> anyhow::Result<u64> {
    let metrics = mesh.metrics("caller").await?;
    let found = metrics.lines().find_map(|line| line.strip_prefix(series));
    found.map_or(Ok(0), |value| {
        value.trim().parse().with_context(|| value.to_owned())
    })
}

async fn ejections(mesh: &Mesh, service: &str, reason: &str) -> anyhow::Result<u64> {
    let series =
        format!("mesh_ejections_total{{backend=\"e2e/{service}:80\",reason=\"{reason}\"}} ");
    sample(mesh, &series).await
}

/// Five errors in a row take one of two out, and its callers see exactly these five, however often it is tried
/// meanwhile; once it is well, it gets requests again.
async fn trips_and_recovers(mesh: &Mesh, place: &Place) -> anyhow::Result<()> {
    let ill = &place.apps[0];
    let (mut asked, mut seen) = (0u64, 0u64);
    for round in 0..ROUNDS {
        ill.mood.status.store(500, Ordering::SeqCst);
        let begun = Instant::now();
        let mut failed = 0;
        while failed < 5 {
            failed += u64::from(ask(place, asked).await? == 500);
            asked += 1;
            ensure!(begun.elapsed() < PATIENCE, "round {round}: {failed} failed");
        }
        for _ in 0..WHILE_ILL {
            failed += u64::from(ask(place, asked).await? == 500);
            asked += 1;
        }
        ensure!(failed == 5, "round {round}: {failed} failed");
        seen += failed;
        ill.mood.status.store(200, Ordering::SeqCst);
        let before = ill.requests();
        while ill.requests() < before + 10 {
            ensure!(ask(place, asked).await? == 200, "round {round}");
            asked += 1;
            ensure!(begun.elapsed() < PATIENCE, "round {round}: it is not back");
        }
    }
    let tripped = ejections(mesh, "row", "errors-5xx").await?;
    ensure!(tripped == ROUNDS, "{tripped} ejections in {ROUNDS} rounds");
    let probes = ejections(mesh, "row", "probe-failed").await?;
    record(
        "outliers-row",
        format!(
            "{seen} of {asked} requests failed, {} in each of {ROUNDS} rounds with {WHILE_ILL} more while it was ill; \
             {probes} failed probes that no caller saw",
            seen / ROUNDS
        ),
    );
    Ok(())
}

/// Of four that all fail two are taken out, each after five errors, and the others get all the rest.
async fn keeps_its_share(mesh: &Mesh, place: &Place) -> anyhow::Result<()> {
    for app in &place.apps {
        app.mood.status.store(500, Ordering::SeqCst);
    }
    for turn in 0..400 {
        ensure!(ask(place, turn).await? == 500, "request {turn}");
    }
    let mut counts: Vec<u64> = place.apps.iter().map(App::requests).collect();
    counts.sort_unstable();
    ensure!(
        counts[..2] == [5, 5] && counts[2] + counts[3] == 390,
        "{counts:?}"
    );
    let ejected = ejections(mesh, "cap", "errors-5xx").await?;
    let out = sample(mesh, "mesh_endpoints_out{backend=\"e2e/cap:80\"} ").await?;
    ensure!((ejected, out) == (2, 2), "{ejected} ejections, {out} out");
    record(
        "outliers-cap",
        format!("2 of 4 failing endpoints out at 50 %, after 5 requests each; {counts:?} of 400"),
    );
    Ok(())
}

/// The only endpoint stays, at 100 % too.
async fn never_takes_all(mesh: &Mesh, place: &Place) -> anyhow::Result<()> {
    place.apps[0].mood.status.store(500, Ordering::SeqCst);
    for turn in 0..50 {
        ensure!(ask(place, turn).await? == 500, "request {turn}");
    }
    let (reached, ejected) = (
        place.apps[0].requests(),
        ejections(mesh, "single", "errors-5xx").await?,
    );
    ensure!((reached, ejected) == (50, 0), "{reached} {ejected}");
    record(
        "outliers-single",
        "50 of 50 requests reached the only endpoint, which failed; 0 ejections".to_owned(),
    );
    Ok(())
}

/// With three of four out, all are used again: drawn, each gets a quarter.
async fn panics(mesh: &Mesh, place: &Place) -> anyhow::Result<()> {
    for app in &place.apps[1..] {
        app.mood.status.store(503, Ordering::SeqCst);
    }
    let begun = Instant::now();
    let mut turn = 0;
    while ejections(mesh, "panic", "gateway-errors").await? < 3 {
        ask(place, turn).await?;
        turn += 1;
        ensure!(begun.elapsed() < PATIENCE, "three are not out");
    }
    let picks = "mesh_panic_picks_total{backend=\"e2e/panic:80\"} ";
    let before: Vec<u64> = place.apps.iter().map(App::requests).collect();
    let picked = sample(mesh, picks).await?;
    let mut asking = JoinSet::new();
    for _ in 0..8 {
        let address = place.address;
        asking.spawn(async move {
            for _ in 0..PANIC / 8 {
                get(address, "/").await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(asked) = asking.join_next().await {
        asked??;
    }
    let counts: Vec<u64> = place
        .apps
        .iter()
        .zip(before)
        .map(|(app, before)| app.requests() - before)
        .collect();
    let wanted = bounds(PANIC, 0.25);
    ensure!(
        counts.iter().all(|count| wanted.contains(count)),
        "{counts:?}, not within {wanted:?}"
    );
    let picked = sample(mesh, picks).await? - picked;
    ensure!(picked == u64::from(PANIC), "{picked} picks in panic");
    record(
        "outliers-panic",
        format!(
            "{counts:?} of {PANIC} with 3 of 4 out, each within {wanted:?}; {picked} picks counted"
        ),
    );
    Ok(())
}

/// Half of its requests failing takes one of three out at the end of an interval.
async fn counts_shares(mesh: &Mesh, place: &Place) -> anyhow::Result<()> {
    place.apps[0].mood.status.store(500, Ordering::SeqCst);
    let begun = Instant::now();
    let mut turn = 0;
    while ejections(mesh, "share", "failure-percentage").await? == 0 {
        for _ in 0..30 {
            ask(place, turn).await?;
            turn += 1;
        }
        ensure!(begun.elapsed() < PATIENCE, "it is not out");
    }
    let took = begun.elapsed();
    let before = place.apps[0].requests();
    for turn in 0..100 {
        ensure!(ask(place, turn).await? == 200, "request {turn}");
    }
    let after = place.apps[0].requests() - before;
    ensure!(after == 0, "{after} reached it");
    record(
        "outliers-share",
        format!(
            "out after {before} of {turn} requests in {:.1} s, then 0 of 100",
            took.as_secs_f64()
        ),
    );
    Ok(())
}

/// Three failed connects take one of two out; no caller sees them.
async fn counts_connects(mesh: &Mesh, place: &Place) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut turn = 0;
    while ejections(mesh, "gone", "local-origin-failures").await? == 0 {
        ensure!(ask(place, turn).await? == 200, "request {turn}");
        turn += 1;
        ensure!(begun.elapsed() < PATIENCE, "it is not out");
        sleep(Duration::from_millis(1)).await;
    }
    for turn in 0..50 {
        ensure!(ask(place, turn).await? == 200, "request {turn}");
    }
    let by_default = ejections(mesh, "gone", "connect-failed").await?;
    ensure!(by_default == 0, "{by_default} by the defaults");
    record(
        "outliers-connects",
        format!(
            "out after 3 failed connects; {0} of {0} answered",
            turn + 50
        ),
    );
    Ok(())
}
