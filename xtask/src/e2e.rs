//! `cargo xtask e2e`: the mesh against programs by others, which the cases install; and in a cluster,
//! which is made once for all cases that need one.
//!
//! May use `step`, `cluster` and `test`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use crate::cluster;
use crate::step::{self, Steps};
use crate::test::{DEMO_CASE, PROOF, build, cases};

/// For the end-to-end cases.
const BUDGET: Duration = Duration::from_mins(40);
/// The name of the one that is no test of the crate: `cargo xtask bench --quick`.
const SMOKE: &str = "bench_quick";
/// Names of cases that run in the cluster start so.
const IN_CLUSTER: &str = "cluster_";
/// And of those that have it for themselves: they change it as a whole.
const ALONE: &str = "cluster_alone_";
/// And of those that have the machine for themselves as well: they count every request of a load, or
/// measure times.
const LOADED: &str = "cluster_loaded_";
/// Names of cases with an API server of their own.
const API_SERVER: &str = "apiserver_";
/// Cases at once: several of those that mostly wait.
const SOME: &str = "--test-threads=4";
const ONE: &str = "--test-threads=1";

/// Which cases run, and what stays after them.
#[derive(Args)]
pub(crate) struct Choice {
    /// Only cases whose names contain this.
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Prints the names of the cases and runs none.
    #[arg(long)]
    list: bool,
    /// Leaves the cluster and the namespaces of its cases.
    #[arg(long)]
    keep: bool,
    /// Only the Gateway API's own suite, in the cluster.
    #[arg(long, conflicts_with = "filter")]
    conformance: bool,
}

/// The end-to-end cases, or those that were chosen.
pub(crate) fn run(choice: &Choice) -> anyhow::Result<()> {
    let filter = choice.filter.as_deref();
    if choice.list {
        println!("{SMOKE}: test");
        return step::run(chosen(filter).arg("--list"));
    }
    let mut steps = Steps::within(BUDGET);
    // What an earlier run found is no part of this one.
    std::fs::remove_file(figures()).ok();
    if !steps.run("build meshctl (release)", build) {
        return steps.finish();
    }
    let names = if choice.conformance {
        Vec::new()
    } else {
        names(filter)?
    };
    let (inside, outside): (Vec<&str>, Vec<&str>) = names
        .iter()
        .map(String::as_str)
        .partition(|name| name.starts_with(IN_CLUSTER));
    if !choice.conformance && filter.is_none_or(|filter| SMOKE.contains(filter)) {
        steps.run("smoke run of the bench", || bench("--quick"));
        steps.run("instructions and allocations", || bench("--count"));
    }
    let needs_cluster = choice.conformance || !inside.is_empty();
    // Both mostly wait. What they print is told apart: that of those without a cluster comes when they end.
    let run_one = if needs_cluster {
        step::run_aside
    } else {
        step::run
    };
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| run_outside(&outside, run_one));
        let made = needs_cluster && begin_inside(&mut steps, choice, &inside);
        match beside.join() {
            Ok(ended) => steps.take_in(ended),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        if needs_cluster {
            end_inside(&mut steps, choice, &inside, made);
        }
    });
    tell_figures();
    steps.finish()
}

/// Where cases write what they found, a row of a table each.
fn figures() -> PathBuf {
    step::target().join("e2e-figures.md")
}

/// All figures, then all failures, in one place: what the cases print is long.
fn tell_figures() {
    if let Ok(rows) = std::fs::read_to_string(figures()) {
        let (failed, found): (Vec<&str>, Vec<&str>) =
            rows.lines().partition(|row| row.contains("| FAILED: "));
        println!("| case | found |\n|---|---|");
        for row in found.iter().chain(&failed) {
            println!("{row}");
        }
    }
}

/// What the bench asserts without a clock.
fn bench(what: &str) -> anyhow::Result<()> {
    step::run(Command::new(std::env::current_exe()?).args(["bench", what]))
}

/// The cases without a cluster, each process by `run`. One after the other: some have deadlines of a fifth
/// of a second.
fn run_outside(names: &[&str], run: fn(&mut Command) -> anyhow::Result<()>) -> Steps {
    let mut steps = Steps::within(BUDGET);
    let (served, others): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| name.starts_with(API_SERVER));
    if !others.is_empty() {
        steps.run("end-to-end cases", || {
            run(&mut exactly(&["--tests"], &others, ONE))
        });
    }
    if !served.is_empty() {
        steps.run("cases with an API server", || {
            run(&mut exactly(&["--tests"], &served, SOME))
        });
    }
    steps
}

/// These cases and no others, so many at once.
fn exactly(of: &[&str], names: &[&str], at_once: &str) -> Command {
    let mut command = cases(of);
    command.args(["--include-ignored", "--nocapture", "--exact", at_once]);
    command.args(names).env("MESH_FIGURES", figures());
    command
}

/// Makes the cluster and the mesh in it, and runs the cases that share it. True if there is a mesh.
fn begin_inside(steps: &mut Steps, choice: &Choice, names: &[&str]) -> bool {
    let made = steps.run("cluster", cluster::up)
        && steps.run("images", cluster::load_all)
        && steps.run("images of an older version", || {
            cluster::load_older(&cluster::built())
        })
        && steps.run("the Gateway API's definitions", || cluster::define(false))
        && steps.run("meshctl install", cluster::install);
    let is_shared = |name: &&&str| !name.starts_with(LOADED) && !name.starts_with(ALONE);
    let shared: Vec<&str> = names.iter().filter(is_shared).copied().collect();
    if made && !shared.is_empty() {
        steps.run("cases in the cluster", || inside(choice, &shared, SOME));
    }
    made
}

/// Runs the cases that need the cluster or the machine for themselves, and removes the cluster.
fn end_inside(steps: &mut Steps, choice: &Choice, names: &[&str], made: bool) {
    for (what, prefix) in [
        ("cases alone in the cluster", ALONE),
        ("cases under load", LOADED),
    ] {
        let of_prefix = names.iter().filter(|name| name.starts_with(prefix));
        let chosen: Vec<&str> = of_prefix.copied().collect();
        if made && !chosen.is_empty() {
            steps.run(what, || inside(choice, &chosen, ONE));
        }
    }
    if made && choice.filter.is_none() {
        steps.run("Gateway API conformance", || cluster::conform(None, true));
    }
    if choice.keep {
        println!("kept: cargo xtask cluster status; cargo xtask cluster down removes it");
    } else {
        steps.run("remove the cluster", cluster::down);
    }
}

/// These cases, in the cluster's network.
fn inside(choice: &Choice, names: &[&str], at_once: &str) -> anyhow::Result<()> {
    let mut command = cluster::enter(&exactly(&["--tests", "--offline"], names, at_once))?;
    if choice.keep {
        command.env("MESH_KEEP", "1");
    }
    step::run(&mut command)
}

/// The names of the chosen cases.
fn names(filter: Option<&str>) -> anyhow::Result<Vec<String>> {
    let said = step::output(chosen(filter).arg("--list"))?;
    let tests = said.lines().filter_map(|line| line.strip_suffix(": test"));
    let names: Vec<String> = tests.map(ToOwned::to_owned).collect();
    if names.is_empty() {
        let filter = filter.unwrap_or_default();
        if SMOKE.contains(filter) {
            return Ok(names);
        }
        bail!("no case has a name with {filter:?}; cargo xtask e2e --list shows them");
    }
    Ok(names)
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
