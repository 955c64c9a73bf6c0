//! A Service and its routes as a user writes them, compiled as a proxy has them. May use nothing of
//! this crate.

use anyhow::{Context, bail, ensure};
use mesh_api::manifest;
use mesh_api::model::destination::Destination;
use mesh_api::name::{DestinationName, Namespace};
use mesh_api::snapshot::DestinationTable;
use mesh_api::translate::Catalog;

/// Where requests go.
pub(crate) const SERVICE: &str = "apiVersion: v1\nkind: Service\n\
    metadata: { name: app, namespace: demo }\n\
    spec: { selector: { app: app }, ports: [{ port: 80, appProtocol: http }] }\n";

/// An HTTPRoute of the Service whose one rule has `matches` and `filters`.
pub(crate) fn route(name: &str, matches: &str, filters: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{ name: {name}, namespace: demo }}\nspec:\n  \
         parentRefs: [{{ group: \"\", kind: Service, name: app, port: 80 }}]\n  rules:\n  \
         - matches: [{{ path: {{ {matches} }} }}]\n    filters: [{filters}]\n    \
           backendRefs: [{{ name: app, port: 80 }}]\n"
    )
}

/// Applies what is written.
pub(crate) fn apply(catalog: &mut Catalog, text: &str) -> anyhow::Result<()> {
    let read = manifest::read("bench.yaml", text);
    if let Some(fault) = read.faults.first() {
        bail!("{fault}");
    }
    for located in read.resources {
        let faults = catalog.apply(located.resource.clone()).faults;
        ensure!(faults.is_empty(), "{faults:?}");
    }
    Ok(())
}

/// What the Service's callers are sent.
pub(crate) fn destination(catalog: &Catalog) -> anyhow::Result<Destination> {
    let namespace: Namespace = "demo".parse()?;
    let found = catalog.destination(&name()?, &namespace);
    found.context("no such destination")
}

/// The Service's name.
pub(crate) fn name() -> anyhow::Result<DestinationName> {
    Ok("demo/app:80".parse()?)
}

/// What a proxy decides by.
pub(crate) fn table(text: &str) -> anyhow::Result<DestinationTable> {
    let mut catalog = Catalog::default();
    apply(&mut catalog, text)?;
    match DestinationTable::compile(destination(&catalog)?, None) {
        Ok(table) => Ok(table),
        Err(faults) => bail!("{faults:?}"),
    }
}
