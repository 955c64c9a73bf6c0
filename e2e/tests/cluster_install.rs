//! Installation in a cluster: again, over what is broken, without rights, an upgrade under load, and
//! an uninstallation that leaves nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::cluster::app::App;
use e2e::cluster::load::Load;
use e2e::cluster::{kubectl, read, within};
use e2e::demo;
use e2e::figure::{record, say};
use e2e::process::{Ended, output};
use serde_json::{Value, json};

/// Longest wait for meshctl.
const PATIENCE: Duration = Duration::from_mins(5);
const SYSTEM: &str = "mesh-system";

async fn run(program: &Path, words: &[&str]) -> anyhow::Result<Ended> {
    output(Command::new(program).args(words), PATIENCE).await
}

async fn meshctl(words: &[&str]) -> anyhow::Result<Ended> {
    run(&demo::meshctl()?, words).await
}

/// meshctl of the version that upgrades begin with, beside the images that `cargo xtask e2e` loads.
fn older() -> anyhow::Result<PathBuf> {
    let path = demo::target()?.join("older/meshctl");
    ensure!(
        path.is_file(),
        "no {}: cargo xtask cluster load-older",
        path.display()
    );
    Ok(path)
}

/// Installs, and tells what each object needed.
async fn install() -> anyhow::Result<Vec<Value>> {
    let said = meshctl(&["install", "-o", "json"]).await?.good()?;
    let outcome: Value = serde_json::from_str(&said)?;
    ensure!(outcome["ready"] == true, "not ready: {outcome}");
    let objects = outcome["objects"].as_array().context("no objects")?;
    Ok(objects.clone())
}

