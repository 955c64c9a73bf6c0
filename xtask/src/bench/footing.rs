//! What a pair costs without load: memory, idle and with connections held, and the time to start.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::bench::peer::{Door, Lab, Peer};
use crate::footprint::Guard;

/// After this a process that does nothing has settled.
const SETTLE: Duration = Duration::from_secs(2);
/// Starts measured.
const STARTS: usize = 5;
/// Milliseconds from the start of a pair of ours to its first answer, at most.
const START: u128 = 30;
/// Bytes of our program, at most.
const BINARY: u64 = 20 << 20;

/// What is told, and which bounds do not hold.
#[derive(Default)]
pub(crate) struct Footing {
    pub(crate) text: String,
    pub(crate) broken: Vec<String>,
}

/// Connections of one kind.
struct Kind {
    /// As the load names it.
    name: &'static str,
    door: Door,
    /// Held one after the other.
    counts: &'static [u32],
    /// KiB of RSS that one of ours takes, at most.
    most: f64,
}

/// Of HTTP/1.1 and HTTP/2 the first proxy holds the client's; of mutual TLS the second, without a
/// stream.
const KINDS: [Kind; 3] = [
    Kind {
        name: "http",
        door: Door::Http,
        counts: &[0, 1000, 9000],
        most: 2.0,
    },
    Kind {
        name: "h2",
        door: Door::H2,
        counts: &[0, 1000],
        most: 8.0,
    },
    Kind {
        name: "handshake",
        door: Door::Second,
        counts: &[0, 1000],
        most: 24.0,
    },
];

impl Footing {
    fn judge(&mut self, holds: bool, said: String) -> anyhow::Result<()> {
        let verdict = if holds { "holds" } else { "does not hold" };
        writeln!(self.text, "- {said}: {verdict}")?;
        if !holds {
            self.broken.push(said);
        }
        Ok(())
    }

    /// Memory of both proxies of each peer; each kind of connection has a pair that was just started.
    pub(crate) fn memory(
        &mut self,
        lab: &Lab<'_>,
        peers: &mut [Peer],
        most: u32,
    ) -> anyhow::Result<()> {
        self.text += "\n## rss\n\nRSS (of which anonymous) in KiB, of both proxies. Each held connection had one \
                      request; `handshake` has mutual TLS with the second proxy and nothing else.\n\n\
                      | peer | held | connections | A | B | KiB per connection |\n|---|---|---|---|---|---|\n";
        let mut bounds = Vec::new();
        for peer in peers {
            for kind in &KINDS {
                if peer.door(kind.door).is_none() || peer.pids().len() != 2 {
                    continue;
                }
                let each = match self.of(lab, peer, kind, most) {
                    Err(error) if peer.name != "ours" => {
                        eprintln!("left out: {error:#}");
                        None
                    }
                    said => said?,
                };
                if let (Some(each), "ours") = (each, peer.name) {
                    let said = format!(
                        "an idle connection of {}: {each:.2} KiB, at most {}",
                        kind.name, kind.most
                    );
                    bounds.push((each <= kind.most, said));
                }
            }
        }
        self.text += "\n";
        for (holds, said) in bounds {
            self.judge(holds, said)?;
        }
        Ok(())
    }

    /// Rows of one kind; KiB that each connection took where most were held.
    fn of(
        &mut self,
        lab: &Lab<'_>,
        peer: &mut Peer,
        kind: &Kind,
        most: u32,
    ) -> anyhow::Result<Option<f64>> {
        if peer.door(Door::Http).is_some() {
            peer.restart(lab)?;
        }
        let [second, first] = peer.pids()[..] else {
            return Ok(None);
        };
        let (mut idle, mut last) = (None, None);
        for count in kind.counts.iter().filter(|count| **count <= most) {
            let held = hold(lab, peer, kind, *count)?;
            std::thread::sleep(SETTLE);
            let (a, b) = (status(first)?, status(second)?);
            let holder = if kind.door == Door::Second { b } else { a };
            let below = *idle.get_or_insert(holder.0);
            let grown = f64::from(holder.0) - f64::from(below);
            let each = (*count > 0).then(|| grown / f64::from(*count));
            last = each.or(last);
            let each = each.map_or_else(String::new, |each| format!("{each:.2}"));
            let row = format!(
                "| {} | {} | {count} | {} | {} | {each} |",
                peer.name,
                kind.name,
                told(a),
                told(b)
            );
            eprintln!("{row}");
            writeln!(self.text, "{row}")?;
            drop(held);
        }
        Ok(last)
    }

    /// Time from the start of both proxies to the first 200 through them.
    pub(crate) fn start(&mut self, lab: &Lab<'_>, peers: &mut [Peer]) -> anyhow::Result<()> {
        writeln!(
            self.text,
            "\n## start\n\nMilliseconds from the start of both proxies to the first 200 through them, {STARTS} \
             starts; a question each millisecond.\n\n| peer | median | all |\n|---|---|---|"
        )?;
        let mut ours = None;
        let able = peers.iter_mut();
        for peer in able.filter(|peer| peer.door(Door::Http).is_some() && !peer.pids().is_empty()) {
            let mut times = Vec::new();
            for _ in 0..STARTS {
                times.push(peer.restart(lab)?.as_millis());
                std::thread::sleep(Duration::from_millis(200));
            }
            times.sort_unstable();
            let median = times.get(STARTS / 2).copied().unwrap_or_default();
            if peer.name == "ours" {
                ours = Some(median);
            }
            let row = format!("| {} | {median} | {times:?} |", peer.name);
            eprintln!("{row}");
            writeln!(self.text, "{row}")?;
        }
        self.text += "\n";
        if let Some(median) = ours {
            let said = format!("start of ours: {median} ms, at most {START}");
            self.judge(median <= START, said)?;
        }
        if let Some(binary) = &lab.tools.ours {
            let bytes = std::fs::metadata(binary)?.len();
            let said = format!("the program of ours: {bytes} bytes, at most {BINARY}");
            self.judge(bytes <= BINARY, said)?;
        }
        Ok(())
    }
}

/// Opens connections that live as long as the guard.
fn hold(lab: &Lab<'_>, peer: &Peer, kind: &Kind, count: u32) -> anyhow::Result<Option<Guard>> {
    if count == 0 {
        return Ok(None);
    }
    let to = peer.door(kind.door).context("no such listener")?;
    let mut command = Command::new(&lab.tools.bench);
    command
        .args(["hold", "--kind", kind.name, "--to", &to.to_string()])
        .args(["--connections", &count.to_string()]);
    if let (Door::Second, Some(second)) = (kind.door, peer.second()) {
        command.arg("--identity").arg(&second.identity);
    }
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
        "{count} connections of {} to {} were not held",
        kind.name,
        peer.name
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
