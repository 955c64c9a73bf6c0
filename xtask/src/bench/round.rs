//! One peer's turn at one work.

use std::fmt::{self, Write as _};
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
}

impl Row {
    /// True if others used the machine enough to bend the figures.
    pub(crate) fn is_noisy(&self) -> bool {
        self.foreign_cores > FOREIGN || self.steal_cores > STEAL
    }

    /// Smaller is better, for every figure.
    pub(crate) fn figure(&self, figure: Figure) -> f64 {
        match figure {
            // Bytes of a request are the same for every peer, so bytes per core-second are the inverse.
            Figure::Cpu | Figure::Bytes => self.cpu_us_per_req,
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
            if self.is_noisy() { "  noisy" } else { "" }
        )
    }
}

/// Loads `peer` with `work` for a while.
pub(crate) fn run(
    lab: &Lab<'_>,
    work: &Work,
    peer: &Peer,
    round: usize,
    seconds: f64,
) -> anyhow::Result<Row> {
    let seen = step::output(&mut load(lab, work, peer, seconds)?)?;
    let seen: Value = serde_json::from_str(&seen)?;
    let number = |name: &str| seen[name].as_f64().unwrap_or_default();
    let requests = number("requests");
    // A turn without an answer is a failed one, and is left out like others.
    let failed = number("failed") + if requests == 0.0 { 1.0 } else { 0.0 };
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
    })
}

fn load(lab: &Lab<'_>, work: &Work, peer: &Peer, seconds: f64) -> anyhow::Result<Command> {
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
        .args(["--seconds", &seconds.to_string()])
        .args(["--also", &lab.server().to_string()])
        .stderr(Stdio::inherit());
    if let Some(rate) = work.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let pids: Vec<String> = peer.pids().iter().map(ToString::to_string).collect();
    if !pids.is_empty() {
        command.args(["--watch", &pids.join(",")]);
    }
    Ok(command)
}

/// Where CPU and system calls of a pair go under a work: the top of `perf report`, then `strace -c`.
pub(crate) fn profile(lab: &Lab<'_>, work: &Work, peer: &Peer) -> anyhow::Result<String> {
    let pids: Vec<String> = peer.pids().iter().map(ToString::to_string).collect();
    let mut told = format!("## {} {}\n", work.name, peer.name);
    if pids.is_empty() {
        return Ok(told);
    }
    let data = lab.folder.path().join("perf.data");
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-F", "499", "-p", &pids.join(",")])
        .args(["-o".as_ref(), data.as_os_str()])
        .args(["--", "sleep", "2"]);
    if during(lab, work, peer, &mut perf).is_ok() {
        let mut report = Command::new("perf");
        report
            .args(["report", "--stdio", "-q", "--sort", "dso,symbol", "-i"])
            .arg(&data);
        let text = step::output(&mut report)?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        told.extend(lines.take(30).map(|line| format!("{}\n", line.trim_end())));
    } else {
        told += "perf cannot record here\n";
    }
    let counts = lab.folder.path().join("strace.txt");
    let mut strace = Command::new("timeout");
    strace
        .args(["-s", "INT", "2", "strace", "-f", "-c", "-q", "-o"])
        .arg(&counts);
    for pid in &pids {
        strace.args(["-p", pid]);
    }
    let requests = during(lab, work, peer, &mut strace)?;
    let text = std::fs::read_to_string(&counts).unwrap_or_default();
    writeln!(
        told,
        "system calls while about {requests} requests were answered\n{text}"
    )?;
    Ok(told)
}

/// Runs `command` under load; the requests that were answered meanwhile.
fn during(lab: &Lab<'_>, work: &Work, peer: &Peer, command: &mut Command) -> anyhow::Result<f64> {
    let mut load = load(lab, work, peer, 1.8)?;
    let child = load.stdout(Stdio::piped()).spawn()?;
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let output = child.wait_with_output()?;
    status?;
    let seen: Value = serde_json::from_slice(&output.stdout)?;
    Ok(seen["requests"].as_f64().unwrap_or_default())
}
