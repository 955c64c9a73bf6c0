//! Instructions and allocations of pieces of the data path, counted by valgrind, with budgets.
//!
//! Each piece runs N times and 2 N times; the difference divided by N is what one takes, whatever the
//! start of the program takes. Counts repeat to a few parts in a thousand on one processor; another
//! may run other paths of the C library, so budgets leave room.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::bench::tool::Tools;
use crate::step;

/// The shorter run.
const TIMES: u64 = 50;

/// What one of a piece may take.
struct Budget {
    piece: &'static str,
    instructions: u64,
    allocations: u64,
}

const fn budget(piece: &'static str, instructions: u64, allocations: u64) -> Budget {
    Budget {
        piece,
        instructions,
        allocations,
    }
}

/// About a quarter above what was counted when they were set. What is configured may take 1,000 instructions and
/// no allocation beyond "decide", for one of its kind; those that take more say so.
const BUDGETS: [Budget; 19] = [
    budget("head", 11_100, 1),
    budget("splice", 1_180, 0),
    // A field set, one added and one removed.
    budget("splice-changed", 5_200, 0),
    budget("decide", 1_030, 0),
    // 870 to 1,760, by the seeds of its tables.
    budget("decide-among1000", 2_200, 0),
    budget("decide-sticky", 2_000, 0),
    budget("decide-hashed", 2_000, 0),
    budget("decide-faulty", 1_190, 0),
    budget("decide-mirrored", 1_160, 0),
    budget("decide-narrowed", 1_800, 0),
    // A list of fields, and the value of one.
    budget("decide-cors", 1_970, 2),
    // The path, and the target it is in.
    budget("decide-rewritten", 1_960, 2),
    budget("retry", 380, 0),
    budget("deadline", 800, 0),
    budget("limit", 60, 0),
    // Two hashes of a key of 70 bytes that no caller may choose, and the values of two fields.
    budget("rate-limit", 4_050, 2),
    // 30 of 176 look whether slow start, localities and outlier detection are there.
    budget("pick", 220, 0),
    budget("pick-among10000", 220, 0),
    budget("record", 770, 0),
];

/// Counts every piece and tells it; fails if one is over its budget.
pub(crate) fn run(tools: &Tools) -> anyhow::Result<()> {
    let valgrind = tools.valgrind.as_ref().context("there is no valgrind")?;
    // A file of its own: callgrind puts a new one in the place of what it is given, a device too.
    let profile = tempfile::NamedTempFile::new()?;
    let profile = format!("--callgrind-out-file={}", profile.path().display());
    println!("| piece | instructions | budget | allocations | budget |\n|---|---|---|---|---|");
    let mut over = Vec::new();
    for budget in &BUDGETS {
        let one = |tool: &[&str], reading: Reading| -> anyhow::Result<f64> {
            let total = |times: u64| {
                let mut command = Command::new(valgrind);
                command.args(tool).arg(&tools.bench);
                command.args(["count", budget.piece, "--times", &times.to_string()]);
                read(&mut command, reading)
            };
            Ok((total(2 * TIMES)? - total(TIMES)?) / f64::from(u32::try_from(TIMES)?))
        };
        let callgrind = ["--tool=callgrind", profile.as_str()];
        let instructions = one(&callgrind, Reading::Instructions)?;
        let memcheck = ["--leak-check=no", "--undef-value-errors=no"];
        let allocations = one(&memcheck, Reading::Allocations)?;
        let (most, most_allocations) = (budget.instructions, budget.allocations);
        println!(
            "| {} | {instructions:.0} | {most} | {allocations:.2} | {most_allocations} |",
            budget.piece
        );
        let within = instructions <= f64::from(u32::try_from(most)?)
            && allocations <= f64::from(u32::try_from(most_allocations)?);
        if !within {
            over.push(budget.piece);
        }
    }
    ensure!(over.is_empty(), "over their budgets: {}", over.join(", "));
    Ok(())
}

/// Which line of valgrind's own words.
#[derive(Clone, Copy)]
enum Reading {
    Instructions,
    Allocations,
}

fn read(command: &mut Command, reading: Reading) -> anyhow::Result<f64> {
    let output = command.output().context("valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: {said}",
        step::line_of(command)
    );
    number(&said, reading).with_context(|| said.into_owned())
}

fn number(said: &str, reading: Reading) -> Option<f64> {
    let before = match reading {
        Reading::Instructions => "Collected : ",
        Reading::Allocations => "total heap usage: ",
    };
    let (_, rest) = said.split_once(before)?;
    let digits = rest.split_whitespace().next()?.replace(',', "");
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Reading, number};

    #[test]
    fn both_tools_are_read() {
        let callgrind = "==1== Events    : Ir\n==1== Collected : 1234567\n";
        assert_eq!(number(callgrind, Reading::Instructions), Some(1_234_567.0));
        let memcheck = "==1==   total heap usage: 1,071 allocs, 1,069 frees, 90 bytes allocated\n";
        assert_eq!(number(memcheck, Reading::Allocations), Some(1071.0));
        assert_eq!(number("", Reading::Allocations), None);
    }
}
