//! Steps with a line at their start and their end, and commands run in the workspace's root.
//!
//! May use nothing of this crate.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Runs steps, goes on after a failure, and fails at the end if one failed.
pub(crate) struct Steps {
    started: Instant,
    failed: Vec<String>,
    budget: Duration,
}

impl Steps {
    /// Steps that should take no longer than `budget` on two cores, from a clean checkout.
    pub(crate) fn within(budget: Duration) -> Self {
        Self {
            started: Instant::now(),
            failed: Vec::new(),
            budget,
        }
    }

    /// Runs one step; a failure is printed and remembered. True if it passed.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> anyhow::Result<()>) -> bool {
        let started = Instant::now();
        println!("==> {name}");
        match step() {
            Ok(()) => {
                println!("<== {name}: ok in {}", seconds(started.elapsed()));
                true
            }
            Err(error) => {
                println!(
                    "<== {name}: FAILED in {}: {error:#}",
                    seconds(started.elapsed())
                );
                self.failed.push(format!("{name}: {error:#}"));
                false
            }
        }
    }

    /// Takes in what became of steps that ran beside these.
    pub(crate) fn take_in(&mut self, others: Self) {
        self.failed.extend(others.failed);
    }

    /// Prints the sum and fails if a step failed. Time over the budget is reported, not refused:
    /// it says more about the machine than about the code.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let taken = self.started.elapsed();
        println!("all steps: {} of {}", seconds(taken), seconds(self.budget));
        if taken > self.budget {
            println!("warning: over the time budget");
        }
        if !self.failed.is_empty() {
            bail!("failed:\n{}", self.failed.join("\n"));
        }
        Ok(())
    }
}

/// The workspace's root: of the package that cargo runs, or else of the one that was built.
pub(crate) fn root() -> PathBuf {
    let run = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = run.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |at| root().join(at))
}

/// The cargo that runs us, in the workspace's root, without the variables it set for this package:
/// build scripts that watch them would run again for nothing.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    command
}

/// Runs `command` with our output and fails if it does.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{} ended with {status}", line_of(command));
    }
    Ok(())
}

/// Runs `command` and prints its output once it ended, in one piece, with its errors before it.
pub(crate) fn run_aside(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let [errors, said] =
        [output.stderr, output.stdout].map(|text| String::from_utf8_lossy(&text).into_owned());
    println!("{errors}{said}");
    if !output.status.success() {
        let causes = causes(&errors).join("\n");
        bail!(
            "{} ended with {}\n{causes}",
            line_of(command),
            output.status
        );
    }
    Ok(())
}

/// What tests said of their failures, among all that they and their programs wrote: from each line that
/// starts so, a few lines.
fn causes(errors: &str) -> Vec<&str> {
    const LINES: usize = 12;
    let lines: Vec<&str> = errors.lines().collect();
    let starts = |line: &str| {
        let panics = line.starts_with("thread '") && line.contains(" panicked at ");
        line.starts_with("Error: ") || line.starts_with("Caused by:") || panics
    };
    let mut shown = 0;
    let mut causes = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if starts(line) {
            shown = at + LINES;
        }
        if at < shown {
            causes.push(*line);
        }
    }
    causes
}

/// Runs `command` and returns what it wrote to its standard output.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} ended with {}: {}",
            line_of(command),
            output.status,
            said.trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// True if `program` can be started at all.
pub(crate) fn found(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// A duration as people read it.
pub(crate) fn seconds(taken: Duration) -> String {
    format!("{:.1} s", taken.as_secs_f64())
}

/// A command as it would be typed.
pub(crate) fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_said_of_their_failures_is_found() {
        let noise = "noise\n".repeat(30);
        let panic = "thread 'one' (7) panicked at e2e/tests/a.rs:1:2:\nleft and right\n";
        let error = "Error: not ready\n\nCaused by:\n    not within 30s\n";
        let said = format!("{noise}{panic}{noise}{error}");
        let causes = causes(&said);
        assert_eq!(causes.iter().filter(|line| **line != "noise").count(), 6);
        assert!(causes.len() < 20, "{causes:?}");
    }
}
