//! One measured run: connections warm up, then everything is counted for a while.
//!
//! May use `closed`, `open`, `h2`, `handshake` and `cpu`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::closed::{self, Kind, Phase, Shared};
use crate::cpu;
use crate::h2;
use crate::handshake;
use crate::open::{self, Schedule};

/// Longest wait for connections to end.
const END: Duration = Duration::from_secs(6);

/// What to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// What is sent.
    #[arg(long, value_enum)]
    kind: Kind,
    /// Where.
    #[arg(long)]
    to: SocketAddr,
    /// Connections at once.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Requests at once on each connection of HTTP/2.
    #[arg(long, default_value_t = 16)]
    streams: u32,
    /// Bytes of an answer's body.
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Requests per second of all connections, at their times; absent: as fast as they are answered.
    #[arg(long)]
    rate: Option<u32>,
    /// Seconds before it counts.
    #[arg(long, default_value_t = 0.5)]
    warm: f64,
    /// Seconds that count.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Processes whose CPU time is read: the proxies.
    #[arg(long, value_delimiter = ',')]
    watch: Vec<u32>,
    /// Folder of the certificate that handshakes show.
    #[arg(long)]
    identity: Option<PathBuf>,
    /// Further processes of the bench: the server.
    #[arg(long, value_delimiter = ',')]
    also: Vec<u32>,
}

/// Runs it; what was seen.
pub(crate) async fn run(load: &Load) -> anyhow::Result<Value> {
    let shared = Arc::new(Shared::default());
    shared.enter(Phase::Warm);
    let mut connections = JoinSet::new();
    start(load, &shared, &mut connections)?;
    tokio::time::sleep(Duration::from_secs_f64(load.warm)).await;
    let before = cpu::read(&load.watch, &load.also)?;
    shared.enter(Phase::Measured);
    tokio::time::sleep(Duration::from_secs_f64(load.seconds)).await;
    shared.enter(Phase::Ended);
    let mut seen = cpu::read(&load.watch, &load.also)?.since(&before);
    let mut times = Vec::new();
    let joined = tokio::time::timeout(END, async {
        while let Some(ended) = connections.join_next().await {
            times.extend(ended.unwrap_or_default());
        }
    });
    let stuck = joined.await.is_err();
    let failed = shared.failed.load(Ordering::Relaxed);
    times.sort_unstable();
    if let Value::Object(seen) = &mut seen {
        seen.insert("requests".to_owned(), json!(times.len()));
        seen.insert("sent".to_owned(), json!(shared.given()));
        seen.insert("failed".to_owned(), json!(failed));
        seen.insert("stuck".to_owned(), json!(stuck));
        for (name, thousandths) in [("p50_us", 500), ("p99_us", 990), ("p999_us", 999)] {
            seen.insert(name.to_owned(), json!(quantile(&times, thousandths)));
        }
    }
    Ok(seen)
}

/// Starts every connection; each gives the times of its counted requests.
fn start(
    load: &Load,
    shared: &Arc<Shared>,
    connections: &mut JoinSet<Vec<u32>>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let settings = match load.kind {
        Kind::Handshake | Kind::HandshakeHybrid => {
            let folder = load.identity.as_deref().context("no --identity")?;
            Some(handshake::settings(folder, load.kind)?)
        }
        _ => None,
    };
    for index in 0..load.connections {
        let (to, size, shared) = (load.to, load.size, shared.clone());
        if let Some(settings) = &settings {
            connections.spawn(handshake::run(to, settings.clone(), shared));
        } else if let Some(rate) = load.rate.filter(|rate| *rate > 0) {
            let schedule = Schedule {
                first: begun + Duration::from_secs(1) * index / rate,
                interval: Duration::from_secs(1) * load.connections / rate,
            };
            connections.spawn_blocking(move || open::run(to, size, schedule, &shared));
        } else if matches!(load.kind, Kind::H2 | Kind::Grpc) {
            connections.spawn(h2::run(load.kind, to, size, load.streams, shared));
        } else {
            connections.spawn(closed::run(load.kind, to, size, shared));
        }
    }
    Ok(())
}

/// The value that `thousandths` of the sorted ones do not exceed.
fn quantile(sorted: &[u32], thousandths: usize) -> Option<u32> {
    let last = sorted.len().checked_sub(1)?;
    let rank = (sorted.len() * thousandths)
        .div_ceil(1000)
        .saturating_sub(1);
    sorted.get(rank.min(last)).copied()
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<u32> = (1..=1000).collect();
        assert_eq!(quantile(&values, 500), Some(500));
        assert_eq!(quantile(&values, 990), Some(990));
        assert_eq!(quantile(&[7], 999), Some(7));
        assert_eq!(quantile(&[], 500), None);
    }
}
