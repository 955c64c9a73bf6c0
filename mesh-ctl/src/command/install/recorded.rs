//! What an earlier installation wrote about itself.

use crate::install::NAMESPACE;
use crate::install::record::{RECORD, Record};
use crate::source::cluster::Cluster;

/// An earlier installation.
#[derive(Debug)]
pub(crate) struct Found {
    /// What it wrote.
    pub(crate) record: Record,
    /// Whether Helm made it.
    pub(crate) is_by_helm: bool,
}

/// Reads the record; `None` if nothing is installed, or only half of it.
pub(crate) async fn read(cluster: &Cluster) -> anyhow::Result<Option<Found>> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{RECORD}");
    let Some(object) = cluster.get(&path).await? else {
        return Ok(None);
    };
    let by = &object["metadata"]["labels"]["app.kubernetes.io/managed-by"];
    let is_by_helm = by == "Helm";
    Ok(Record::of(&object).map(|record| Found { record, is_by_helm }))
}
