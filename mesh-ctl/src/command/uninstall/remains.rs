//! The listing that proves that nothing is left.

use anyhow::bail;

use super::{definitions, status};
use crate::command::install::apply::{kinds, ours};
use crate::install::NAMESPACE;
use crate::source::cluster::Cluster;
use crate::source::json::text;

/// Fails with a list of everything of the mesh that is still in the cluster.
pub(crate) async fn none(cluster: &Cluster, keeps_definitions: bool) -> anyhow::Result<()> {
    let mut left = Vec::new();
    for kind in kinds() {
        if keeps_definitions && kind.kind() == super::CRD {
            continue;
        }
        left.extend(ours(cluster, &kind).await?.iter().map(ToString::to_string));
    }
    if cluster
        .get(&format!("/api/v1/namespaces/{NAMESPACE}"))
        .await?
        .is_some()
    {
        left.push(format!("Namespace {NAMESPACE}"));
    }
    if !keeps_definitions {
        for definition in definitions(cluster).await? {
            left.push(format!(
                "{} {}",
                super::CRD,
                text(&definition["metadata"], "name")
            ));
        }
    }
    left.extend(status::remaining(cluster).await?);
    left.sort_unstable();
    left.dedup();
    if left.is_empty() {
        return Ok(());
    }
    bail!(
        "still there:\n  {}\nwhat is not labelled as ours was made by another hand: remove it with \
         kubectl",
        left.join("\n  ")
    )
}
