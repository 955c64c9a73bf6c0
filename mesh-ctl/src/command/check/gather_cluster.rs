//! Gathers what a cluster is, and what may be in the mesh. Reading lists is all it does.

use serde_json::Value;

use super::facts;
use crate::adoption::Objects;
use crate::command::install::{preflight, recorded};
use crate::install::render;
use crate::install::values::{Profile, Values};
use crate::source::cluster::Cluster;

/// Routes that may lead into the mesh through a Gateway.
const ROUTES: [&str; 2] = [
    "/apis/gateway.networking.k8s.io/v1/httproutes",
    "/apis/gateway.networking.k8s.io/v1/grpcroutes",
];
/// What has the API server call Services.
const CALLERS: [(&str, &str); 4] = [
    (
        "ValidatingWebhookConfiguration",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    ),
    (
        "MutatingWebhookConfiguration",
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    ),
    (
        "CustomResourceDefinition",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    ),
    ("APIService", "/apis/apiregistration.k8s.io/v1/apiservices"),
];
/// What scrapes, where the Prometheus operator is.
const MONITORS: [(&str, &str); 2] = [
    (
        "ServiceMonitor",
        "/apis/monitoring.coreos.com/v1/servicemonitors",
    ),
    ("PodMonitor", "/apis/monitoring.coreos.com/v1/podmonitors"),
];

/// What is known of a cluster; rights are asked for only before an installation.
pub(super) async fn facts(cluster: &Cluster, before: bool) -> anyhow::Result<facts::Cluster> {
    let version = cluster.version().await?;
    let missing_rights = if before {
        Some(missing(cluster).await?)
    } else {
        None
    };
    let objects = objects(cluster).await?;
    let is_definition = |one: &&Value| one["kind"] == "CustomResourceDefinition";
    let definitions = objects
        .callers
        .iter()
        .filter(is_definition)
        .cloned()
        .collect();
    let cilium = "/api/v1/namespaces/kube-system/configmaps/cilium-config";
    Ok(facts::Cluster {
        version: (version.major, version.minor),
        missing_rights,
        definitions,
        objects,
        cilium: cluster.get(cilium).await?,
        installed: recorded::read(cluster)
            .await?
            .map(|found| found.record.version),
    })
}

async fn missing(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let needed = preflight::needed(&render(&Values::of(Profile::Default)));
    let missing = preflight::missing(cluster, &needed).await?;
    let lines = preflight::listed(&missing);
    Ok(lines.lines().map(|line| line.trim().to_owned()).collect())
}

async fn objects(cluster: &Cluster) -> anyhow::Result<Objects> {
    let of_kinds = async |kinds: &[(&str, &str)]| {
        let mut all = Vec::new();
        for (kind, path) in kinds {
            let mut found = cluster.list(path).await?;
            // Items of a list do not say their kind.
            for one in &mut found {
                one["kind"] = (*kind).into();
            }
            all.append(&mut found);
        }
        anyhow::Ok(all)
    };
    let mut routes = Vec::new();
    for path in ROUTES {
        routes.append(&mut cluster.list(path).await?);
    }
    Ok(Objects {
        namespaces: cluster.list("/api/v1/namespaces").await?,
        pods: cluster.list("/api/v1/pods").await?,
        services: cluster.list("/api/v1/services").await?,
        ingresses: cluster.list("/apis/networking.k8s.io/v1/ingresses").await?,
        routes,
        policies: cluster
            .list("/apis/networking.k8s.io/v1/networkpolicies")
            .await?,
        callers: of_kinds(&CALLERS).await?,
        monitors: of_kinds(&MONITORS).await?,
        exceptions: cluster
            .list("/apis/mesh.dev/v1alpha1/mutualtlspolicies")
            .await?,
        adopted: Vec::new(),
    })
}
