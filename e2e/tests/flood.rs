//! Floods of frames: each connection is closed in time, honest clients lose nothing.

use std::time::Duration;

use anyhow::ensure;
use e2e::backend::http;
use e2e::figure::{percentile, record, say};
use e2e::flood::{Flood, LIMIT, attack, run};
use e2e::load::{Version, open, paced, request};
use e2e::mesh::Mesh;
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const H2C: &str = "kubernetes.io/h2c";
/// RPCs of the client that cancels some.
const RPCS: u64 = 20_000;

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn floods_are_closed_within_10_000_frames() -> anyhow::Result<()> {
    let app = http().await?;
    let (_mesh, address) = Mesh::pair(H2C, app.port).await?;
    let mut found = Vec::new();
    let mut open = Vec::new();
    for flood in Flood::ALL {
        match run(address, flood).await {
            Ok(closed) => found.push(format!("{flood:?} {}", closed.frames)),
            Err(error) => open.push(format!("{flood:?}: {error:#}")),
        }
    }
    record(
        "floods",
        format!(
            "{} of {} closed within {LIMIT} frames: {}",
            found.len(),
            Flood::ALL.len(),
            found.join(", ")
        ),
    );
    ensure!(open.is_empty(), "{}", open.join("; "));
    let after = paced(address, Version::Http2, 500, 500).await?;
    ensure!(
        after.failed == 0,
        "{} of 500 failed afterwards",
        after.failed
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn a_client_that_cancels_a_third_loses_none() -> anyhow::Result<()> {
    let app = http().await?;
    let (_mesh, address) = Mesh::pair(H2C, app.port).await?;
    let connection = open(address, Version::Http2).await?;
    let mut asked = JoinSet::new();
    let mut cancelled = 0;
    let mut good = 0;
    let mut failed = Vec::new();
    for number in 0..RPCS {
        let mut sender = connection.sender.clone();
        // Spread evenly: 3 of 10.
        let cancel = number % 10 < 3;
        cancelled += u64::from(cancel);
        let ask = async move {
            if cancel {
                // Long enough for the head to leave, too short for the answer.
                timeout(Duration::from_micros(300), sender.send(request(number)?))
                    .await
                    .ok();
                return anyhow::Ok(None);
            }
            let response = sender.send(request(number)?).await?;
            let status = response.status().as_u16();
            let error = response.headers().get("mesh-error").cloned();
            response.into_body().collect().await?;
            ensure!(status == 200, "{status} {error:?}");
            Ok(Some(()))
        };
        asked.spawn(ask);
        while asked.len() >= 50 {
            let Some(answer) = asked.join_next().await else {
                break;
            };
            count(answer?, &mut good, &mut failed);
        }
    }
    while let Some(answer) = asked.join_next().await {
        count(answer?, &mut good, &mut failed);
    }
    record(
        "honest-cancels",
        format!(
            "{good} of {} kept RPCs answered, {cancelled} of {RPCS} cancelled, one connection",
            RPCS - cancelled
        ),
    );
    ensure!(
        good == RPCS - cancelled,
        "{} failed: {:?}",
        failed.len(),
        failed.first()
    );
    Ok(())
}

fn count(answer: anyhow::Result<Option<()>>, good: &mut u64, failed: &mut Vec<String>) {
    match answer {
        Ok(None) => {}
        Ok(Some(())) => *good += 1,
        Err(error) => failed.push(format!("{error:#}")),
    }
}

/// Rounds of each kind, interleaved.
const ROUNDS: usize = 11;
/// Requests of a round, at 500 a second.
const ROUND: u32 = 2_000;

#[tokio::test]
#[ignore = "takes minutes: cargo xtask prove floods"]
async fn prove_floods_do_not_slow_others() -> anyhow::Result<()> {
    let app = http().await?;
    let (_mesh, address) = Mesh::pair(H2C, app.port).await?;
    paced(address, Version::Http2, 500, ROUND).await?;
    let mut slower = Vec::new();
    for flood in Flood::ALL {
        let mut ratios = Vec::new();
        let mut closed = 0;
        for _ in 0..ROUNDS {
            let calm = paced(address, Version::Http2, 500, ROUND).await?;
            let until = Instant::now() + Duration::from_secs(1) * ROUND / 500;
            let (attacked, ended) = tokio::join!(
                paced(address, Version::Http2, 500, ROUND),
                attack(address, flood, 10, until)
            );
            let attacked = attacked?;
            ensure!(
                calm.failed + attacked.failed == 0,
                "{flood:?}: {attacked:?}"
            );
            closed += ended;
            let permille =
                attacked.latency[1].as_nanos() * 1000 / calm.latency[1].as_nanos().max(1);
            ratios.push(permille);
        }
        ratios.sort_unstable();
        let median = percentile(&ratios, 50);
        say(format!("{flood:?}: {ratios:?}"));
        record(
            &format!("flood-p99-{flood:?}").to_lowercase(),
            format!(
                "others' p99 x {}.{:03} (median of {ROUNDS} rounds, {} to {} permille), {closed} attackers closed, 0 of {} failed",
                median / 1000,
                median % 1000,
                ratios.first().copied().unwrap_or_default(),
                ratios.last().copied().unwrap_or_default(),
                ROUND * 2 * u32::try_from(ROUNDS)?,
            ),
        );
        if median > 1100 {
            slower.push(format!("{flood:?} {median} permille"));
        }
    }
    ensure!(slower.is_empty(), "{}", slower.join(", "));
    Ok(())
}
