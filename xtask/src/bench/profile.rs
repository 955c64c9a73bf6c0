//! Where CPU and system calls of a pair go under a work: the top of `perf report`, then `strace -c`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bench::peer::{Lab, Peer};
use crate::bench::round::{Turn, load};
use crate::bench::work::Work;
use crate::step;

/// A tracer that has not attached to a dozen threads by then is not going to.
const ATTACH: Duration = Duration::from_millis(500);
/// Lines of `perf report` that are told.
const TOP: usize = 30;

/// System calls of both proxies.
pub(crate) struct Calls {
    /// By name.
    pub(crate) counts: BTreeMap<String, u64>,
    /// Requests that were sent meanwhile, all of them answered or failed.
    pub(crate) requests: f64,
}

impl Calls {
    /// Calls per request.
    pub(crate) fn each(&self) -> f64 {
        let sum: u64 = self.counts.values().sum();
        self.of(sum)
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 calls")]
    fn of(&self, count: u64) -> f64 {
        count as f64 / self.requests.max(1.0)
    }
}

/// Both, as text.
pub(crate) fn profile(lab: &Lab<'_>, work: &Work, peer: &Peer) -> anyhow::Result<String> {
    let mut text = format!("## {} {}\n", work.name, peer.name);
    if peer.pids().is_empty() {
        return Ok(text);
    }
    match cpu(lab, work, peer) {
        Ok(lines) => text += &lines,
        Err(error) => writeln!(text, "no perf here: {error:#}")?,
    }
    let calls = calls(lab, work, peer, Turn::plain(2.0))?;
    writeln!(
        text,
        "{:.2} system calls per request ({} requests):",
        calls.each(),
        calls.requests
    )?;
    let mut sorted: Vec<_> = calls.counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (name, count) in sorted {
        writeln!(text, "{:>10.3} {name}", calls.of(*count))?;
    }
    Ok(text)
}

/// What both proxies call under one turn, its warm-up and connections included.
pub(crate) fn calls(lab: &Lab<'_>, work: &Work, peer: &Peer, turn: Turn) -> anyhow::Result<Calls> {
    let path = lab.folder.path().join("strace.txt");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-q", "-o"]).arg(&path);
    for pid in peer.pids() {
        strace.args(["-p", &pid.to_string()]);
    }
    let tracer = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let tracer = tracer.context("strace")?;
    std::thread::sleep(ATTACH);
    let seen = step::output(&mut load(lab, work, peer, turn)?);
    interrupt(tracer)?;
    let seen: Value = serde_json::from_str(&seen?)?;
    Ok(Calls {
        counts: counted(&std::fs::read_to_string(&path)?),
        requests: seen["sent"].as_f64().unwrap_or_default(),
    })
}

/// Ends a tracer as a terminal would, so that it writes what it counted.
fn interrupt(mut tracer: Child) -> anyhow::Result<()> {
    kill_process(Pid::from_child(&tracer), Signal::INT)?;
    tracer.wait()?;
    Ok(())
}

/// The counts in a table of `strace -c`.
fn counted(table: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        // Share, seconds, microseconds per call, calls, perhaps errors, name.
        let (name, calls) = (cells.last()?, cells.get(3)?);
        cells.first()?.parse::<f64>().ok()?;
        (*name != "total").then(|| Some(((*name).to_owned(), calls.parse().ok()?)))?
    };
    table.lines().filter_map(row).collect()
}

fn cpu(lab: &Lab<'_>, work: &Work, peer: &Peer) -> anyhow::Result<String> {
    let data = lab.folder.path().join("perf.data");
    let pids: Vec<String> = peer.pids().iter().map(ToString::to_string).collect();
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-F", "499", "-e", "cpu-clock"])
        .args(["-p", &pids.join(",")])
        .args(["-o".as_ref(), data.as_os_str()]);
    let recorder = perf.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    std::thread::sleep(ATTACH);
    let seen = step::output(&mut load(lab, work, peer, Turn::plain(2.0))?);
    interrupt(recorder)?;
    seen?;
    let mut report = Command::new("perf");
    report
        .args(["report", "--stdio", "-q", "--sort", "dso,symbol", "-i"])
        .arg(&data);
    let text = step::output(&mut report)?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let mut top = String::new();
    for line in lines.take(TOP) {
        writeln!(top, "{}", line.trim_end())?;
    }
    Ok(top)
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn calls_are_read_with_and_without_errors() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           3       200           sendto
 40.00    0.000400           2       210        10 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           2       410        10 total
";
        let counts = counted(table);
        assert_eq!(counts.len(), 2);
        assert_eq!((counts["sendto"], counts["recvfrom"]), (200, 210));
    }
}
