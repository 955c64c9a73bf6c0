//! `cargo xtask e2e`: the mesh against programs by others, which the cases install; and in a cluster,
//! which is made once for all cases that need one.
//!
//! May use `step`, `cluster` and `test`.

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
    if !steps.run("build meshctl (release)", build) {
        return steps.finish();
    }
    let names = if choice.conformance {
        Vec::new()
    } else {
        names(filter)?
    };
    let (inside, outside): (Vec<&String>, Vec<&String>) =
        names.iter().partition(|name| name.starts_with(IN_CLUSTER));
    if !outside.is_empty() {
        steps.run("end-to-end cases", || {
            let mut command = chosen(filter);
            command.args(["--skip", IN_CLUSTER, "--nocapture", "--test-threads=1"]);
            step::run(&mut command)
        });
    }
    let smoke = !choice.conformance && filter.is_none_or(|filter| SMOKE.contains(filter));
    if smoke {
        steps.run("smoke run of the bench", || {
            step::run(Command::new(std::env::current_exe()?).args(["bench", "--quick"]))
        });
    }
    if choice.conformance || !inside.is_empty() {
        in_cluster(&mut steps, choice, !inside.is_empty());
    }
    steps.finish()
}

/// Makes the cluster and the mesh in it, runs what was chosen, and removes it.
fn in_cluster(steps: &mut Steps, choice: &Choice, any: bool) {
    let made = steps.run("cluster", cluster::up)
        && steps.run("images", cluster::load_all)
        && steps.run("images of an older version", cluster::load_older)
        && steps.run("the Gateway API's definitions", || cluster::define(false))
        && steps.run("meshctl install", cluster::install);
    if made && any {
        steps.run("cases in the cluster", || {
            let mut command = cluster::enter(&cases_inside(choice))?;
            if choice.keep {
                command.env("MESH_KEEP", "1");
            }
            step::run(&mut command)
        });
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

fn cases_inside(choice: &Choice) -> Command {
    let mut command = cases(&["--tests", "--offline"]);
    let filter = choice.filter.as_deref().unwrap_or(IN_CLUSTER);
    command.args([filter, "--include-ignored"]);
    command.args(["--nocapture", "--test-threads=1"]);
    command
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
