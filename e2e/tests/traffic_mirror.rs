//! Copies of requests through sidecars: shares within exact bounds, contents whole, and what a dead mirror
//! costs the request.

use std::time::Duration;

use anyhow::ensure;
use e2e::backend::{Backend, http};
use e2e::binomial::bounds;
use e2e::figure::{percentile, record, say};
use e2e::load::{Plan, Version, paced, run};
use e2e::mesh::{Mesh, Workload, free_address, free_port, service};
use e2e::process::wait_until;

/// Requests of a share; every second is a POST with content.
const COUNT: u32 = 10_000;
const SOON: Duration = Duration::from_secs(10);

fn route(filters: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: echo, namespace: e2e }}\nspec:\n  parentRefs: [{{ group: \"\", kind: Service, name: echo, port: 80 }}]\n  rules: [{{ filters: [{filters}], backendRefs: [{{ name: echo, port: 80 }}] }}]\n"
    )
}

const SETTINGS: &str = "---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: { name: copies, namespace: e2e }\nspec: { targetRefs: [{ kind: Service, name: echo }], mirror: { compare: [Status, BodyHash], maxConcurrent: 1000 } }\n";

fn mirror(to: &str, share: &str) -> String {
    format!(
        "{{ type: RequestMirror, requestMirror: {{ backendRef: {{ name: {to}, port: 80 }}{share} }} }}"
    )
}

/// The sum of samples of the caller's `mesh_mirrors_total` to a backend.
async fn copies(mesh: &Mesh, backend: &str, outcome: &str) -> anyhow::Result<u64> {
    let metrics = mesh.metrics("caller").await?;
    let samples = metrics.lines().filter(|line| {
        line.starts_with("mesh_mirrors_total{")
            && line.contains(&format!("backend=\"e2e/{backend}:80\""))
            && line.contains(&format!("outcome=\"{outcome}\""))
    });
    Ok(samples
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum())
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn shares_of_copies_are_exact_and_contents_whole() -> anyhow::Result<()> {
    let (app, all, some): (Backend, Backend, Backend) =
        (http().await?, http().await?, http().await?);
    let filters = [
        mirror("all", ""),
        mirror("some", ", fraction: { numerator: 3, denominator: 40 }"),
    ];
    let services = ["echo", "all", "some"]
        .map(|name| service(name, 80, ""))
        .concat();
    let mut mesh = Mesh::start(&format!(
        "{services}{}{SETTINGS}",
        route(&filters.join(", "))
    ))
    .await?;
    let listen = free_address()?;
    for (name, backend) in [("echo", &app), ("all", &all), ("some", &some)] {
        mesh.run(&Workload::new(name).port(backend.port))?;
    }
    mesh.run(&Workload::new("caller").upstream("echo", 80, listen))?;
    mesh.wait_synced().await?;
    let plan = Plan {
        address: listen,
        version: Version::Http1,
        count: COUNT.into(),
        connections: 8,
        streams: 1,
    };
    let sum = run(&plan).await?;
    ensure!(sum.lost_gets() + sum.lost_posts() == 0, "{sum:?}");
    let count = u64::from(COUNT);
    let whole = || async { Ok(copies(&mesh, "all", "answered").await? == count) };
    wait_until("every copy is answered", SOON, whole).await?;
    ensure!(
        all.seen.requests() == count,
        "{} copies",
        all.seen.requests()
    );
    // A POST's content is its number: each came once and whole.
    ensure!(
        all.seen.posts() as u64 == count / 2,
        "{} contents",
        all.seen.posts()
    );
    ensure!(all.seen.duplicates().is_empty(), "copies were sent twice");
    let within = bounds(COUNT, 0.075);
    let drawn = || async { Ok(copies(&mesh, "some", "answered").await? == some.seen.requests()) };
    wait_until("the others are answered", SOON, drawn).await?;
    let hit = some.seen.requests();
    ensure!(
        within.contains(&hit),
        "{hit} of {COUNT}, not within {within:?}"
    );
    let metrics = mesh.metrics("caller").await?;
    ensure!(!metrics.contains("result=\"different\""), "answers differ");
    record(
        "traffic-mirror",
        format!(
            "{} of {COUNT} copies arrived whole; {hit} of {COUNT} at 7.5 % ({} to {})",
            all.seen.requests(),
            within.start(),
            within.end()
        ),
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn a_dead_mirror_costs_no_request() -> anyhow::Result<()> {
    let app = http().await?;
    let services = ["echo", "dead"].map(|name| service(name, 80, "")).concat();
    let dead = dead_workload()?;
    let manifests = format!("{services}{dead}{}{SETTINGS}", route(&mirror("dead", "")));
    let mut mesh = Mesh::start(&manifests).await?;
    let listen = free_address()?;
    mesh.run(&Workload::new("echo").port(app.port))?;
    mesh.run(&Workload::new("caller").upstream("echo", 80, listen))?;
    mesh.wait_synced().await?;
    for version in [Version::Http1, Version::Http2] {
        let plan = Plan {
            address: listen,
            version,
            count: 5_000,
            connections: 8,
            streams: 1,
        };
        let sum = run(&plan).await?;
        ensure!(sum.lost_gets() + sum.lost_posts() == 0, "{sum:?}");
    }
    let failed = copies(&mesh, "dead", "failed").await?;
    ensure!(failed > 0, "nothing was copied");
    ensure!(
        app.seen.requests() == 10_000,
        "{} arrived",
        app.seen.requests()
    );
    record(
        "traffic-mirror-dead",
        format!("0 of 10000 requests failed; {failed} copies did"),
    );
    Ok(())
}

/// Nothing listens there, and there is no sidecar.
fn dead_workload() -> anyhow::Result<String> {
    Ok(format!(
        "---\napiVersion: mesh.dev/v1alpha1\nkind: Workload\nmetadata: {{ name: dead, namespace: e2e, labels: {{ app: dead }} }}\nspec: {{ address: 127.0.0.1, ports: {{ main: {} }}, protocol: None }}\n",
        free_port()?
    ))
}

/// Rounds of each kind, interleaved.
const ROUNDS: usize = 11;
/// Requests of a round, at 500 a second.
const ROUND: u32 = 2_000;

#[tokio::test]
#[ignore = "takes minutes: cargo xtask prove dead_mirror"]
async fn prove_dead_mirror_does_not_slow_requests() -> anyhow::Result<()> {
    let app = http().await?;
    let names = ["echo", "plain", "dead"];
    let services = names.map(|name| service(name, 80, "")).concat();
    let (route, dead) = (route(&mirror("dead", "")), dead_workload()?);
    let mut mesh = Mesh::start(&format!("{services}{dead}{route}{SETTINGS}")).await?;
    let [mirrored, plain] = [free_address()?, free_address()?];
    for name in ["echo", "plain"] {
        mesh.run(&Workload::new(name).port(app.port))?;
    }
    let caller = Workload::new("caller").upstream("echo", 80, mirrored);
    mesh.run(&caller.upstream("plain", 80, plain))?;
    mesh.wait_synced().await?;
    paced(mirrored, Version::Http1, 500, ROUND).await?;
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let without = paced(plain, Version::Http1, 500, ROUND).await?;
        let with = paced(mirrored, Version::Http1, 500, ROUND).await?;
        ensure!(without.failed + with.failed == 0, "{with:?}");
        ratios.push(with.latency[1].as_nanos() * 1000 / without.latency[1].as_nanos().max(1));
    }
    ratios.sort_unstable();
    say(format!("{ratios:?}"));
    let median = percentile(&ratios, 50);
    let failed = copies(&mesh, "dead", "failed").await?;
    record(
        "traffic-mirror-dead-p99",
        format!(
            "p99 x {}.{:03} of a Service without (median of {ROUNDS} rounds of {ROUND} at 500/s, {} to {} permille), 0 failed, {failed} copies did",
            median / 1000,
            median % 1000,
            ratios.first().copied().unwrap_or_default(),
            ratios.last().copied().unwrap_or_default(),
        ),
    );
    ensure!(median <= 1100, "{median} permille");
    Ok(())
}
