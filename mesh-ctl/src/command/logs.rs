//! `meshctl logs`: what a workload wrote: its access log, its sidecar's log, its app's output. Of a
//! state folder it reads files, of a cluster what pods' containers wrote.

mod filter;
mod follow;
mod line;
mod pods;

use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};
use mesh_api::name::{Namespace, ObjectName};
use mesh_api::resource::{duration, nearest};
use serde_json::Value;

use crate::command::complete;
use crate::command::signal;
use crate::source::origin::{Mesh, Origin};
use crate::source::state::StateFolder;
use filter::{Filter, Statuses};
use follow::Tail;

/// Arguments of `meshctl logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The workload, `namespace/name`; a bare name if there is one of that name; in a cluster also
    /// `deploy/NAME`, `pod/NAME`, `NAME.NAMESPACE`.
    #[arg(value_name = "WORKLOAD", add = complete::workloads())]
    workload: String,
    /// Namespace of the workload.
    #[arg(short, long, value_name = "NS", add = complete::namespaces())]
    namespace: Option<Namespace>,
    /// Which log; repeatable [default: access].
    #[arg(short, long = "source", value_enum, value_name = "LOG")]
    sources: Vec<Source>,
    /// Print new lines as they come, until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines, of those that pass every other filter.
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    /// Only what is younger: `30s`, `1h30m`. An app's output carries no times and passes.
    #[arg(long, value_name = "DURATION", value_parser = since)]
    since: Option<std::time::Duration>,
    /// How to print the lines.
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Form,
    #[command(flatten)]
    exchanges: Exchanges,
}

/// Filters of exchanges: with any of them, the access log alone is printed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters of exchanges")]
struct Exchanges {
    /// Only these statuses: `503`, `5xx`, `500-504`; several with commas.
    #[arg(long, value_name = "STATUS")]
    status: Option<Statuses>,
    /// Only calls to this destination: `catalog`, `demo/catalog`, `demo/catalog:80`.
    #[arg(long, value_name = "SERVICE", add = complete::services())]
    to: Option<String>,
    /// Only paths like this; `*` stands for any text.
    #[arg(long, value_name = "PATTERN")]
    path: Option<String>,
    /// Only this method.
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// Only towards the app, or away from it.
    #[arg(long, value_enum, value_name = "DIRECTION")]
    direction: Option<Direction>,
}

/// A log of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    /// One line per exchange of its sidecar.
    Access,
    /// What its sidecar reports.
    Proxy,
    /// What its app prints.
    App,
    /// All of them.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    Inbound,
    Outbound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// The lines of the access log as they are.
    Json,
}

/// Prints what there is; with `--follow`, what comes.
pub(crate) async fn run(logs: Logs, origin: &Origin) -> anyhow::Result<u8> {
    let state = match origin.mesh().await? {
        Mesh::Folder(state) => state,
        Mesh::Cluster(remote) => return pods::run(&logs, remote.cluster()).await,
    };
    let workload = find(&state, &logs.workload, logs.namespace.as_ref())?;
    let filter = logs.filter();
    let wanted = logs.wanted();
    let mut tails = Vec::new();
    for (kind, path) in files(&state, &workload) {
        if wanted.contains(&kind) {
            tails.push(Tail::new(
                path,
                kind,
                filter.clone(),
                logs.output == Form::Json,
            ));
        }
    }
    ensure!(
        !tails.is_empty(),
        "{workload} keeps no access log in a file; its bootstrap says where it goes"
    );
    if !logs.follow && !tails.iter().any(Tail::exists) {
        bail!("{}; --follow waits for it", nothing(&workload, &tails));
    }
    for tail in &mut tails {
        tail.print_present(logs.tail)?;
    }
    if !logs.follow {
        return Ok(0);
    }
    tokio::select! {
        ended = follow::follow(&mut tails) => ended.map(|()| 0),
        _ = signal::stop() => Ok(0),
    }
}