fn changed(objects: &[Value]) -> Vec<String> {
    let changed = objects.iter().filter(|one| one["change"] != "unchanged");
    changed
        .map(|one| format!("{} {}", one["kind"], one["name"]).replace('"', ""))
        .collect()
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_alone_install_again_mends_what_differs_and_nothing_else() -> anyhow::Result<()> {
    install().await?;
    let again = install().await?;
    let differing = changed(&again);
    ensure!(differing.is_empty(), "installed twice: {differing:?}");

    let before = read(SYSTEM, "deployment/mesh-control").await?;
    meshctl(&["install", "--dry-run", "--set", "control.replicas=3"])
        .await?
        .good()?;
    let after = read(SYSTEM, "deployment/mesh-control").await?;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    ensure!(version(&before) == version(&after), "--dry-run changes it");

    // Half of it is gone, and one object is not as it should be.
    let gone = [
        ["clusterrole", "mesh-control"],
        ["mutatingwebhookconfiguration", "mesh-injector"],
        ["customresourcedefinition", "trafficpolicies.mesh.dev"],
    ];
    for [kind, name] in gone {
        kubectl(["delete", kind, name]).await?.good()?;
    }
    let scale = [
        "--namespace",
        SYSTEM,
        "scale",
        "deployment/mesh-control",
        "--replicas=1",
    ];
    kubectl(scale).await?.good()?;
    let mended = changed(&install().await?);
    record(
        "cluster-install-again",
        format!("0 of {} objects changed, {mended:?} mended", again.len()),
    );
    for [_, name] in gone {
        ensure!(
            mended.iter().any(|one| one.ends_with(name)),
            "{name} is missing in {mended:?}"
        );
    }
    ensure!(mended.len() <= gone.len() + 2, "too much: {mended:?}");
    let differing = changed(&install().await?);
    ensure!(differing.is_empty(), "once mended: {differing:?}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_alone_install_without_rights_touches_nothing() -> anyhow::Result<()> {
    within("e2e-rights", false, async |space| {
        let create = ["create", "serviceaccount", "nobody"];
        space.kubectl(create).await?.good()?;
        let token = space.kubectl(["create", "token", "nobody"]).await?.good()?;
        let view = ["config", "view", "--raw", "--flatten", "--output=json"];
        let mut config: Value = serde_json::from_str(&kubectl(view).await?.good()?)?;
        config["users"][0]["user"] = json!({ "token": token.trim() });
        let file = tempfile::NamedTempFile::with_suffix(".json")?;
        std::fs::write(&file, config.to_string())?;
        let path = file.path().to_str().context("its path")?;
        let refused = meshctl(&["install", "--kubeconfig", path]).await?;
        ensure!(!refused.status.success(), "installed: {}", refused.out);
        say(refused.error.lines().take(4).collect::<Vec<_>>().join(" "));
        for said in ["nothing was changed", "clusterroles", "create"] {
            ensure!(
                refused.error.contains(said),
                "{said:?} is not in: {}",
                refused.error
            );
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_alone_uninstall_leaves_nothing() -> anyhow::Result<()> {
    // A look that would see the mesh sees it.
    let there = made_by_the_mesh().await?;
    ensure!(there.len() > 20, "the look is blind: {there:?}");
    meshctl(&["uninstall", "--yes"]).await?.good()?;
    let left = made_by_the_mesh().await?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    // Again there is nothing to do, which is no failure.
    meshctl(&["uninstall", "--yes"]).await?.good()?;
    record(
        "cluster-uninstall",
        format!("{} objects before, 0 after", there.len()),
    );
    install().await.map(drop)
}

/// Every object of the cluster that the mesh made or wrote to, by who wrote its fields.
async fn made_by_the_mesh() -> anyhow::Result<Vec<String>> {
    let kinds = kubectl(["api-resources", "--verbs=list,get", "--output=name"]).await?;
    let kinds = kinds.good()?;
    // Events outlive what they tell of, by design.
    let kinds: Vec<&str> = kinds
        .lines()
        .filter(|kind| !kind.starts_with("events") && !kind.ends_with("metrics.k8s.io"))
        .collect();
    let words = ["get", "--all-namespaces", "--show-managed-fields"];
    let list = [kinds.join(","), "--output=json".to_owned()];
    let words = words.iter().map(ToString::to_string).chain(list);
    let said = kubectl(words).await?.good()?;
    let said: Value = serde_json::from_str(&said)?;
    let objects = said["items"].as_array().context("a list")?;
    ensure!(objects.len() > 100, "the look is blind");
    let of_mesh = |object: &&Value| {
        let writers = object["metadata"]["managedFields"].as_array();
        let mut writers = writers.into_iter().flatten();
        let mut labels = [&object["metadata"]["labels"]["app.kubernetes.io/part-of"]].into_iter();
        writers.any(|writer| {
            let name = writer["manager"].as_str().unwrap_or_default();
            name.starts_with("mesh")
        }) || labels.any(|label| label == "mesh")
    };
    let name = |object: &Value| {
        let of = &object["metadata"];
        format!("{} {}/{}", object["kind"], of["namespace"], of["name"]).replace('"', "")
    };
    Ok(objects.iter().filter(of_mesh).map(name).collect())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_loaded_upgrade_costs_no_request() -> anyhow::Result<()> {
    let older = older()?;
    meshctl(&["uninstall", "--yes"]).await?.good()?;
    run(&older, &["install"]).await?.good()?;
    let refused = meshctl(&["install"]).await?;
    ensure!(
        refused.error.contains("meshctl upgrade"),
        "installs over an older one: {}",
        refused.error
    );
    within("e2e-upgrade", true, async |space| {
        let shop = App {
            replicas: 3,
            ..App::new("shop")
        };
        space.start(&[shop]).await?;
        let load = Load::start(&space, "load", "http://shop/", 500).await?;
        let before = load.run_for(Duration::from_secs(5)).await?;
        let said = meshctl(&["upgrade"]).await?;
        let pods = said.out.clone() + &said.error;
        said.good()?;
        ensure!(
            pods.contains("e2e-upgrade"),
            "which pods are of the older version is not said: {pods}"
        );
        let upgraded = load.none_failed_since(&before).await?;
        // Sidecars follow when their pods turn.
        let restart = ["rollout", "restart", "deployment/shop"];
        space.kubectl(restart).await?.good()?;
        space.wait_rollout("deployment/shop").await?;
        let turned = load.none_failed_since(&before).await?;
        let images = space.list("pods", "app=shop").await?;
        let images: Vec<&Value> = images
            .iter()
            .map(|pod| &pod["spec"]["initContainers"][0]["image"])
            .collect();
        ensure!(
            images
                .iter()
                .all(|image| !image.to_string().contains("0.0.9")),
            "pods of the older version: {images:?}"
        );
        record(
            "cluster-upgrade",
            format!(
                "0 of {} requests failed in the upgrade, 0 of {} with the turn of the pods",
                upgraded.sent, turned.sent
            ),
        );
        Ok(())
    })
    .await?;
    let differing = changed(&install().await?);
    ensure!(differing.is_empty(), "after the upgrade: {differing:?}");
    Ok(())
}
