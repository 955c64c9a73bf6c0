//! The canary: 90/10 within exact bounds, and flips that cost no request.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep};

use super::{Figure, load, plan};
use crate::demo::generate::{self, Load};
use crate::demo::mesh::{MANIFESTS, Mesh};

/// Probability that a fair split falls outside the bounds.
const RISK: f64 = 1e-6;
const REQUESTS: u32 = 10_000;
const FILE: &str = "catalog.yaml";

/// 10,000 requests at 90/10.
pub(super) async fn split(mesh: &Mesh) -> Figure {
    let load = generate::run(plan(mesh, "catalog", "/items/", REQUESTS)?).await;
    ensure!(load.ok == u64::from(REQUESTS), "{}", load.figure());
    let canary = load.by_version.get("v2").copied().unwrap_or(0);
    let (low, high) = bounds(REQUESTS, 0.1, RISK);
    let figure =
        format!("{canary} of {REQUESTS} to v2 at 10 %; bounds at {RISK:e}: {low} to {high}");
    ensure!((low..=high).contains(&canary), "{figure}");
    Ok(figure)
}

/// 90/10 to 50/50 to 0/100 under load.
pub(super) async fn flips(mesh: &Mesh) -> Figure {
    let plan = load(mesh, 7)?;
    let (load, flipped) = tokio::join!(generate::run(plan), flip(mesh));
    let original = MANIFESTS.iter().find(|(name, _)| *name == FILE);
    let (_, original) = original.context("the demo has a canary route")?;
    mesh.write_manifest(FILE, original)?;
    let flipped = flipped?;
    ensure!(load.ok == load.sent, "{}", load.figure());
    for instance in ["v1-0", "v1-1"] {
        let late = late(&load, instance, flipped);
        ensure!(
            late <= Duration::from_secs(1),
            "{instance} was sent requests {late:?} after 0/100"
        );
    }
    // The file is back at 90/10 before the next check counts on it.
    sleep(Duration::from_millis(500)).await;
    Ok(format!("50/50 and 0/100 under load: {}", load.figure()))
}

/// How long after `moment` the instance was still sent a request.
pub(super) fn late(load: &Load, instance: &str, moment: Instant) -> Duration {
    let seen = load.by_instance.get(instance);
    seen.map_or(Duration::ZERO, |seen| {
        seen.last_sent.saturating_duration_since(moment)
    })
}

/// Flips twice; the moment of the last flip.
async fn flip(mesh: &Mesh) -> anyhow::Result<Instant> {
    sleep(Duration::from_secs(2)).await;
    mesh.write_manifest(FILE, &route(50, 50))?;
    sleep(Duration::from_secs(2)).await;
    mesh.write_manifest(FILE, &route(0, 100))?;
    Ok(Instant::now())
}

fn route(v1: u32, v2: u32) -> String {
    format!(
        r#"apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: catalog, namespace: demo }}
spec:
  parentRefs: [{{ group: "", kind: Service, name: catalog, port: 80 }}]
  rules:
  - backendRefs:
    - {{ name: catalog-v1, port: 80, weight: {v1} }}
    - {{ name: catalog-v2, port: 80, weight: {v2} }}
"#
    )
}

/// The narrowest counts between which a binomial variable lies but for `risk`, half on each side.
fn bounds(count: u32, chance: f64, risk: f64) -> (u64, u64) {
    let mut mass = Vec::with_capacity(count as usize + 1);
    let mut log = f64::from(count) * (1.0 - chance).ln();
    for hits in 0..=count {
        mass.push(log.exp());
        log +=
            (f64::from(count - hits) / f64::from(hits + 1)).ln() + (chance / (1.0 - chance)).ln();
    }
    let tail = |masses: &mut dyn Iterator<Item = &f64>| {
        let mut sum = 0.0;
        masses
            .take_while(|mass| {
                sum += **mass;
                sum <= risk / 2.0
            })
            .count() as u64
    };
    let low = tail(&mut mass.iter());
    let high = u64::from(count) - tail(&mut mass.iter().rev());
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_exact() {
        // Of 10 fair tosses, 0 or 10 heads have the chance 2^-10 each.
        assert_eq!(bounds(10, 0.5, 2.0 * 0.000_976_6), (1, 9));
        assert_eq!(bounds(10, 0.5, 2.0 * 0.000_976_5), (0, 10));
        let (low, high) = bounds(10_000, 0.1, 1e-6);
        assert!(
            (850..=860).contains(&low) && (1143..=1153).contains(&high),
            "{low} {high}"
        );
    }
}
