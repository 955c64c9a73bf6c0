//! CPU time of processes, and what else ran on this machine meanwhile. Linux only.
//!
//! May use nothing of this crate.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

/// The kernel counts the machine's time in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

/// Readings at one moment.
pub(crate) struct Reading {
    at: Instant,
    watched: Vec<Process>,
    also: Duration,
    machine: Machine,
}

/// CPU time of one process.
#[derive(Default)]
struct Process {
    all: Duration,
    /// Of each thread that has `worker` in its name, by its number.
    workers: BTreeMap<u32, Duration>,
}

impl Process {
    /// The smallest part that a worker had of what all workers of this process ran since.
    fn smallest_part(&self, earlier: &Self) -> Option<f64> {
        let ran = |(number, now): (&u32, &Duration)| {
            let then = earlier.workers.get(number).copied().unwrap_or_default();
            now.saturating_sub(then).as_secs_f64()
        };
        let parts: Vec<f64> = self.workers.iter().map(ran).collect();
        let sum: f64 = parts.iter().sum();
        let least = parts.into_iter().min_by(f64::total_cmp)?;
        (sum > 0.0).then(|| least / sum)
    }
}

/// Times of all CPUs together.
struct Machine {
    busy: Duration,
    steal: Duration,
}

/// Reads the CPU time of `watched`, of `also` and this process, and of the machine.
pub(crate) fn read(watched: &[u32], also: &[u32]) -> anyhow::Result<Reading> {
    let mut rest = process(std::process::id())?.all;
    for pid in also {
        rest += process(*pid)?.all;
    }
    let watched: anyhow::Result<Vec<Process>> = watched.iter().map(|pid| process(*pid)).collect();
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
            .map(|(now, then)| now.all.saturating_sub(then.all).as_secs_f64())
            .collect();
        let pairs = self.watched.iter().zip(&earlier.watched);
        let parts = pairs.filter_map(|(now, then)| now.smallest_part(then));
        let also = self.also.saturating_sub(earlier.also).as_secs_f64();
        let busy = self.machine.busy.saturating_sub(earlier.machine.busy);
        let steal = self.machine.steal.saturating_sub(earlier.machine.steal);
        let foreign = (busy.as_secs_f64() - also - cpu.iter().sum::<f64>()).max(0.0);
        json!({
            "seconds": elapsed,
            "cpu_seconds": cpu,
            "smallest_worker": parts.min_by(f64::total_cmp),
            "client_cores": also / elapsed,
            "foreign_cores": foreign / elapsed,
            "steal_cores": steal.as_secs_f64() / elapsed,
        })
    }
}

/// The time that all threads of a process ran. A thread that ends takes its time with it.
fn process(pid: u32) -> anyhow::Result<Process> {
    let mut sum = Process::default();
    let folder = format!("/proc/{pid}/task");
    for task in std::fs::read_dir(&folder).with_context(|| folder.clone())? {
        let task = task?;
        let read = |file: &str| std::fs::read_to_string(task.path().join(file));
        // A thread may end while we look.
        let (Ok(text), Ok(name)) = (read("schedstat"), read("comm")) else {
            continue;
        };
        let first = text.split_whitespace().next().context("no time")?;
        let time = Duration::from_nanos(first.parse()?);
        sum.all += time;
        if let (true, Some(number)) = (name.contains("worker"), task.file_name().to_str()) {
            sum.workers.insert(number.parse()?, time);
        }
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
    fn the_smallest_part_is_of_the_time_between() {
        let process = |times: [u64; 2]| Process {
            all: Duration::ZERO,
            workers: (1..).zip(times.map(Duration::from_secs)).collect(),
        };
        let part = process([4, 11]).smallest_part(&process([1, 10]));
        assert_eq!(part, Some(0.25));
        assert_eq!(process([4, 11]).smallest_part(&process([4, 11])), None);
        assert_eq!(Process::default().smallest_part(&Process::default()), None);
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
