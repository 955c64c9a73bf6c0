//! Drives everything: `cargo xtask help` lists it.
//!
//! Modules form a list, as in every crate: see `tidy/order.rs`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool speaks on its standard output, and tells its progress beside it"
)]

mod archive;
mod bench;
mod cache;
mod ci;
mod cluster;
mod codegen;
mod debian;
mod dist;
mod e2e;
mod footprint;
mod image;
mod measure;
mod prove;
mod release;
mod source;
mod step;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests, checks and measures the mesh.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds meshctl, runs every unit test, then the demo's own check.
    Test,
    /// Runs the end-to-end cases; each installs the programs by others that it needs.
    E2e(e2e::Choice),
    /// Runs the proofs that are too long for every change, and writes docs/proofs/protocols.md.
    Prove {
        /// Only proofs whose names start with this.
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// Prints the names of the proofs and runs none.
        #[arg(long)]
        list: bool,
    },
    /// Checks format, lints, tidiness, generated code, documentation and dependencies.
    Ci,
    /// Checks the shape of the code and the documents: order of modules, sizes, links, reasons.
    Tidy {
        /// Prints the figures of the code instead: sizes, cycles, clones, documentation.
        #[arg(long)]
        measure: bool,
    },
    /// Writes generated code.
    Codegen {
        /// Fails where the committed code differs, and writes nothing.
        #[arg(long)]
        check: bool,
    },
    /// Makes, removes and uses a Kubernetes cluster of two nodes on this machine (kind).
    Cluster {
        #[command(subcommand)]
        verb: cluster::Verb,
    },
    /// Writes the images of the mesh, without a container engine.
    Image {
        /// How the programs are built.
        #[arg(long, value_enum, default_value = "release")]
        profile: image::Profile,
        /// Names them by this version instead of the workspace's.
        #[arg(long, value_name = "VERSION")]
        tag: Option<String>,
    },
    /// Builds the binaries for shipping and prints their sizes.
    Dist,
    /// Measures a pair of our proxies beside pairs of others, in one run (as root, on Linux).
    Bench(bench::Choice),
    /// Builds for shipping and measures an idle mesh-proxy: size, memory, time to ready.
    Measure {
        /// What the proxy starts with: a bootstrap file that names an `observe` address.
        #[arg(long, value_name = "FILE")]
        bootstrap: Option<std::path::PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Test => test::run(),
        Command::E2e(choice) => e2e::run(&choice),
        Command::Prove { name, list } => prove::run(name.as_deref(), list),
        Command::Ci => ci::run(),
        Command::Tidy { measure: false } => tidy::run(),
        Command::Tidy { measure: true } => measure::run(),
        Command::Codegen { check } => codegen::run(check),
        Command::Cluster { verb } => cluster::run(verb),
        Command::Image { profile, tag } => image::run(profile, tag.as_deref()),
        Command::Dist => dist::run(),
        Command::Bench(choice) => bench::run(&choice),
        Command::Measure { bootstrap } => footprint::run(bootstrap.as_deref()),
    }
}
