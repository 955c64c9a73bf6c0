//! `meshctl diff`: what a change of manifests does to requests, before it is applied.

mod sample;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, ValueHint};
use mesh_api::decide::Caller;
use mesh_api::name::{DestinationName, Namespace};
use mesh_api::translate::Catalog;
use serde::Serialize;

use crate::command::explain::Asked;
use crate::command::verdict::{Verdict, decide};
use crate::render::{Output, Tone, count, lines, show};
use crate::source::files::Files;

/// Arguments of `meshctl diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Manifests in force: a file, or a folder of them.
    #[arg(value_name = "OLD", value_hint = ValueHint::AnyPath)]
    old: PathBuf,
    /// Manifests to come.
    #[arg(value_name = "NEW", value_hint = ValueHint::AnyPath)]
    new: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// Every difference.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    added: Vec<String>,
    removed: Vec<String>,
    /// Requests tried on both sides.
    tried: usize,
    changed: Vec<Changed>,
    /// Settings of the mesh and of workloads, as `what: old -> new`.
    settings: Vec<String>,
}

/// A request that is decided otherwise.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    destination: String,
    consumer: String,
    request: String,
    old: Vec<String>,
    new: Vec<String>,
}

/// Prints what changes; 1 if anything does.
pub(crate) fn run(diff: &Diff) -> anyhow::Result<u8> {
    let (old, new) = (read(&diff.old)?, read(&diff.new)?);
    let report = Report::of(&old, &new);
    let changes = report.count();
    show(diff.output, &report, || report.text())?;
    Ok(u8::from(changes > 0))
}

fn read(path: &PathBuf) -> anyhow::Result<Catalog> {
    let files =
        Files::read(std::slice::from_ref(path)).context("the manifests cannot be compared")?;
    let faults: Vec<String> = files.faults.iter().map(ToString::to_string).collect();
    ensure!(
        faults.is_empty(),
        "{} has faults:\n{}",
        path.display(),
        faults.join("\n")
    );
    Ok(files.catalog)
}

impl Changed {
    /// True if only the consumer differs.
    fn is_same_as(&self, other: &Self) -> bool {
        let parts = |one: &Self| (one.request.clone(), one.old.clone(), one.new.clone());
        parts(self) == parts(other)
    }
}

impl Report {
    fn of(old: &Catalog, new: &Catalog) -> Self {
        let names = |catalog: &Catalog| catalog.destinations().collect::<BTreeSet<_>>();
        let (before, after) = (names(old), names(new));
        let mut report = Self {
            added: after.difference(&before).map(ToString::to_string).collect(),
            removed: before.difference(&after).map(ToString::to_string).collect(),
            settings: settings(old, new),
            ..Self::default()
        };
        let consumers: BTreeSet<Namespace> = before
            .union(&after)
            .map(|name| name.service.namespace.clone())
            .collect();
        for name in before.intersection(&after) {
            for consumer in &consumers {
                report.compare(old, new, name, consumer);
            }
        }
        report
    }

    /// Tries every request that the routes of either side tell apart.
    fn compare(
        &mut self,
        old: &Catalog,
        new: &Catalog,
        name: &DestinationName,
        consumer: &Namespace,
    ) {
        let known = [old, new].map(|catalog| catalog.destination(name, consumer));
        for asked in sample::requests(name, known.iter().flatten()) {
            self.tried += 1;
            let caller = Caller {
                namespace: consumer,
                labels: None,
                service_account: None,
                address: None,
            };
            let verdict = |catalog: &Catalog| sides(decide(catalog, caller, &asked));
            let (before, after) = (verdict(old), verdict(new));
            if before == after {
                continue;
            }
            let changed = Changed {
                destination: name.to_string(),
                consumer: consumer.to_string(),
                request: shown(&asked),
                old: rendered(&before, &after),
                new: rendered(&after, &before),
            };
            // The first consumer stands for all, unless another's calls change otherwise.
            if !self.changed.iter().any(|one| one.is_same_as(&changed)) {
                self.changed.push(changed);
            }
        }
    }

    fn count(&self) -> usize {
        self.added.len() + self.removed.len() + self.changed.len() + self.settings.len()
    }

