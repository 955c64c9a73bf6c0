//! `meshctl check`: is the mesh as it should be, and if not, why, and what helps.
//!
//! Facts are gathered first, from the state folder, the control plane and every proxy; every check
//! is a pure function of them.

mod authority;
mod catalog;
mod cluster;
mod configuration;
mod control;
mod facts;
mod finding;
mod first_day;
mod gather;
mod gather_cluster;
mod identity;
mod policy;
mod proxies;
mod report;
mod state;
mod workload;

use std::time::Duration;

use clap::{Args, ValueEnum};
use mesh_api::resource::duration;
use tokio::time::{Instant, sleep};

use crate::render::{json, print, yaml};
use crate::source::origin::Origin;
use catalog::Category;
use report::Report;

/// Between two rounds of `--wait`.
const ROUND: Duration = Duration::from_millis(500);

/// Arguments of `meshctl check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Only checks of this category; repeatable.
    #[arg(long = "only", value_enum, value_name = "CATEGORY")]
    only: Vec<Category>,
    /// Before an installation: whether the cluster can have a mesh, and what would stand in its way.
    #[arg(long, conflicts_with = "wait")]
    pre: bool,
    /// Warnings fail as well.
    #[arg(long)]
    strict: bool,
    /// Look again until nothing fails, at most this long.
    #[arg(long, value_name = "DURATION", value_parser = wait)]
    wait: Option<Duration>,
    /// How to print the answer.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Every check under its category.
    Table,
    /// Only what is not as it should be.
    Short,
    /// One JSON value, indented.
    Json,
    /// One YAML document.
    Yaml,
}

/// Looks, and prints what was found.
pub(crate) async fn run(check: Check, origin: &Origin) -> anyhow::Result<u8> {
    if check.pre {
        let cluster = origin.cluster.connect().await?;
        let report = Report::before(&gather::before(&cluster).await?, &check.only);
        return check.show(&report);
    }
    let mesh = origin.mesh().await?;
    let limit = check.wait.map(|wait| Instant::now() + wait);
    let report = loop {
        let facts = gather::facts(&mesh).await?;
        let report = Report::of(&facts, &check.only);
        let is_over = limit.is_none_or(|limit| Instant::now() >= limit);
        if is_over || !report.fails(check.strict) {
            break report;
        }
        sleep(ROUND).await;
    };
    check.show(&report)
}

impl Check {
    /// Prints what was found; 1 if anything fails.
    fn show(&self, report: &Report) -> anyhow::Result<u8> {
        print(&match self.output {
            Form::Table => report.text(report::Detail::All),
            Form::Short => report.text(report::Detail::Trouble),
            Form::Json => json(report)?,
            Form::Yaml => yaml(report)?,
        })?;
        Ok(u8::from(report.fails(self.strict)))
    }
}

fn wait(text: &str) -> anyhow::Result<Duration> {
    Ok(duration::Duration(text.to_owned()).parse()?)
}
