//! `cargo xtask prove`: proofs too long for every change, and the table of what they found.
//!
//! May use `step`, `test` and `release`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::release;
use crate::step::{self, Steps};
use crate::test::{PROOF, build, cases};

const BUDGET: Duration = Duration::from_hours(2);
/// The committed table.
const PAGE: &str = "docs/proofs/protocols.md";

/// Runs the proofs, or those whose names contain `name`, and writes what they found to the table.
pub(crate) fn run(name: Option<&str>, list: bool) -> anyhow::Result<()> {
    let filter = name.map_or_else(|| PROOF.to_owned(), |name| format!("{PROOF}{name}"));
    if list {
        println!(
            "{}: from the first release to this tree, in a cluster",
            release::NAME
        );
        return step::run(cases(&["--tests", "--release"]).args([
            filter.as_str(),
            "--include-ignored",
            "--list",
        ]));
    }
    let figures = step::target().join("figures.md");
    std::fs::write(&figures, "").with_context(|| figures.display().to_string())?;
    let mut steps = Steps::within(BUDGET);
    if steps.run("build meshctl (release)", build) {
        if name != Some(release::NAME) {
            steps.run("proofs", || {
                let mut command = cases(&["--tests", "--release"]);
                command.args([filter.as_str(), "--include-ignored", "--nocapture"]);
                command.arg("--test-threads=1");
                step::run(command.env("MESH_FIGURES", &figures))
            });
        }
        if name.is_none_or(|name| name == release::NAME) {
            steps.run(release::NAME, || release::prove(&figures));
        }
        steps.run("table", || write(&figures));
    }
    steps.finish()
}

/// Puts each figure in its row of the table; rows of other proofs stay.
fn write(figures: &PathBuf) -> anyhow::Result<()> {
    let found = std::fs::read_to_string(figures)?;
    let (failed, found): (Vec<&str>, Vec<&str>) =
        found.lines().partition(|row| row.contains("| FAILED: "));
    for row in failed {
        println!("{row}");
    }
    let found: String = found.iter().flat_map(|row| [*row, "\n"]).collect();
    if found.is_empty() {
        bail!("nothing was proved; cargo xtask prove --list shows what can be");
    }
    let path = step::root().join(PAGE);
    let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    std::fs::write(&path, merge(&page, &found))?;
    println!("written: {PAGE}");
    Ok(())
}

/// `page` with the rows of `found`, in place of rows of the same first cell, or after the last row.
fn merge(page: &str, found: &str) -> String {
    let cell = |row: &str| row.split('|').nth(1).unwrap_or_default().trim().to_owned();
    let mut lines: Vec<String> = page.lines().map(ToOwned::to_owned).collect();
    for row in found.lines().filter(|row| row.starts_with('|')) {
        let same = lines
            .iter()
            .position(|line| line.starts_with('|') && cell(line) == cell(row));
        let last = lines.iter().rposition(|line| line.starts_with('|'));
        match (same, last) {
            (Some(at), _) => row.clone_into(&mut lines[at]),
            (None, Some(last)) => lines.insert(last + 1, row.to_owned()),
            (None, None) => lines.push(row.to_owned()),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::merge;

    #[test]
    fn a_row_takes_the_place_of_its_like() {
        let page = "# Proofs\n\n| proof | figure |\n|---|---|\n| a | 1 |\n\nEnd.\n";
        let merged = merge(page, "| b | 2 |\n| a | 3 |\n");
        let expected = "# Proofs\n\n| proof | figure |\n|---|---|\n| a | 3 |\n| b | 2 |\n\nEnd.\n";
        assert_eq!(merged, expected);
    }
}
