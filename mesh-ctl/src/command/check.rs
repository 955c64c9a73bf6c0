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

use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};
use mesh_api::name::Namespace;
use mesh_api::resource::duration;
use tokio::time::{Instant, sleep};

use crate::render::{json, print, yaml};
use crate::source::origin::Origin;
use catalog::Category;
use facts::Facts;
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
    /// Look at this namespace of a cluster as if it had joined the mesh: what would break before it
    /// does; repeatable.
    #[arg(long, value_name = "NAMESPACE")]
    adopt: Vec<Namespace>,
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
        let mut facts = gather::before(&cluster).await?;
        check.adopt(&mut facts)?;
        let looks = if check.adopt.is_empty() {
            report::Before::Installation
        } else {
            report::Before::Adoption
        };
        return check.show(&Report::before(&facts, looks, &check.only));
    }
    let mesh = origin.mesh().await?;
    let limit = check.wait.map(|wait| Instant::now() + wait);
    let report = loop {
        let mut facts = gather::facts(&mesh).await?;
        check.adopt(&mut facts)?;
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
    /// Looks at namespaces as if they had opted in.
    fn adopt(&self, facts: &mut Facts) -> anyhow::Result<()> {
        for namespace in &self.adopt {
            let Some(cluster) = &mut facts.cluster else {
                bail!("--adopt looks at a namespace of a cluster: name one with --context");
            };
            ensure!(
                cluster.objects.adopt(namespace.as_str()),
                "the cluster has no namespace {namespace}; `kubectl get namespaces` lists them"
            );
        }
        Ok(())
    }

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
