//! `meshctl uninstall`: takes the mesh out of a cluster and proves that nothing of it is left.

mod remains;
mod status;

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use mesh_api::resource::duration;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::command::install::apply::{gone, kinds, ours, remove};
use crate::command::install::recorded;
use crate::install::object::Object;
use crate::render::symbol::Symbols;
use crate::render::{Output, Tone, count, note, show};
use crate::source::cluster::{Cluster, ClusterArg};
use crate::source::json::text;

/// Arguments of `meshctl uninstall`.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Leave the definitions of our kinds, and with them every resource of theirs.
    #[arg(long)]
    keep_crds: bool,
    /// How long to wait until everything is gone.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = timeout)]
    timeout: Duration,
    #[command(flatten)]
    output: Output,
}

/// What still relies on the mesh.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Users {
    /// Namespaces that opted in.
    namespaces: Vec<String>,
    /// Pods that run with a sidecar, as `namespace/name`.
    pods: Vec<String>,
    /// Resources of our kinds, as `kind namespace/name`.
    resources: Vec<String>,
}

/// What an uninstallation did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    removed: Vec<String>,
    users: Users,
}

/// Uninstalls the mesh.
pub(crate) async fn run(uninstall: Uninstall, cluster: &ClusterArg) -> anyhow::Result<u8> {
    let cluster = cluster.connect().await?;
    cluster.version().await?;
    if let Some(found) = recorded::read(&cluster).await?
        && found.is_by_helm
    {
        bail!("this mesh is installed by Helm; remove it with `helm uninstall`");
    }
    let objects = uninstall.objects(&cluster).await?;
    let users = users(&cluster).await?;
    if objects.is_empty() {
        remains::none(&cluster, uninstall.keep_crds).await?;
        note("nothing of the mesh is in this cluster");
        return Ok(0);
    }
    note(&uninstall.announcement(&cluster, &objects, &users));
    if !uninstall.yes && !confirmed()? {
        note("nothing was changed");
        return Ok(1);
    }
    let deadline = Instant::now() + uninstall.timeout;
    let removed = take_away(&cluster, &objects, deadline).await?;
    remains::none(&cluster, uninstall.keep_crds).await?;
    let outcome = Outcome { removed, users };
    show(uninstall.output, &outcome, || outcome.text())?;
    Ok(0)
}

impl Uninstall {
    /// Everything to remove, in the order to remove it.
    async fn objects(&self, cluster: &Cluster) -> anyhow::Result<Vec<Object>> {
        let mut objects = Vec::new();
        // Admission goes first: nothing may wait for a control plane that is going.
        for kind in kinds().iter().rev() {
            if self.keep_crds && kind.kind() == CRD {
                continue;
            }
            objects.extend(ours(cluster, kind).await?);
        }
        objects.sort_by_key(rank);
        Ok(objects)
    }

    fn announcement(&self, cluster: &Cluster, objects: &[Object], users: &Users) -> String {
        let mut text = format!(
            "This removes the mesh from {}: {}, with the certificate authority's keys.",
            cluster.address,
            count(objects.len(), "object")
        );
        let mut list = |what: &str, names: &[String]| {
            if names.is_empty() {
                return;
            }
            text.push_str(&format!("\n{}{what}:", names.len()));
            for name in names.iter().take(SHOWN) {
                text.push_str(&format!("\n  {name}"));
            }
            if names.len() > SHOWN {
                text.push_str(&format!("\n  and {} more", names.len() - SHOWN));
            }
        };
        list(
            " pods have a sidecar, which goes on with its last configuration until its \
             certificate ends; restart them after this",
            &users.pods,
        );
        list(
            " namespaces keep the label mesh.dev/inject; nothing acts on it any more",
            &users.namespaces,
        );
        if !self.keep_crds {
            list(
                " resources of users go with their kinds (--keep-crds keeps them)",
                &users.resources,
            );
        }
        text
    }
}

impl Outcome {
    fn text(&self) -> String {
        let good = Tone::Good.paint(Symbols::of_locale().good());
        let mut text = format!(
            "{good} the mesh is gone: {} removed, nothing is left\n",
            count(self.removed.len(), "object")
        );
        if !self.users.pods.is_empty() {
            text.push_str("Restart what still has a sidecar:\n");
            for namespace in self.users.pod_namespaces() {
                text.push_str(&format!(
                    "  kubectl rollout restart -n {namespace} deployment,statefulset,daemonset\n"
                ));
            }
        }
        text
    }
}

