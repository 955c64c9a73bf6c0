//! A chain of three: the visitor's sidecar, the catalog, the stock, with a sidecar at each end.

use anyhow::ensure;

use super::{Figure, plan};
use crate::demo::generate;
use crate::demo::mesh::Mesh;

/// 1,000 requests at 200 a second.
pub(super) async fn check(mesh: &Mesh) -> Figure {
    let mut plan = plan(mesh, "catalog", "/chain/", 1000)?;
    plan.rate = 200;
    let load = generate::run(plan).await;
    ensure!(load.ok == load.sent, "{}", load.figure());
    Ok(load.figure())
}
