//! A new endpoint gets less than its share at first, and all of it once its time is over.

use std::time::Duration;

use anyhow::ensure;
use e2e::binomial::bounds;
use e2e::figure::record;
use e2e::load::{Version, paced};
use e2e::mesh::service;
use tokio::time::{Instant, sleep_until};

use crate::{Case, app, policy, since};

/// How long an endpoint is new.
const WINDOW: Duration = Duration::from_secs(12);
/// Requests of each part of that time, at [`RATE`] a second.
const PART: u32 = 800;
const RATE: u32 = 400;
/// Endpoints, the new one included.
const ENDPOINTS: f64 = 4.0;

pub(crate) async fn run() -> anyhow::Result<()> {
    let section = format!(
        "loadBalancing: {{ algorithm: Random, slowStart: {}s }}",
        WINDOW.as_secs()
    );
    let manifests = service("shop", 80, "http") + &policy("shop", &section);
    let last = app("app3", Duration::ZERO).await?;
    let port = last.port;
    let mut case = Case::of_one(&manifests, 3, Duration::ZERO, last).await?;
    // All are new to a proxy that starts: none gets less.
    let even = part(&case).await?;
    ensure!(
        bounds(PART, 1.0 / ENDPOINTS).contains(&even),
        "at the start: {even} of {PART}"
    );
    case.leave("app3");
    case.write(&manifests)?;
    case.has_endpoints(3).await?;
    let before = Instant::now();
    case.join("app3", port);
    case.write(&manifests)?;
    case.has_endpoints(4).await?;
    let known = Instant::now();
    // It became new between these two moments.
    let mut counts = Vec::new();
    for quarter in 0..4 {
        sleep_until(known + WINDOW / 4 * quarter).await;
        let begun = Instant::now();
        let count = part(&case).await?;
        let least = share(begun - known);
        let most = share(before.elapsed());
        let wanted = *bounds(PART, least).start()..=*bounds(PART, most).end();
        ensure!(
            wanted.contains(&count),
            "quarter {quarter}: {count} of {PART}, not {wanted:?}"
        );
        counts.push(count);
    }
    let full = bounds(PART, 1.0 / ENDPOINTS);
    ensure!(
        counts[0] < *full.start(),
        "the full share at once: {counts:?}"
    );
    sleep_until(known + WINDOW).await;
    let after = part(&case).await?;
    ensure!(
        full.contains(&after),
        "after: {after} of {PART}, not {full:?}"
    );
    record(
        "slow start",
        format!(
            "a 4th endpoint, new for {WINDOW:?}: {counts:?} of {PART} in each quarter of that time, then {after}; \
             each within exact bounds at 10^-6, 0 failed"
        ),
    );
    Ok(())
}

/// The share of a new endpoint at an age: it has a tenth of its weight at first, and all at the end.
fn share(age: Duration) -> f64 {
    let grown = (age.as_secs_f64() / WINDOW.as_secs_f64()).min(1.0);
    // Its weight goes by whole percents.
    let weight = f64::floor(10.0 + 90.0 * grown) / 100.0;
    weight / (ENDPOINTS - 1.0 + weight)
}

/// What of some requests the last app gets.
async fn part(case: &Case) -> anyhow::Result<u64> {
    let before = case.requests();
    let sent = paced(case.address, Version::Http1, RATE, PART).await?;
    ensure!(sent.failed == 0, "{} of {PART} failed", sent.failed);
    let counts = since(&before, &case.requests());
    Ok(counts.last().copied().unwrap_or_default())
}
