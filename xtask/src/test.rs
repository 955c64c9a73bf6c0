//! `cargo xtask test`: everything that can fail on one machine without root. `cargo xtask e2e`: what
//! needs programs by others, which the cases install.
//!
//! Unit tests are built for debugging; the demo carries real load, so it is built as released.
//! May use `step`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;

use crate::step::{self, Steps, cargo};

/// For the tests of `cargo xtask test`.
const BUDGET: Duration = Duration::from_mins(25);
/// For the end-to-end cases.
const E2E_BUDGET: Duration = Duration::from_mins(40);
/// Cases whose names start so are for `cargo xtask prove`.
pub(crate) const PROOF: &str = "prove_";
/// The end-to-end test that needs nothing but this workspace, and its one case.
const DEMO: &str = "demo";
const DEMO_CASE: &str = "every_item_of_the_demo_holds";

/// Unit tests first, then the demo's own check with the released meshctl.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut steps = Steps::within(BUDGET);
    let built = steps.run("build meshctl (release)", build);
    steps.run("unit tests", || {
        step::run(&mut cargo([
            "test",
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ]))
    });
    if built {
        steps.run("the demo's check", || {
            step::run(cases(&["--test", DEMO]).args(["--include-ignored", "--nocapture"]))
        });
    }
    steps.finish()
}

/// The end-to-end cases, or those whose names contain `filter`; with `list` only their names.
pub(crate) fn end_to_end(filter: Option<&str>, list: bool) -> anyhow::Result<()> {
    if list {
        return step::run(chosen(filter).arg("--list"));
    }
    let mut steps = Steps::within(E2E_BUDGET);
    if steps.run("build meshctl (release)", build) {
        steps.run("end-to-end cases", || judge(filter));
    }
    steps.finish()
}

fn judge(filter: Option<&str>) -> anyhow::Result<()> {
    if let Some(filter) = filter {
        let said = step::output(chosen(Some(filter)).arg("--list"))?;
        if !said.lines().any(|line| line.ends_with(": test")) {
            bail!("no case has a name with {filter:?}; cargo xtask e2e --list shows them");
        }
    }
    step::run(chosen(filter).args(["--nocapture", "--test-threads=1"]))
}

/// The cases of `cargo xtask e2e`; the demo's belongs to `cargo xtask test`.
fn chosen(filter: Option<&str>) -> Command {
    let mut command = cases(&["--tests"]);
    command
        .args(filter)
        .args(["--skip", PROOF, "--include-ignored"]);
    if filter.is_none() {
        command.args(["--skip", DEMO_CASE]);
    }
    command
}

/// Builds meshctl as it is released.
pub(crate) fn build() -> anyhow::Result<()> {
    step::run(&mut cargo([
        "build",
        "--release",
        "--locked",
        "--package",
        "mesh-ctl",
        "--package",
        "mesh-proxy",
    ]))
}

/// `cargo test` of the end-to-end crate; what is added goes to the tests.
pub(crate) fn cases(what: &[&str]) -> Command {
    let mut command = cargo(["test", "--locked", "--no-fail-fast", "--package", "e2e"]);
    command.args(what).arg("--");
    command.env("MESHCTL_BIN", meshctl());
    command
}

fn meshctl() -> PathBuf {
    step::target().join("release").join("meshctl")
}
