//! One peer's turn at one work.

use std::fmt;
use std::process::{Command, Stdio};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use crate::bench::peer::{Lab, Peer};
use crate::bench::work::{Figure, Work};
use crate::step;

/// Cores that others may take before a turn is noisy.
const FOREIGN: f64 = 0.05;
/// Cores that the hypervisor may withhold.
const STEAL: f64 = 0.02;

/// What was seen in one turn.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) round: usize,
    pub(crate) work: &'static str,
    pub(crate) peer: &'static str,
    /// Of both proxies.
    pub(crate) cpu_us_per_req: f64,
    pub(crate) req_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) requests: f64,
    pub(crate) failed: f64,
    /// Of the second proxy alone.
    pub(crate) cpu_b_us_per_req: f64,
    pub(crate) foreign_cores: f64,
    pub(crate) steal_cores: f64,
    /// What the worker that ran least had of a proxy's CPU; 1 where there is one worker.
    pub(crate) smallest_worker: Option<f64>,
}

/// How long one turn takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Seconds before it counts.
    pub(crate) warm: f64,
    /// Seconds that count.
    pub(crate) seconds: f64,
}

impl Turn {
    /// With half a second to warm up.
    pub(crate) fn plain(seconds: f64) -> Self {
        Self { warm: 0.5, seconds }
    }
}

impl Row {
    /// Why the figures of this turn are not to be trusted, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.failed > 0.0 {
            return Some(format!("{} failed", self.failed));
        }
        self.noise()
    }

    /// Who else had the machine, if it was enough to bend the figures.
    pub(crate) fn noise(&self) -> Option<String> {
        if self.foreign_cores > FOREIGN {
            return Some(format!("others ran on {:.2} cores", self.foreign_cores));
        }
        let withheld = self.steal_cores > STEAL;
        withheld.then(|| format!("{:.2} cores were withheld", self.steal_cores))
    }

    /// Smaller is better, for every figure.
    pub(crate) fn figure(&self, figure: Figure) -> f64 {
        match figure {
            // Bytes of a request are the same for every peer, so bytes per core-second are the inverse.
            Figure::Cpu | Figure::Bytes => self.cpu_us_per_req,
            Figure::Second => self.cpu_b_us_per_req,
            Figure::P50 => self.p50_us,
            Figure::P99 => self.p99_us,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {:<9} {:<9} {:>8.1} us CPU {:>9.0} req/s  p50 {:>6.0} p99 {:>6.0} us  {} answered, {} failed{}",
            self.round + 1,
            self.work,
            self.peer,
            self.cpu_us_per_req,
            self.req_per_s,
            self.p50_us,
            self.p99_us,
            self.requests,
            self.failed,
            self.noise()
                .map(|noise| format!("  noisy: {noise}"))
                .unwrap_or_default()
        )
    }
}

/// Loads `peer` with `work` for a while.
pub(crate) fn run(
    lab: &Lab<'_>,
    work: &Work,
    peer: &Peer,
    round: usize,
    turn: Turn,
) -> anyhow::Result<Row> {
    let seen = step::output(&mut load(lab, work, peer, turn)?)?;
    let seen: Value = serde_json::from_str(&seen)?;
    let number = |name: &str| seen[name].as_f64().unwrap_or_default();
    let requests = number("requests");
    // A turn without an answer, or with one that does not come, is a failed one.
    let stuck = seen["stuck"].as_bool() != Some(false);
    let failed = number("failed") + if requests == 0.0 || stuck { 1.0 } else { 0.0 };
    let cpu: Vec<f64> = seen["cpu_seconds"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_f64)
        .collect();
    let each = |seconds: f64| seconds * 1e6 / requests.max(1.0);
    Ok(Row {
        round,
        work: work.name,
        peer: peer.name,
        cpu_us_per_req: each(cpu.iter().fold(0.0, |sum, next| sum + next)),
        req_per_s: requests / number("seconds"),
        p50_us: number("p50_us"),
        p99_us: number("p99_us"),
        p999_us: number("p999_us"),
        requests,
        failed,
        cpu_b_us_per_req: each(cpu.first().copied().unwrap_or_default()),
        foreign_cores: number("foreign_cores"),
        steal_cores: number("steal_cores"),
        smallest_worker: seen["smallest_worker"].as_f64(),
    })
}

/// The load of one turn, as a command that tells what it saw.
pub(crate) fn load(lab: &Lab<'_>, work: &Work, peer: &Peer, turn: Turn) -> anyhow::Result<Command> {
    let to = peer.door(work.door).context("no such listener")?;
    let mut command = if lab.floating {
        Command::new(&lab.tools.bench)
    } else {
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(&lab.tools.bench);
        command
    };
    command
        .args(["load", "--kind", work.kind, "--to", &to.to_string()])
        .args(["--connections", &work.connections.to_string()])
        .args(["--size", &work.size.to_string()])
        .args(["--warm", &turn.warm.to_string()])
        .args(["--seconds", &turn.seconds.to_string()])
        .args(["--also", &lab.server().to_string()])
        .stderr(Stdio::inherit());
    if let Some(rate) = work.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    if let (true, Some(second)) = (work.is_of_second(), peer.second()) {
        command.arg("--identity").arg(&second.identity);
    }
    let pids: Vec<String> = peer.pids().iter().map(ToString::to_string).collect();
    if !pids.is_empty() {
        command.args(["--watch", &pids.join(",")]);
    }
    Ok(command)
}
