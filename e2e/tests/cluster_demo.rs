//! `meshctl demo --kubernetes`: holds what it promises, can be run again, and leaves nothing.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::cluster::kubectl;
use e2e::demo::meshctl;
use e2e::figure::record;
use e2e::process::{Ended, output};
use serde_json::Value;

/// Longest wait for a run: start, calls, end.
const LIMIT: Duration = Duration::from_mins(6);
const NAMESPACE: &str = "demo";

async fn demo(words: &[&str]) -> anyhow::Result<Ended> {
    let mut command = Command::new(meshctl()?);
    command.args(["demo", "--kubernetes"]).args(words);
    output(&mut command, LIMIT).await
}

async fn is_there() -> anyhow::Result<bool> {
    let get = [
        "get",
        "namespace",
        NAMESPACE,
        "--ignore-not-found",
        "-o",
        "name",
    ];
    Ok(!kubectl(get).await?.good()?.is_empty())
}

/// What held, each by name with its figure.
fn held(ended: &Ended) -> anyhow::Result<Vec<String>> {
    let report: Value = serde_json::from_str(&ended.out).with_context(|| format!("{ended:?}"))?;
    let report = report.as_array().context("no list")?;
    ensure!(report.len() >= 4, "only {report:?}");
    for one in report {
        ensure!(one["ok"] == true, "{one} does not hold: {}", ended.error);
    }
    let line = |one: &Value| format!("{}: {}", one["name"], one["figure"]).replace('"', "");
    Ok(report.iter().map(line).collect())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_demo_holds_what_it_promises_and_leaves_nothing() -> anyhow::Result<()> {
    // One after the other: there is one namespace of that name.
    touches_no_namespace_of_another().await?;
    let ended = holds_and_leaves_nothing().await;
    if ended.is_err() {
        // What it left would be found, and borne, by every case after it.
        demo(&["--delete"]).await?;
    }
    ended
}

async fn holds_and_leaves_nothing() -> anyhow::Result<()> {
    let first = demo(&["--check", "--keep", "-o", "json"]).await?;
    ensure!(first.status.success(), "{first:?}");
    let lines = held(&first)?;
    ensure!(
        first.error.contains("--delete removes it"),
        "{}",
        first.error
    );
    ensure!(is_there().await?, "it was to stay");

    // Again over what stayed; this one takes everything away.
    let second = demo(&["--check", "-o", "json"]).await?;
    ensure!(second.status.success(), "{second:?}");
    held(&second)?;
    ensure!(
        second.error.contains("an earlier demo is there"),
        "{}",
        second.error
    );
    ensure!(!is_there().await?, "the namespace is left behind");
    record("cluster-demo", lines.join("; "));
    Ok(())
}

async fn touches_no_namespace_of_another() -> anyhow::Result<()> {
    demo(&["--delete"]).await?.good()?;
    kubectl(["create", "namespace", NAMESPACE]).await?.good()?;
    let refused = async {
        for words in [&["--check"][..], &["--delete"]] {
            let refused = demo(words).await?;
            ensure!(!refused.status.success(), "{words:?}: {refused:?}");
            for said in ["of your own", "nothing was changed"] {
                ensure!(refused.error.contains(said), "{words:?}: {}", refused.error);
            }
        }
        let left = ["get", "all", "--namespace", NAMESPACE, "-o", "name"];
        let left = kubectl(left).await?.good()?;
        ensure!(
            left.is_empty() && is_there().await?,
            "made or removed: {left}"
        );
        anyhow::Ok(())
    }
    .await;
    kubectl(["delete", "namespace", NAMESPACE]).await?.good()?;
    refused
}
