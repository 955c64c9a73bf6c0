//! What policies do to each rule of a destination: every setting in force, and the field that set it.
//!
//! `cargo run -p mesh-api --example in_force -- demo/shop:80 FILE...`

#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use mesh_api::manifest;
use mesh_api::model::origin::Sourced;
use mesh_api::model::policy::{ExchangeTimeouts, RetryPolicy};
use mesh_api::model::route::HeaderChanges;
use mesh_api::name::DestinationName;
use mesh_api::snapshot::DestinationTable;
use mesh_api::translate::Catalog;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [destination, files @ ..] = arguments.as_slice() else {
        return Err("usage: in_force NAMESPACE/SERVICE:PORT FILE...".into());
    };
    let mut catalog = Catalog::default();
    for file in files {
        for located in manifest::read(file, &std::fs::read_to_string(file)?).resources {
            catalog.apply(located.resource);
        }
    }
    let name: DestinationName = destination.parse()?;
    // The Service's own namespace: what a caller there gets.
    let entry = catalog
        .destination(&name, &name.service.namespace)
        .ok_or("no such destination")?;
    let table = DestinationTable::compile(entry, None).map_err(|faults| format!("{faults:?}"))?;
    println!("{name}, where no rule says otherwise");
    print_settings(&table.timeouts, &table.retry);
    for backend in &table.backends {
        println!("  to {}", backend.name);
        print_one("connect timeout", &backend.settings.connect_timeout);
        print_one("algorithm", &backend.settings.algorithm);
    }
    let routes = table.routing.routes.iter();
    for rule in routes.flat_map(|route| &route.rules) {
        println!("HTTPRoute {} spec.rules[{}]", rule.route, rule.rule.index);
        print_settings(&rule.rule.timeouts, &rule.rule.retry);
        print_changes("request", &rule.rule.request_headers);
        print_changes("response", &rule.rule.response_headers);
    }
    Ok(())
}

fn print_settings(timeouts: &ExchangeTimeouts, retry: &Sourced<RetryPolicy>) {
    print_one("request timeout", &timeouts.request);
    print_one("per-try timeout", &timeouts.per_try);
    println!(
        "  retries: {} more, {:?} methods [{}]",
        retry.value.attempts, retry.value.methods, retry.origin
    );
}

fn print_one<T: std::fmt::Debug>(what: &str, setting: &Sourced<T>) {
    println!("  {what}: {:?} [{}]", setting.value, setting.origin);
}

fn print_changes(of: &str, changes: &HeaderChanges) {
    for (name, value) in changes.set.iter().chain(&changes.add) {
        println!("  {of}: {name}: {value:?}");
    }
    for name in &changes.remove {
        println!("  {of}: without {name}");
    }
}
