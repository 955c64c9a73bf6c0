//! `cargo xtask dist`: the binaries as shipped, and their sizes.
//!
//! May use `step`.

use std::path::PathBuf;
use std::time::Duration;

use crate::step::{self, Steps, cargo};

/// The binaries of the mesh.
pub(crate) const BINARIES: [&str; 3] = ["mesh-proxy", "mesh-control", "meshctl"];

/// Builds all three and prints their sizes.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut steps = Steps::within(Duration::from_mins(30));
    if steps.run("build for shipping", || {
        build(&["mesh-proxy", "mesh-control", "mesh-ctl"])
    }) {
        steps.run("sizes", print_sizes);
    }
    steps.finish()
}

/// Builds the binaries of `packages` with the `dist` profile.
pub(crate) fn build(packages: &[&str]) -> anyhow::Result<()> {
    let mut command = cargo(["build", "--profile", "dist", "--locked"]);
    for package in packages {
        command.args(["-p", package]);
    }
    step::run(&mut command)
}

/// Where a binary of the `dist` profile is.
pub(crate) fn binary(name: &str) -> PathBuf {
    step::target().join("dist").join(name)
}

/// A number of bytes as people read it.
pub(crate) fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1024 * 1024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

fn print_sizes() -> anyhow::Result<()> {
    for name in BINARIES {
        let bytes = std::fs::metadata(binary(name))?.len();
        println!("{name:<14} {bytes:>12} bytes {:>10}", mebibytes(bytes));
    }
    Ok(())
}
