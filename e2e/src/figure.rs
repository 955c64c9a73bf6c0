//! What cases tell: progress, figures with their denominators, and cases that could not run.
//!
//! May use nothing of this crate.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;

/// Names the file to which figures are added, one row of a table each.
const FILE: &str = "MESH_FIGURES";

/// A line of progress.
pub fn say(text: impl Display) {
    println!("     {text}");
}

/// Records what a case found; `cargo xtask e2e` and `cargo xtask prove` make a table of it.
pub fn record(case: &str, figure: impl Display) {
    println!("ok   {case}: {figure}");
    add(&format!("| {case} | {figure} |\n"));
}

/// Records why a case failed, in the same table: what the cases print is long.
pub fn failed(case: &str, error: &anyhow::Error) {
    say(format!("{case} failed: {error:#}"));
    let why = format!("{error:#}").replace('\n', " ");
    add(&format!("| {case} | FAILED: {why} |\n"));
}

fn add(row: &str) {
    let Some(path) = std::env::var_os(FILE).map(PathBuf::from) else {
        return;
    };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path);
    // A table that cannot be written loses nothing: the line above was printed.
    file.and_then(|mut file| file.write_all(row.as_bytes()))
        .ok();
}

/// Says that a case did not run, and why. In CI, where everything can be installed, that is a failure.
///
/// # Errors
///
/// If `CI` is set.
pub fn skip(case: &str, why: &anyhow::Error) -> anyhow::Result<()> {
    println!("SKIPPED {case}: {why:#}");
    if std::env::var_os("CI").is_some_and(|value| !value.is_empty()) {
        bail!("{case} was skipped: {why:#}");
    }
    Ok(())
}

/// The value at a percentile of `sorted`, or the default of an empty list.
pub fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}
