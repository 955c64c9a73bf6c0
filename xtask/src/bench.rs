//! `cargo xtask bench`: what a pair of our proxies costs beside pairs of others, in one run.
//!
//! Everything runs in a network namespace of its own, so fixed ports are free. Linux, as root. May use
//! `footprint` and `step`.

mod count;
mod footing;
mod grown;
mod others;
mod ours;
mod peer;
mod plot;
mod profile;
mod quick;
mod report;
mod round;
mod series;
mod tool;
mod work;

use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;
use clap::Args;

use crate::bench::peer::{Lab, Peer};
use crate::bench::tool::{Built, Tools};
use crate::bench::work::Work;
use crate::step;

/// The peers, in the order they are told.
const PEERS: [&str; 12] = [
    "ours",
    "ours-grown",
    "ours-one",
    "against",
    "envoy",
    "envoy-h2",
    "envoy-tcp",
    "haproxy",
    "nginx",
    "ref-tls",
    "ref-copy",
    "direct",
];

/// What to measure.
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[derive(Debug, Args)]
pub(crate) struct Choice {
    /// Works [default: all]; `--list` names them.
    #[arg(long, value_delimiter = ',')]
    work: Vec<String>,
    /// Peers [default: all that can be had].
    #[arg(long, value_delimiter = ',')]
    peer: Vec<String>,
    /// Rounds; in each, every peer has its turn at each work.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of a turn.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// A mesh-proxy to measure [default: built as shipped].
    #[arg(long, value_name = "FILE")]
    ours: Option<PathBuf>,
    /// Another mesh-proxy, as the peer `against` in the same rounds.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Two workers per proxy on whichever CPU is free, instead of one worker, both proxies on CPU 1,
    /// client and server on CPU 0.
    #[arg(long)]
    floating: bool,
    /// Counts rounds in which others used the CPUs too.
    #[arg(long)]
    keep_noisy: bool,
    /// Judges the bounds of the works that ran, and fails if one does not hold.
    #[arg(long)]
    check: bool,
    /// After the rounds, tells where each peer's CPU and system calls go (perf, strace).
    #[arg(long)]
    profile: bool,
    /// A smoke run: one short turn of everything that needs nothing installed. It asserts counts and no
    /// times: each request answered, and how many system calls one takes.
    #[arg(long, conflicts_with_all = ["check", "profile", "write", "floating"])]
    quick: bool,
    /// Counts instructions and allocations of pieces of the data path (valgrind), and measures nothing.
    #[arg(long, conflicts_with_all = ["quick", "check", "profile", "write", "floating"])]
    count: bool,
    /// Folder for `rounds.csv`, `report.md` and plots [default: target/bench].
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
    /// How the result is told.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Names works and peers, and runs none.
    #[arg(long)]
    list: bool,
    /// Already in the namespace: the programs, as the outer run found them.
    #[arg(long, hide = true)]
    inside: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Builds and finds the programs, then measures in a namespace.
pub(crate) fn run(choice: &Choice) -> anyhow::Result<()> {
    let works = work::chosen(&choice.work)?;
    for name in &choice.peer {
        ensure!(PEERS.contains(&name.as_str()), "there is no peer {name}");
    }
    if choice.list {
        println!("works: {}", work::names().join(" "));
        println!("peers: {}", PEERS.join(" "));
        return Ok(());
    }
    match &choice.inside {
        Some(tools) => inside(choice, &works, &serde_json::from_str(tools)?),
        None => enter(choice),
    }
}

/// Runs this very command again, in a network namespace of its own.
fn enter(choice: &Choice) -> anyhow::Result<()> {
    let wants = |name: &str| match name {
        "valgrind" => choice.count,
        name => !choice.count && wanted(choice, name),
    };
    let (ours, against) = (choice.ours.as_deref(), choice.against.as_deref());
    let built = if choice.quick || choice.count {
        Built::Release
    } else {
        Built::Dist
    };
    let tools = Tools::find(ours, against, built, &wants)?;
    if choice.count {
        return count::run(&tools);
    }
    let script = "ulimit -n $(ulimit -Hn); ip link set lo up && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-c", script, "sh"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .args(["--inside", &serde_json::to_string(&tools)?]);
    step::run(&mut command)
}

fn wanted(choice: &Choice, name: &str) -> bool {
    match name {
        // Built here, or not to be had at all.
        _ if choice.quick && choice.peer.is_empty() => quick::PEERS.contains(&name),
        "against" => choice.against.is_some(),
        _ => choice.peer.is_empty() || choice.peer.iter().any(|peer| peer == name),
    }
}

/// Starts the lab and the peers, and measures or tries them.
fn inside(choice: &Choice, works: &[&'static Work], tools: &Tools) -> anyhow::Result<()> {
    let lab = Lab::start(tools, choice.floating)?;
    let mut peers: Vec<Peer> = Vec::new();
    for (index, name) in PEERS.iter().enumerate() {
        if !wanted(choice, name) {
            continue;
        }
        match peer::start(&lab, name, index) {
            Ok(Some(peer)) => peers.push(peer),
            Ok(None) => eprintln!("skipped: {name} (not there, or not in this mode)"),
            Err(error) if choice.quick => return Err(error),
            Err(error) => eprintln!("skipped: {name}: {error:#}"),
        }
    }
    ensure!(!peers.is_empty(), "no peer started");
    if choice.quick {
        quick::run(&lab, works, &mut peers)
    } else {
        series::run(choice, &lab, works, &mut peers)
    }
}
