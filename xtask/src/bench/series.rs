//! Rounds of everything that was chosen, and what is written of them.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::bench::footing::Footing;
use crate::bench::peer::{Lab, Peer};
use crate::bench::report::{self, Mode, Result};
use crate::bench::round::{self, Row, Turn};
use crate::bench::work::Work;
use crate::bench::{Choice, Output, plot, profile};
use crate::step;

/// How often a noisy turn is made again at once.
const AGAIN: usize = 2;
/// Connections that are held at most.
const HELD: u32 = 9000;

/// Measures, writes and tells; fails if a bound is broken and that was asked.
pub(crate) fn run(
    choice: &Choice,
    lab: &Lab<'_>,
    works: &[&Work],
    peers: &mut [Peer],
) -> anyhow::Result<()> {
    let asked = |name: &str| choice.work.is_empty() || choice.work.iter().any(|work| work == name);
    let mut footing = Footing::default();
    if asked("rss") {
        footing.memory(lab, peers, HELD)?;
    }
    if asked("start") {
        footing.start(lab, peers)?;
    }
    let rows = rounds(choice, lab, works, peers)?;
    let mode = Mode {
        floating: choice.floating,
        keep_noisy: choice.keep_noisy,
    };
    let result = Result::new(&rows, mode);
    let report = format!(
        "# Report of a bench\n\n{}\n\n{}{}",
        circumstances()?,
        result.markdown(works)?,
        footing.text
    );
    write_all(choice, &rows, &result, works, &report)?;
    match choice.output {
        Output::Json => println!("{}", result.json(works)),
        Output::Text => println!("{report}"),
    }
    if choice.profile {
        for peer in peers.iter() {
            for work in works.iter().filter(|work| work.takes(peer)) {
                println!("{}", profile::profile(lab, work, peer)?);
            }
        }
    }
    if choice.check {
        let mut broken = result.broken(works);
        broken.extend(footing.broken);
        ensure!(broken.is_empty(), "bounds: {}", broken.join("; "));
    }
    Ok(())
}

/// In each round each work has its turn, and in it every peer: ratios of peers are of the same
/// minute, those of works of the same round.
fn rounds(
    choice: &Choice,
    lab: &Lab<'_>,
    works: &[&Work],
    peers: &[Peer],
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let turn = Turn::plain(choice.seconds);
    for number in 0..choice.rounds {
        for work in works {
            let mut able: Vec<&Peer> = peers.iter().filter(|peer| work.takes(peer)).collect();
            let first = number % able.len().max(1);
            able.rotate_left(first);
            for peer in able {
                for _ in 0..=AGAIN {
                    let row = round::run(lab, work, peer, number, turn)?;
                    eprintln!("{row}");
                    let again = row.noise().is_some() && !choice.keep_noisy;
                    rows.push(row);
                    if !again {
                        break;
                    }
                }
            }
        }
    }
    Ok(rows)
}

/// The day, the machine, the commit and the command.
fn circumstances() -> anyhow::Result<String> {
    let said = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let said = step::output(command.current_dir(step::root()).args(arguments));
        said.map_or_else(|_| "?".to_owned(), |text| text.trim().to_owned())
    };
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let model = model
        .and_then(|line| line.split(": ").nth(1))
        .unwrap_or("?");
    let mut text = format!(
        "{}; {} CPUs of {model}, Linux {}; commit {}.\n\n    cargo xtask",
        said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        std::thread::available_parallelism()?,
        said("uname", &["-r"]),
        said("git", &["describe", "--always", "--dirty"]),
    );
    let all: Vec<String> = std::env::args().skip(1).collect();
    let own = all.iter().position(|word| word == "--inside");
    for word in all.iter().take(own.unwrap_or(all.len())) {
        write!(text, " {word}")?;
    }
    Ok(text)
}

fn write_all(
    choice: &Choice,
    rows: &[Row],
    result: &Result<'_>,
    works: &[&Work],
    report: &str,
) -> anyhow::Result<()> {
    let folder = choice.write.clone();
    let folder = folder.unwrap_or_else(|| step::target().join("bench"));
    write(&folder, "rounds.csv", &report::csv(rows)?)?;
    write(&folder, "report.md", report)?;
    for work in works {
        if let Some(text) = plot::svg(result, work)? {
            write(&folder, &format!("{}.svg", work.name), &text)?;
        }
    }
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join(name);
    std::fs::write(&path, text).with_context(|| path.display().to_string())
}
