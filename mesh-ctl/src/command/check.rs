//! `meshctl check`: is the mesh as it should be, and if not, why, and what helps.
//!
//! Facts are gathered first, from the state folder, the control plane and every proxy; every check
//! is a pure function of them.

mod authority;
mod catalog;
mod configuration;
mod control;
mod facts;
mod finding;
mod gather;
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
use crate::source::state::StateArg;
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

/// Prints what was found; 1 if anything fails.
pub(crate) async fn run(check: Check, state: &StateArg) -> anyhow::Result<u8> {
    let state = state.folder()?;
    let limit = check.wait.map(|wait| Instant::now() + wait);
    let report = loop {
        let facts = gather::facts(&state).await;
        let report = Report::of(&facts, &check.only);
        let is_over = limit.is_none_or(|limit| Instant::now() >= limit);
        if is_over || !report.fails(check.strict) {
            break report;
        }
        sleep(ROUND).await;
    };
    print(&match check.output {
        Form::Table => report.text(report::Detail::All),
        Form::Short => report.text(report::Detail::Trouble),
        Form::Json => json(&report)?,
        Form::Yaml => yaml(&report)?,
    })?;
    Ok(u8::from(report.fails(check.strict)))
}

fn wait(text: &str) -> anyhow::Result<Duration> {
    Ok(duration::Duration(text.to_owned()).parse()?)
}
