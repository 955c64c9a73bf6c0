//! The smoke run: everything runs once, and counts are right. No time decides anything.

use anyhow::{Context, bail, ensure};

use crate::bench::footing::Footing;
use crate::bench::peer::{Lab, Peer};
use crate::bench::plot;
use crate::bench::profile;
use crate::bench::report::{self, Mode, Result};
use crate::bench::round::{self, Row, Turn};
use crate::bench::work::{self, Work};

/// What needs nothing but this workspace.
pub(crate) const PEERS: [&str; 4] = ["ours", "ref-tls", "ref-copy", "direct"];

/// Seconds of a turn; the next one where a machine with much else to do answered nothing at all.
const SECONDS: [f64; 3] = [0.4, 4.0, 10.0];
/// Connections that are held at most.
const HELD: u32 = 1000;
/// The work whose requests go one by one, so that calls do not depend on what happens to be ready.
const ONE_BY_ONE: &str = "h1-c1";
/// System calls of a pair of ours for each of its requests, at most: per proxy it reads and writes
/// both sides, and sleeps before each read.
const CALLS: f64 = 20.0;

fn turn(seconds: f64) -> Turn {
    Turn { warm: 0.1, seconds }
}

/// A turn with answers, none of which is missing.
fn answered(lab: &Lab<'_>, work: &Work, peer: &Peer) -> anyhow::Result<Row> {
    for seconds in SECONDS {
        let row = round::run(lab, work, peer, 0, turn(seconds))?;
        eprintln!("{row}");
        if row.requests > 0.0 {
            ensure!(row.failed == 0.0, "{} {}: {row}", work.name, peer.name);
            return Ok(row);
        }
    }
    bail!("{} {}: nothing was answered", work.name, peer.name)
}

/// Fails if a work goes unanswered, or answers are lost, or a request takes too many calls.
pub(crate) fn run(lab: &Lab<'_>, works: &[&Work], peers: &mut [Peer]) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for work in works {
        for peer in peers.iter().filter(|peer| work.takes(peer)) {
            rows.push(answered(lab, work, peer)?);
        }
    }
    Footing::default().memory(lab, peers, HELD)?;
    Footing::default().start(lab, peers)?;
    let mode = Mode {
        floating: false,
        keep_noisy: true,
    };
    let result = Result::new(&rows, mode);
    println!("{}", result.markdown(works)?);
    let csv = report::csv(&rows)?.lines().count();
    ensure!(csv == rows.len() + 1, "{csv} lines of {} rows", rows.len());
    for work in works {
        plot::svg(&result, work)?.with_context(|| format!("no plot of {}", work.name))?;
    }
    let work = work::chosen(&[ONE_BY_ONE.to_owned()])?;
    let ours = peers.iter().find(|peer| peer.name == "ours");
    if let (Some(ours), [work]) = (ours, &work[..]) {
        let calls = profile::calls(lab, work, ours, turn(2.0))?;
        let each = calls.each();
        println!(
            "{each:.2} system calls per request of {ONE_BY_ONE}: {:?}",
            calls.counts
        );
        ensure!(
            each <= CALLS,
            "a request takes {each:.2} system calls, more than {CALLS}"
        );
    }
    println!("{} turns, every request answered", rows.len());
    Ok(())
}
