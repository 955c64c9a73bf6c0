//! CPU time of processes, and what else ran on this machine meanwhile. Linux only.
//!
//! May use nothing of this crate.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

/// The kernel counts the machine's time in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Readings at one moment.
pub(crate) struct Reading {
    at: Instant,
    watched: Vec<Duration>,
    also: Duration,
    machine: Machine,
}

/// Times of all CPUs together.
struct Machine {
    busy: Duration,
    steal: Duration,
}

/// Reads the CPU time of `watched`, of `also` and this process, and of the machine.
pub(crate) fn read(watched: &[u32], also: &[u32]) -> anyhow::Result<Reading> {
    let mut rest = process(std::process::id())?;
    for pid in also {
        rest += process(*pid)?;
    }
    let watched: anyhow::Result<Vec<Duration>> = watched.iter().map(|pid| process(*pid)).collect();
    Ok(Reading {
        at: Instant::now(),
        watched: watched?,
        also: rest,
        machine: machine(&std::fs::read_to_string("/proc/stat")?)?,
    })
}

impl Reading {
    /// What passed since: seconds, CPU seconds of each watched process, and cores that others took
    /// or that the hypervisor did not give.
    pub(crate) fn since(&self, earlier: &Self) -> Value {
        let elapsed = self.at.duration_since(earlier.at).as_secs_f64();
        let pairs = self.watched.iter().zip(&earlier.watched);
        let cpu: Vec<f64> = pairs
            .map(|(now, then)| now.saturating_sub(*then).as_secs_f64())
            .collect();
        let also = self.also.saturating_sub(earlier.also).as_secs_f64();
        let busy = self.machine.busy.saturating_sub(earlier.machine.busy);
        let steal = self.machine.steal.saturating_sub(earlier.machine.steal);
        let foreign = (busy.as_secs_f64() - also - cpu.iter().sum::<f64>()).max(0.0);
        json!({
            "seconds": elapsed,
            "cpu_seconds": cpu,
            "client_cores": also / elapsed,
            "foreign_cores": foreign / elapsed,
            "steal_cores": steal.as_secs_f64() / elapsed,
        })
    }
}

/// The time that all threads of a process ran. A thread that ends takes its time with it.
fn process(pid: u32) -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    let folder = format!("/proc/{pid}/task");
    for task in std::fs::read_dir(&folder).with_context(|| folder.clone())? {
        // A thread may end while we look.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let first = text.split_whitespace().next().context("no time")?;
        sum += Duration::from_nanos(first.parse()?);
    }
    Ok(sum)
}

fn machine(text: &str) -> anyhow::Result<Machine> {
    let line = text.lines().next().context("no line of all CPUs")?;
    let ticks: Result<Vec<u32>, _> = line.split_whitespace().skip(1).map(str::parse).collect();
    let ticks = ticks?;
    // user nice system idle iowait irq softirq steal
    let [user, nice, system, _, _, irq, softirq, steal, ..] = ticks[..] else {
        anyhow::bail!("{line}");
    };
    Ok(Machine {
        busy: TICK * (user + nice + system + irq + softirq),
        steal: TICK * steal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_all_but_waiting_and_steal() {
        let read = machine("cpu  10 1 20 900 50 3 4 7 0 0\ncpu0 1\n").unwrap();
        assert_eq!(read.busy, TICK * 38);
        assert_eq!(read.steal, TICK * 7);
        assert!(machine("cpu 1 2\n").is_err());
    }

    #[test]
    fn own_work_is_counted() {
        let before = read(&[std::process::id()], &[]).unwrap();
        let mut sum = 0u64;
        while before.at.elapsed() < Duration::from_millis(200) {
            sum = std::hint::black_box(sum + 1);
        }
        let passed = read(&[std::process::id()], &[]).unwrap().since(&before);
        assert!(
            passed["cpu_seconds"][0].as_f64().unwrap() > 0.01,
            "{passed}"
        );
    }
}
