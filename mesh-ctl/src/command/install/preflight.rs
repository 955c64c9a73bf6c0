//! What must hold before anything is touched: a version that is supported, and every right needed.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::install::object::Object;
use crate::render::lines;
use crate::source::cluster::Cluster;

/// The oldest minor version of Kubernetes that works: native sidecars need 1.29, the Gateway API
/// 1.6 needs functions in its schemas that came with 1.31.
pub(crate) const OLDEST: u32 = 31;

/// The newest minor version that was tried.
pub(crate) const NEWEST: u32 = 35;

/// One right that is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    verb: &'static str,
    group: String,
    resource: String,
    namespace: Option<String>,
}

/// Refuses a cluster that this mesh cannot be installed in.
pub(crate) async fn check(cluster: &Cluster, objects: &[Object]) -> anyhow::Result<()> {
    let version = cluster.version().await?;
    supported(&version.major, &version.minor)?;
    let missing = missing(cluster, &needed(objects)).await?;
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "these credentials may not install a mesh; nothing was changed. Missing:\n{}\
         Ask for them, or install as an administrator of the cluster (ClusterRole cluster-admin)",
        listed(&missing)
    )
}

/// One line per resource, with the verbs.
pub(crate) fn listed(missing: &[Right]) -> String {
    let mut verbs: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for right in missing {
        verbs.entry(right.to_string()).or_default().push(right.verb);
    }
    lines(
        verbs
            .iter()
            .map(|(what, verbs)| format!("  {what}: {}", verbs.join(", "))),
    )
}

/// Refuses a version of Kubernetes that is too old.
pub(crate) fn supported(major: &str, minor: &str) -> anyhow::Result<()> {
    let digits = minor.trim_end_matches(|next: char| !next.is_ascii_digit());
    // What is no number is no version that was ever tried.
    let number = digits.parse::<u32>().unwrap_or_default();
    if major != "1" || number < OLDEST {
        bail!(
            "Kubernetes {major}.{minor} is not supported: the mesh needs 1.{OLDEST} or newer \
             (native sidecars; schemas of the Gateway API). Upgrade the cluster; nothing was changed"
        );
    }
    Ok(())
}

/// The rights that applying `objects` takes.
pub(crate) fn needed(objects: &[Object]) -> Vec<Right> {
    let mut rights = Vec::new();
    for object in objects {
        let resource = object.resource();
        for verb in ["get", "list", "create", "patch", "delete"] {
            rights.push(Right {
                verb,
                group: resource.group.clone(),
                resource: resource.plural.clone(),
                namespace: object.namespace().map(str::to_owned),
            });
        }
    }
    rights.sort_unstable();
    rights.dedup();
    rights
}

/// Those of `rights` that these credentials lack.
pub(crate) async fn missing(cluster: &Cluster, rights: &[Right]) -> anyhow::Result<Vec<Right>> {
    let everything = json!({ "verb": "*", "group": "*", "resource": "*" });
    if allowed(cluster, &everything).await? {
        return Ok(Vec::new());
    }
    let mut missing = Vec::new();
    for right in rights {
        let attributes = json!({
            "verb": right.verb,
            "group": right.group,
            "resource": right.resource,
            "namespace": right.namespace.as_deref().unwrap_or_default(),
        });
        if !allowed(cluster, &attributes).await? {
            missing.push(right.clone());
        }
    }
    Ok(missing)
}

async fn allowed(cluster: &Cluster, attributes: &Value) -> anyhow::Result<bool> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": attributes },
    });
    let answer = cluster.create(REVIEWS, &review).await;
    let answer = answer.context("cannot ask the API server what these credentials may do")?;
    Ok(answer["status"]["allowed"].as_bool().unwrap_or_default())
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" in the cluster"),
        }
    }
}

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::render;
    use crate::install::values::{Profile, Values};

    #[test]
    fn versions() {
        for (major, minor, is_good) in [
            ("1", "31", true),
            ("1", "35+", true),
            ("1", "31-gke.1", false),
            ("1", "30", false),
            ("2", "0", false),
            ("1", "", false),
        ] {
            assert_eq!(supported(major, minor).is_ok(), is_good, "{major}.{minor}");
        }
    }

    #[test]
    fn rights_follow_the_objects_and_are_asked_for_once() {
        let rights = needed(&render(&Values::of(Profile::Default)));
        let text = listed(&rights);
        for expected in [
            "  deployments.apps in namespace mesh-system: create, delete, get, list, patch\n",
            "  namespaces in the cluster: create, delete, get, list, patch\n",
        ] {
            assert_eq!(text.matches(expected).count(), 1, "{text}");
        }
    }
}
