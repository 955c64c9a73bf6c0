//! Localities: endpoints of the caller's own zone first, others where these fail, and fixed shares.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use e2e::backend::Backend;
use e2e::binomial::bounds;
use e2e::figure::record;
use e2e::load::{Version, paced};
use e2e::mesh::{Workload, free_address, service};
use tokio::time::sleep;

use crate::{Case, app, policy, since};

/// Requests of each part, and how many a second.
const PART: u32 = 2_000;
const RATE: u32 = 1_000;
/// Requests of the split.
const SPLIT: u32 = 10_000;
/// Where the apps are; the caller is where the first is.
const PLACES: [(&str, &str); 5] = [
    ("eu-1", "a"),
    ("eu-1", "a"),
    ("eu-1", "b"),
    ("eu-2", "a"),
    ("us-1", "a"),
];

pub(crate) async fn run() -> anyhow::Result<()> {
    let prefer =
        "loadBalancing: { locality: { mode: PreferLocal, failover: [{ from: eu-1, to: eu-2 }] } }";
    let manifests = service("shop", 80, "http") + &policy("shop", prefer);
    let mut case = start(&manifests).await?;
    near(&case).await?;
    let counts = part(&case).await?;
    ensure!(
        counts[0] + counts[1] == u64::from(PART),
        "not in the own zone: {counts:?}"
    );
    let local = counts;
    let mut ways = Vec::new();
    // The zone's, then the region's, then those of the next region stop while requests come.
    for stopping in [&[0, 1][..], &[2], &[3]] {
        let (address, apps) = (case.address, &mut case.apps);
        let stop = async {
            sleep(Duration::from_millis(500)).await;
            for at in stopping {
                apps.remove(&name(*at));
            }
        };
        let (sent, ()) = tokio::join!(paced(address, Version::Http1, RATE, PART), stop);
        let sent = sent?;
        ensure!(sent.failed == 0, "{} of {PART} failed", sent.failed);
        let counts = part(&case).await?;
        ways.push(counts);
    }
    // What is left of the apps: [b, eu-2, us-1], then [eu-2, us-1], then [us-1].
    for counts in &ways {
        let nearest = counts.first().copied().unwrap_or_default();
        ensure!(nearest == u64::from(PART), "not the next nearest: {ways:?}");
    }
    record(
        "locality",
        format!(
            "{local:?} of {PART} requests by nearness; zone, region and the next region stop one after the other under \
             {RATE} requests a second: 0 of {} failed, and then all {PART} go to the next nearest",
            3 * PART
        ),
    );
    weights().await
}

/// Fixed shares.
async fn weights() -> anyhow::Result<()> {
    let section = "loadBalancing: { algorithm: Random, locality: { weights: [{ from: eu-1/a, to: { eu-1/a: 60, eu-1: 30, \
                   eu-2: 10 } }] } }";
    let manifests = service("shop", 80, "http") + &policy("shop", section);
    let mut case = start(&manifests).await?;
    let wanted = [0.3, 0.3, 0.3, 0.1, 0.0];
    let all = split(&case, &wanted).await?;
    // The next region has none: its share goes to the others, in proportion.
    drop(case.apps.remove(&name(3)));
    part(&case).await?;
    let rest = split(&case, &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.0]).await?;
    record(
        "locality weights",
        format!(
            "60/30/10: {all:?} of {SPLIT}, then without the last place's app {rest:?}; within exact bounds at 10^-6"
        ),
    );
    Ok(())
}

async fn split(case: &Case, wanted: &[f64]) -> anyhow::Result<Vec<u64>> {
    let before = case.requests();
    let sent = paced(case.address, Version::Http1, RATE, SPLIT).await?;
    ensure!(sent.failed == 0, "{} of {SPLIT} failed", sent.failed);
    let counts = since(&before, &case.requests());
    for (count, share) in counts.iter().zip(wanted) {
        let wanted = bounds(SPLIT, *share);
        ensure!(wanted.contains(count), "{counts:?}: not {wanted:?}");
    }
    Ok(counts)
}

/// Apps at their places, and a caller at the first.
async fn start(manifests: &str) -> anyhow::Result<Case> {
    let mut apps: BTreeMap<String, Backend> = BTreeMap::new();
    let mut workloads = BTreeMap::new();
    for (at, (region, zone)) in PLACES.iter().enumerate() {
        let one = app(&name(at), Duration::ZERO).await?;
        let text = crate::outside(&name(at), "shop", one.port).replace(
            "protocol: None",
            &format!("protocol: None, locality: {{ region: {region}, zone: {zone} }}"),
        );
        workloads.insert(name(at), text);
        apps.insert(name(at), one);
    }
    let mut case = Case::run(manifests, apps, workloads).await?;
    let address = free_address()?;
    let near = Workload::new("near")
        .label("topology.kubernetes.io/region", "eu-1")
        .label("topology.kubernetes.io/zone", "a")
        .upstream("shop", 80, address);
    case.mesh.run(&near)?;
    case.mesh.wait_synced().await?;
    case.address = address;
    case.callers = vec!["near".to_owned()];
    case.has_endpoints(PLACES.len()).await?;
    Ok(case)
}

fn name(at: usize) -> String {
    format!("app{at}")
}

/// What is explained: all of the share is in the own zone.
async fn near(case: &Case) -> anyhow::Result<()> {
    let is_so = |answer: &serde_json::Value| {
        let found = answer["outcomes"][0]["endpoints"].as_array();
        let near = |at: usize| found.and_then(|all| all.get(at)?["near"].as_str());
        let mut all: Vec<_> = (0..PLACES.len()).map(near).collect();
        all.sort_unstable();
        let same = Some("same zone");
        all == [
            Some("elsewhere"),
            Some("failover"),
            Some("same region"),
            same,
            same,
        ]
    };
    case.in_force("near", "shop", is_so).await
}

/// What each app gets of some requests.
async fn part(case: &Case) -> anyhow::Result<Vec<u64>> {
    let before = case.requests();
    let sent = paced(case.address, Version::Http1, RATE, PART).await?;
    ensure!(sent.failed == 0, "{} of {PART} failed", sent.failed);
    Ok(since(&before, &case.requests()))
}