impl Logs {
    fn filter(&self) -> Filter {
        let only = &self.exchanges;
        Filter {
            status: only.status.clone(),
            to: only.to.clone(),
            path: only.path.clone(),
            method: only.method.clone(),
            direction: only.direction.map(|direction| match direction {
                Direction::Inbound => "inbound",
                Direction::Outbound => "outbound",
            }),
            after: self.since.map(|since| {
                jiff::Timestamp::now()
                    .saturating_sub(jiff::SignedDuration::try_from(since).unwrap_or_default())
                    .unwrap_or_default()
            }),
        }
    }

    /// The logs asked for, `All` spelled out.
    fn wanted(&self) -> Vec<Source> {
        let is_filtered = self.filter().is_of_exchanges();
        match self.sources.as_slice() {
            [] => vec![Source::Access],
            _ if is_filtered => vec![Source::Access],
            all if all.contains(&Source::All) => vec![Source::Proxy, Source::App, Source::Access],
            some => some.to_vec(),
        }
    }
}

/// The files of a workload's logs that can be.
fn files(state: &StateFolder, workload: &ObjectName) -> Vec<(Source, PathBuf)> {
    let folder = state.workload(workload);
    let mut files = vec![
        (Source::Proxy, folder.join("proxy.log")),
        (Source::App, folder.join("app.log")),
    ];
    let bootstrap = std::fs::read(folder.join("bootstrap.json")).unwrap_or_default();
    let bootstrap: Value = serde_json::from_slice(&bootstrap).unwrap_or_default();
    let access = bootstrap["accessLog"]["file"].as_str();
    files.extend(access.map(|path| (Source::Access, PathBuf::from(path))));
    files
}

/// Why there is nothing to print.
fn nothing(workload: &ObjectName, tails: &[Tail]) -> String {
    match tails {
        [only] if only.source() == Source::App => format!("no app of {workload} was started yet"),
        _ => {
            let mut paths = tails.iter().map(|tail| tail.path().display().to_string());
            let path = paths.next().unwrap_or_default();
            format!("nothing was written yet: {path} does not exist")
        }
    }
}

/// The workload that `text` means, among those run with this state folder.
fn find(
    state: &StateFolder,
    text: &str,
    namespace: Option<&Namespace>,
) -> anyhow::Result<ObjectName> {
    let known = state.workloads();
    let is_meant = |name: &&ObjectName| {
        let by_name =
            *text == *name.name.as_str() && namespace.is_none_or(|ns| *ns == name.namespace);
        by_name || name.to_string() == text
    };
    let found: Vec<&ObjectName> = known.iter().filter(is_meant).collect();
    let names: Vec<String> = known.iter().map(ToString::to_string).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] if known.is_empty() => bail!(
            "no workload was run with {}; logs are read from the state folder (--state, MESH_STATE) of the machine it runs on",
            state.root().display()
        ),
        [] => match nearest(text, &names).or_else(|| near_bare(text, &names)) {
            Some(near) => bail!("no workload {text:?} was run here; did you mean {near}?"),
            None => bail!(
                "no workload {text:?} was run here; there are {}",
                names.join(", ")
            ),
        },
        _ => bail!("{text:?} is the name of several workloads; say which namespace with -n"),
    }
}

/// The full name whose last part is nearest to `text`.
fn near_bare<'a>(text: &str, names: &[&'a str]) -> Option<&'a str> {
    let bare = |name: &'a str| name.rsplit('/').next().unwrap_or(name);
    let bares: Vec<&str> = names.iter().map(|name| bare(name)).collect();
    let near = nearest(text.rsplit('/').next().unwrap_or(text), &bares)?;
    names.iter().copied().find(|name| bare(name) == near)
}

fn since(text: &str) -> anyhow::Result<std::time::Duration> {
    Ok(duration::Duration(text.to_owned()).parse()?)
}
