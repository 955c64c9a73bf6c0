//! Decides a request by manifests in files, as a proxy would, and prints why.
//!
//! `cargo run -p mesh-api --example decide -- demo GET http://shop/items/7 FILE...`: the namespace of the
//! caller, the request, the manifests. Ends with 1 where a manifest is refused.

#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::process::ExitCode;

use mesh_api::decide::destination::{Resolution, resolve};
use mesh_api::decide::explanation::{Explanation, Fields, explain};
use mesh_api::decide::{Caller, Request, target};
use mesh_api::manifest;
use mesh_api::snapshot::DestinationTable;
use mesh_api::translate::Catalog;

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [namespace, method, url, files @ ..] = arguments.as_slice() else {
        return Err("usage: decide NAMESPACE METHOD URL FILE...".into());
    };
    let mut catalog = Catalog::default();
    let mut refused = 0;
    for file in files {
        refused += add(&mut catalog, file)?;
    }
    println!("{}", decide(&catalog, namespace, method, url)?);
    Ok(ExitCode::from(u8::from(refused > 0)))
}

/// Reads a file into the catalog; how many faults it has. One bad object spoils no other.
fn add(catalog: &mut Catalog, file: &str) -> Result<usize, Failed> {
    let manifest = manifest::read(file, &std::fs::read_to_string(file)?);
    let mut faults: Vec<String> = manifest.faults.iter().map(ToString::to_string).collect();
    for located in manifest.resources {
        let verdict = catalog.apply(located.resource.clone());
        faults.extend(verdict.faults.iter().map(|fault| located.render(fault)));
    }
    for fault in &faults {
        println!("{fault}");
    }
    Ok(faults.len())
}

/// The decision with its reasons: translate the destination, compile it, ask.
fn decide(
    catalog: &Catalog,
    namespace: &str,
    method: &str,
    url: &str,
) -> Result<Explanation, Failed> {
    let rest = url
        .strip_prefix("http://")
        .ok_or("the URL is not http://")?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = match authority.rsplit_once(':') {
        Some((_, port)) => port.parse()?,
        None => 80,
    };
    let consumer = namespace.parse()?;
    let host = target::host(authority);
    let Resolution::Service(name) = resolve(&catalog.mesh(), &consumer, host, port) else {
        return Err(format!("{host} is outside the mesh").into());
    };
    let destination = catalog
        .destination(&name, &consumer)
        .ok_or("no such destination")?;
    let table = DestinationTable::compile(destination, None)
        .map_err(|faults| format!("the entry cannot be used: {faults:?}"))?;
    let path = format!("/{path}");
    let target = target::normalise(&path)?;
    let fields = Fields(&[("accept", "*/*"), ("x-debug", "1")]);
    let request = Request {
        method,
        scheme: "http",
        authority,
        port,
        path: &target.path,
        query: target.query,
        headers: &fields,
        caller: Caller {
            namespace: &consumer,
            labels: None,
            service_account: None,
            address: None,
        },
    };
    Ok(explain(&table, &request, fields))
}
