//! How long a decision takes among many rules, and what follows a change of one of them. May use `routes`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use fastrand::Rng;
use mesh_api::decide::explanation::Fields;
use mesh_api::decide::{self, Caller, Decision, Request, Step};
use mesh_api::explain::Silent;
use mesh_api::model::entry::{Entry, EntryName};
use mesh_api::snapshot::DestinationTable;
use mesh_api::translate::Catalog;
use mesh_api::wire;
use mesh_proxy::upstream::Dice;
use serde_json::{Value, json};

use crate::routes::{self, SERVICE};

/// Decisions that are timed.
const DECISIONS: usize = 100_000;
/// Changes that are timed.
const CHANGES: u32 = 50;

/// A Service with `count` routes of a rule each, by turns of an exact path and of a prefix: the time of decisions, and
/// of each step from a changed route to the table that a proxy decides by.
pub(crate) fn run(count: u32) -> anyhow::Result<Value> {
    ensure!(count > 0, "no rules");
    let mut catalog = Catalog::default();
    routes::apply(&mut catalog, SERVICE)?;
    for rule in 0..count {
        routes::apply(&mut catalog, &written(rule, ""))?;
    }
    let mut table = compiled(&catalog, None)?;
    let decisions = decide(&table, count)?;
    let [mut applied, mut encoded, mut read] = [const { Vec::new() }; 3];
    for change in 0..CHANGES {
        let filter = format!(
            "{{ type: RequestHeaderModifier, requestHeaderModifier: {{ set: [{{ name: x-change, value: \"{change}\" }}] }} }}"
        );
        let text = written(change % count, &filter);
        let began = Instant::now();
        routes::apply(&mut catalog, &text)?;
        applied.push(began.elapsed());
        let began = Instant::now();
        let entry = Entry::Destination(routes::destination(&catalog)?);
        let bytes = wire::encode(&entry).bytes;
        encoded.push(began.elapsed());
        let began = Instant::now();
        let entry = wire::decode(&EntryName::Destination(routes::name()?), &bytes);
        let Ok(Entry::Destination(destination)) = entry else {
            bail!("not read: {entry:?}");
        };
        match DestinationTable::compile(destination, Some(&table)) {
            Ok(next) => table = next,
            Err(faults) => bail!("{faults:?}"),
        }
        read.push(began.elapsed());
    }
    Ok(json!({
        "rules": count,
        "decision": told(decisions, DECISIONS),
        "change": {
            "check of the route": told(applied, CHANGES as usize),
            "entry, encoded": told(encoded, CHANGES as usize),
            "entry read and compiled": told(read, CHANGES as usize),
        },
    }))
}

/// The route of a rule.
fn written(rule: u32, filters: &str) -> String {
    let matches = match rule % 2 {
        0 => format!("type: Exact, value: /exact/{rule}"),
        _ => format!("type: PathPrefix, value: /prefix/{rule}"),
    };
    routes::route(&format!("route-{rule}"), &matches, filters)
}

fn compiled(
    catalog: &Catalog,
    held: Option<&DestinationTable>,
) -> anyhow::Result<DestinationTable> {
    match DestinationTable::compile(routes::destination(catalog)?, held) {
        Ok(table) => Ok(table),
        Err(faults) => bail!("{faults:?}"),
    }
}

/// Requests for rules drawn at random, each timed by itself.
fn decide(table: &DestinationTable, rules: u32) -> anyhow::Result<Vec<Duration>> {
    let mut draws = Rng::with_seed(1);
    let mut random = Rng::with_seed(2);
    let mut random = Dice(&mut random);
    let mut times = Vec::with_capacity(DECISIONS);
    let headers = Fields(&[("accept", "*/*"), ("user-agent", "bench")]);
    for _ in 0..DECISIONS {
        let rule = draws.u32(..rules);
        let path = match rule % 2 {
            0 => format!("/exact/{rule}"),
            _ => format!("/prefix/{rule}/more"),
        };
        let request = Request {
            method: "GET",
            scheme: "http",
            authority: "app",
            port: 80,
            path: &path,
            query: None,
            headers: &headers,
            caller: Caller {
                namespace: &table.consumer,
                labels: None,
                service_account: None,
                address: None,
            },
        };
        let began = Instant::now();
        let step = decide::request(table, black_box(&request), &mut random, &mut Silent);
        let forwards = matches!(black_box(&step), Step::Done(Decision::Forward(_)));
        drop(step);
        times.push(began.elapsed());
        ensure!(forwards, "{path} is not forwarded");
    }
    Ok(times)
}

/// Microseconds of the median, the 99th percentile and the longest of `times`.
fn told(mut times: Vec<Duration>, count: usize) -> Value {
    times.sort_unstable();
    let micros = |at: usize| {
        let time = times.get(at).copied().unwrap_or_default();
        time.as_secs_f64() * 1e6
    };
    json!({
        "of": count,
        "p50 µs": micros(count / 2),
        "p99 µs": micros(count.saturating_sub(1) * 99 / 100),
        "max µs": micros(count.saturating_sub(1)),
    })
}
