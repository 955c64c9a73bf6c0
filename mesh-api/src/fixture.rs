//! Text fixtures for tests of this and other crates. May use everything above it.

use crate::manifest;
use crate::translate::Catalog;

/// A catalog of the resources of a manifest.
///
/// # Panics
/// A document is not good, or a resource fails its checks: a fixture must be right.
#[expect(clippy::panic, reason = "a fixture must be right; only tests use it")]
pub fn catalog(yaml: &str) -> Catalog {
    let read = manifest::read("fixture.yaml", yaml);
    if let Some(fault) = read.faults.first() {
        panic!("{fault}");
    }
    let mut catalog = Catalog::default();
    for located in read.resources {
        let resource = located.resource.clone();
        if let Some(fault) = catalog.apply(resource).faults.first() {
            panic!("{}", located.render(fault));
        }
    }
    catalog
}