    fn text(&self) -> String {
        let signed = |sign: char, tone: Tone, texts: &[String]| {
            texts
                .iter()
                .map(|text| tone.paint(&format!("{sign} {text}")))
                .collect::<Vec<_>>()
        };
        let mut all = signed('+', Tone::Good, &self.added);
        all.extend(signed('-', Tone::Bad, &self.removed));
        all.extend(signed('~', Tone::Plain, &self.settings));
        for one in &self.changed {
            all.push(format!(
                "~ {} from {} to {}",
                one.request, one.consumer, one.destination
            ));
            let indented = |texts: &[String]| {
                texts
                    .iter()
                    .map(|text| format!("  {text}"))
                    .collect::<Vec<_>>()
            };
            all.extend(signed('-', Tone::Bad, &indented(&one.old)));
            all.extend(signed('+', Tone::Good, &indented(&one.new)));
        }
        all.push(format!(
            "{}; {} tried on both sides",
            count(self.count(), "change"),
            count(self.tried, "request")
        ));
        lines(all)
    }
}

/// An outcome as a line, and what else is known of it.
#[derive(Clone, Debug, PartialEq)]
struct Side {
    line: String,
    facts: Vec<String>,
}

/// The outcomes of a verdict.
fn sides(verdict: anyhow::Result<Verdict>) -> Vec<Side> {
    let verdict = match verdict {
        Ok(verdict) => verdict,
        Err(error) => {
            let line = format!("{error:#}");
            return vec![Side {
                line,
                facts: Vec::new(),
            }];
        }
    };
    let outcomes = verdict.outcomes.iter().map(|outcome| {
        let mut facts = outcome.settings.clone();
        facts.extend(outcome.host.iter().map(|host| format!("host {host}")));
        let fields = outcome.fields.iter();
        facts.extend(fields.map(|(name, value)| format!("{name}: {value}")));
        facts
    });
    let lines = verdict.lines().into_iter().zip(outcomes);
    lines.map(|(line, facts)| Side { line, facts }).collect()
}

/// Each of `own` as text, without the facts that hold for all of `own` and `other`.
fn rendered(own: &[Side], other: &[Side]) -> Vec<String> {
    let is_told = |fact: &&String| {
        !own.iter()
            .chain(other)
            .all(|side| side.facts.contains(fact))
    };
    let render = |side: &Side| {
        let facts: Vec<&str> = side
            .facts
            .iter()
            .filter(is_told)
            .map(String::as_str)
            .collect();
        match facts.as_slice() {
            [] => side.line.clone(),
            facts => format!("{} ({})", side.line, facts.join("; ")),
        }
    };
    own.iter().map(render).collect()
}

fn shown(asked: &Asked) -> String {
    let headers: Vec<String> = asked
        .headers
        .iter()
        .map(|(name, value)| format!(" -H '{name}: {value}'"))
        .collect();
    format!(
        "{} http://{}{}{}",
        asked.method,
        asked.authority,
        asked.target,
        headers.concat()
    )
}

/// What changes beside routing: facts of the mesh, and who must use mutual TLS.
fn settings(old: &Catalog, new: &Catalog) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |what: String, old: String, new: String| {
        if old != new {
            found.push(format!("{what}: {old} -> {new}"));
        }
    };
    let (before, after) = (old.mesh(), new.mesh());
    compare(
        "Mesh unknownDestinations".to_owned(),
        format!("{:?}", before.unknown_destinations),
        format!("{:?}", after.unknown_destinations),
    );
    compare(
        "Mesh trustDomain".to_owned(),
        before.trust_domain.to_string(),
        after.trust_domain.to_string(),
    );
    for workload in new.workloads() {
        let sides = [old, new].map(|catalog| catalog.inbound(&workload.name));
        let [Some(before), Some(after)] = sides else {
            continue;
        };
        for port in &after.ports {
            if let Some(same) = before.ports.iter().find(|one| one.port == port.port) {
                compare(
                    format!(
                        "Workload {} port {} mutualTLS",
                        workload.name,
                        port.port.number()
                    ),
                    format!("{:?}", same.mutual_tls.value),
                    format!("{:?}", port.mutual_tls.value),
                );
            }
        }
    }
    found
}
