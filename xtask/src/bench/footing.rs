//! What a pair costs without load: memory, idle and with connections held, and the time to start.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::bench::peer::{Door, Lab, Peer};
use crate::footprint::Guard;

/// Connections held, one after the other.
const HELD: [u32; 3] = [0, 1000, 9000];
/// After this a process that does nothing has settled.
const SETTLE: Duration = Duration::from_secs(2);
/// Starts measured.
const STARTS: usize = 5;

/// Memory of both proxies of each peer, as a table.
pub(crate) fn memory(lab: &Lab<'_>, peers: &[Peer]) -> anyhow::Result<String> {
    let mut text = "\n## rss\n\nRSS (of which anonymous) in KiB, A and B; each held connection had one request.\n\n\
                    | peer | connections | A | B | KiB per connection, A |\n|---|---|---|---|---|\n"
        .to_owned();
    for peer in peers {
        let Some(to) = peer.door(Door::Http) else {
            continue;
        };
        let [second, first] = peer.pids()[..] else {
            continue;
        };
        let mut idle = None;
        for count in HELD {
            let held = hold(lab, &to.to_string(), count)?;
            std::thread::sleep(SETTLE);
            let (a, b) = (status(first)?, status(second)?);
            let below = *idle.get_or_insert(a.0);
            let each = match count {
                0 => String::new(),
                count => format!(
                    "{:.2}",
                    (f64::from(a.0) - f64::from(below)) / f64::from(count)
                ),
            };
            let (name, a, b) = (peer.name, told(a), told(b));
            let row = format!("| {name} | {count} | {a} | {b} | {each} |");
            eprintln!("{row}");
            writeln!(text, "{row}")?;
            drop(held);
        }
    }
    Ok(text)
}

/// Time from the start of both proxies to the first 200 through them, as a table.
pub(crate) fn start(lab: &Lab<'_>, peers: &mut [Peer]) -> anyhow::Result<String> {
    let mut text = format!(
        "\n## start\n\nMilliseconds from the start of both proxies to the first 200 through them, {STARTS} starts.\n\n\
         | peer | median | all |\n|---|---|---|\n"
    );
    let able = peers.iter_mut();
    for peer in able.filter(|peer| peer.door(Door::Http).is_some() && !peer.pids().is_empty()) {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            times.push(peer.restart(lab)?.as_millis());
            std::thread::sleep(Duration::from_millis(200));
        }
        times.sort_unstable();
        let median = times.get(STARTS / 2).copied().unwrap_or_default();
        let row = format!("| {} | {median} | {times:?} |", peer.name);
        eprintln!("{row}");
        writeln!(text, "{row}")?;
    }
    Ok(text)
}

/// Opens connections that live as long as the guard.
fn hold(lab: &Lab<'_>, to: &str, count: u32) -> anyhow::Result<Option<Guard>> {
    if count == 0 {
        return Ok(None);
    }
    let mut command = Command::new(&lab.tools.bench);
    command.args(["hold", "--to", to, "--connections", &count.to_string()]);
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut guard = Guard(child);
    let output = guard.0.stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    ensure!(
        line.trim() == "held",
        "{count} connections to {to} were not held"
    );
    Ok(Some(guard))
}

/// `VmRSS` and `RssAnon` of a process, in KiB.
fn status(pid: u32) -> anyhow::Result<(u32, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let number = |name: &str| -> anyhow::Result<u32> {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number
            .with_context(|| format!("the kernel tells no {name}"))?
            .parse()?)
    };
    Ok((number("VmRSS:")?, number("RssAnon:")?))
}

fn told((rss, anonymous): (u32, u32)) -> String {
    format!("{rss} ({anonymous})")
}
