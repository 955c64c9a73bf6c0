//! `cargo xtask ci`: format, lints, tidiness, generated code, documentation, dependencies.
//!
//! May use `step`, `tidy` and `codegen`.

use std::process::Command;
use std::time::Duration;

use crate::step::{self, Steps, cargo};
use crate::{codegen, tidy};

/// Runs every check, goes on after a failure, and names those that failed.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut steps = Steps::within(Duration::from_mins(20));
    steps.run("format", || {
        step::run(&mut cargo(["fmt", "--all", "--check"]))
    });
    steps.run("tidy", tidy::run);
    steps.run("generated code", || codegen::run(true));
    steps.run("lints", lint);
    steps.run("crates on their own", alone);
    steps.run("documentation of mesh-api", document);
    steps.run("dependencies (cargo deny)", deny);
    steps.run("book (mdbook)", book);
    steps.finish()
}

fn lint() -> anyhow::Result<()> {
    let what = ["clippy", "--workspace", "--all-targets", "--locked"];
    step::run(cargo(what).args(["--", "--deny", "warnings"]))
}

/// Building the whole workspace joins the features of all crates; each must also stand alone.
fn alone() -> anyhow::Result<()> {
    let bare = [
        "check",
        "--locked",
        "--package",
        "mesh-api",
        "--no-default-features",
    ];
    step::run(&mut cargo(bare))?;
    step::run(&mut cargo(["check", "--locked", "--package", "mesh-proxy"]))
}

fn document() -> anyhow::Result<()> {
    let what = ["doc", "--no-deps", "--locked", "--package", "mesh-api"];
    step::run(cargo(what).env("RUSTDOCFLAGS", "--deny warnings"))
}

fn deny() -> anyhow::Result<()> {
    if !step::found("cargo-deny", &["--version"]) {
        println!("cargo-deny is not installed: tidy checked licences, bans and sources itself");
        return Ok(());
    }
    step::run(&mut cargo([
        "deny",
        "--offline",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

fn book() -> anyhow::Result<()> {
    if !step::found("mdbook", &["--version"]) {
        println!("mdbook is not installed: tidy checked SUMMARY.md and every link itself");
        return Ok(());
    }
    step::run(
        Command::new("mdbook")
            .current_dir(step::root())
            .arg("build"),
    )
}
