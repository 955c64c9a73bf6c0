//! `cargo xtask test`: everything that can fail on one machine without root.
//!
//! Unit tests are built for debugging; the demo carries real load, so it is built as released.
//! May use `step`.

use std::path::PathBuf;
use std::time::Duration;

use crate::step::{self, Steps, cargo};

const BUDGET: Duration = Duration::from_mins(25);

/// Unit tests first, then the end-to-end tests with the released meshctl.
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
        steps.run("end-to-end tests", judge);
    }
    steps.finish()
}

/// The end-to-end tests alone.
pub(crate) fn end_to_end() -> anyhow::Result<()> {
    let mut steps = Steps::within(BUDGET);
    if steps.run("build meshctl (release)", build) {
        steps.run("end-to-end tests", judge);
    }
    steps.finish()
}

fn build() -> anyhow::Result<()> {
    step::run(&mut cargo([
        "build",
        "--release",
        "--locked",
        "--package",
        "mesh-ctl",
    ]))
}

fn judge() -> anyhow::Result<()> {
    let mut command = cargo(["test", "--locked", "--package", "e2e", "--"]);
    command.args(["--include-ignored", "--nocapture", "--test-threads=1"]);
    step::run(command.env("MESHCTL_BIN", meshctl()))
}

fn meshctl() -> PathBuf {
    step::target().join("release").join("meshctl")
}