impl Users {
    fn pod_namespaces(&self) -> Vec<&str> {
        let namespaces = self.pods.iter().filter_map(|pod| pod.split_once('/'));
        let mut namespaces: Vec<&str> = namespaces.map(|(namespace, _)| namespace).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }
}

/// Who relies on the mesh.
async fn users(cluster: &Cluster) -> anyhow::Result<Users> {
    let full = |object: &Value| {
        let metadata = &object["metadata"];
        match text(metadata, "namespace") {
            "" => text(metadata, "name").to_owned(),
            namespace => format!("{namespace}/{}", text(metadata, "name")),
        }
    };
    let opted = cluster.list("/api/v1/namespaces?labelSelector=mesh.dev/inject%3Denabled");
    let sidecars = cluster.list("/api/v1/pods?labelSelector=mesh.dev/proxy%3Dsidecar");
    let mut users = Users {
        namespaces: opted.await?.iter().map(full).collect(),
        pods: sidecars.await?.iter().map(full).collect(),
        resources: Vec::new(),
    };
    for definition in definitions(cluster).await? {
        let plural = text(&definition["spec"]["names"], "plural");
        let kind = text(&definition["spec"]["names"], "kind");
        let path = format!("/apis/mesh.dev/v1alpha1/{plural}");
        let found = cluster.list(&path).await?;
        users.resources.extend(
            found
                .iter()
                .map(|object| format!("{kind} {}", full(object))),
        );
    }
    Ok(users)
}

/// The definitions of our kinds that are there.
async fn definitions(cluster: &Cluster) -> anyhow::Result<Vec<Value>> {
    let mut all = cluster
        .list("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
        .await?;
    all.retain(|definition| definition["spec"]["group"] == "mesh.dev");
    Ok(all)
}

/// Removes everything in order; what a replica of ours writes is taken back once none runs.
async fn take_away(
    cluster: &Cluster,
    objects: &[Object],
    deadline: Instant,
) -> anyhow::Result<Vec<String>> {
    let sign = Tone::Good.paint(Symbols::of_locale().good());
    let mut removed = Vec::new();
    let mut is_status_clean = false;
    for object in objects {
        if !is_status_clean && rank(object) > Rank::Writer {
            status::clean(cluster).await?;
            is_status_clean = true;
        }
        remove(cluster, object).await?;
        // Later steps rely on these being gone: admission, writers, and what contains others.
        if rank(object) != Rank::Other {
            gone(cluster, object, deadline).await.context(STUCK)?;
        }
        note(&format!("{sign} {object} removed"));
        removed.push(object.to_string());
    }
    for object in objects {
        gone(cluster, object, deadline).await.context(STUCK)?;
    }
    Ok(removed)
}

/// When an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Admission,
    Writer,
    Other,
    Definition,
    Namespace,
}

fn rank(object: &Object) -> Rank {
    match object.kind() {
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => Rank::Admission,
        "Deployment" | "DaemonSet" => Rank::Writer,
        CRD => Rank::Definition,
        "Namespace" => Rank::Namespace,
        _ => Rank::Other,
    }
}

/// Asks on the terminal; without one there is nobody to ask.
fn confirmed() -> anyhow::Result<bool> {
    ensure!(
        std::io::stdin().is_terminal(),
        "there is no terminal to ask on: add --yes to remove the mesh; nothing was changed"
    );
    let mut err = anstream::stderr();
    write!(err, "Remove it? Type yes: ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

fn timeout(text: &str) -> anyhow::Result<Duration> {
    Ok(duration::Duration(text.to_owned()).parse()?)
}

const CRD: &str = "CustomResourceDefinition";
const STUCK: &str = "the mesh is not gone yet; run the same command again";
/// Names of users shown before the rest is counted.
const SHOWN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_goes_first_and_the_namespace_last() {
        let mut objects = kinds();
        objects.sort_by_key(rank);
        let kinds: Vec<&str> = objects.iter().map(Object::kind).collect();
        assert!(kinds[0].ends_with("WebhookConfiguration"), "{kinds:?}");
        assert_eq!(kinds.last(), Some(&"Namespace"));
        assert_eq!(kinds[kinds.len() - 2], CRD);
    }

    #[test]
    fn what_uses_the_mesh_is_named() {
        let users = Users {
            pods: (0..12).map(|number| format!("b/pod-{number}")).collect(),
            ..Users::default()
        };
        assert_eq!(users.pod_namespaces(), ["b"]);
        let outcome = Outcome {
            removed: vec!["Namespace mesh-system".into()],
            users,
        };
        assert!(outcome.text().contains("kubectl rollout restart -n b "));
    }
}
