//! `cargo xtask test`: everything that can fail on one machine without root.
//!
//! Unit tests are built for debugging; the demo carries real load, so it is built as released.
//! May use `step`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::step::{self, Steps, cargo};

/// For the tests of `cargo xtask test`.
const BUDGET: Duration = Duration::from_mins(25);
/// Cases whose names start so are for `cargo xtask prove`.
pub(crate) const PROOF: &str = "prove_";
/// The end-to-end test that needs nothing but this workspace, and its one case.
const DEMO: &str = "demo";
pub(crate) const DEMO_CASE: &str = "every_item_of_the_demo_holds";

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

/// Builds the programs as they are released: the very packages of the images, since another choice
/// would unify features otherwise and build everything twice.
pub(crate) fn build() -> anyhow::Result<()> {
    step::run(&mut cargo([
        "build",
        "--release",
        "--locked",
        "--package",
        "mesh-ctl",
        "--package",
        "mesh-proxy",
        "--package",
        "mesh-control",
    ]))
}

/// `cargo test` of the end-to-end crate; what is added goes to the tests.
pub(crate) fn cases(what: &[&str]) -> Command {
    let mut command = cargo(["test", "--locked", "--no-fail-fast", "--package", "e2e"]);
    command.args(what).arg("--");
    command.env("MESHCTL_BIN", meshctl());
    // A case fails with an error that says what was wrong: the frames of its runtime hide that.
    command.env("RUST_BACKTRACE", "0");
    command
}

fn meshctl() -> PathBuf {
    step::target().join("release").join("meshctl")
}
