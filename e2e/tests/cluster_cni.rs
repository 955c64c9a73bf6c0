//! Capture by the node's CNI plug-in: pods without an init container, in a namespace that forbids one;
//! a pod that the plug-in missed; and a node that is left as it was.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::cluster::app::App;
use e2e::cluster::node::files;
use e2e::cluster::{Namespace, kubectl, metrics, same, sum, within};
use e2e::demo;
use e2e::figure::{record, say};
use e2e::process::{output, wait_until};
use serde_json::Value;

/// Longest wait for meshctl.
const PATIENCE: Duration = Duration::from_mins(5);
/// For the node's process to start, to end, or to find a pod that it was not called for.
const SOON: Duration = Duration::from_mins(1);
/// How long a pod that is not captured is looked at.
const QUARANTINE: Duration = Duration::from_secs(8);
/// Pods that are made in a row, so that both replicas are asked.
const REPEATED: u32 = 12;
/// A pod that is never made.
const PROBE: &str = "apiVersion: v1\nkind: Pod\nmetadata: { name: probe }\nspec:\n\
    \x20 containers:\n  - name: app\n    image: mesh.dev/e2e-app:dev\n\
    \x20   securityContext: { runAsNonRoot: true, runAsUser: 65532, allowPrivilegeEscalation: false, \
    capabilities: { drop: [ALL] }, seccompProfile: { type: RuntimeDefault } }\n";
const SYSTEM: &str = "mesh-system";
const DAEMON: &str = "daemonset/mesh-cni";
/// The node's lists of plug-ins.
const LISTS: &str = "/etc/cni/net.d";
const OURS: &str = "00-mesh-cni.conflist";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_alone_cni_captures_where_no_init_container_may() -> anyhow::Result<()> {
    let before = files(LISTS)?;
    let ended = with_plugin(&before).await;
    // Other cases install as users do first.
    meshctl(&["install"]).await?;
    ended?;
    within("e2e-cni-after", true, async |space| {
        settled(&space, true).await
    })
    .await?;
    let is_as_before = || async { Ok(files(LISTS)? == before) };
    wait_until("the nodes have their own lists alone", SOON, is_as_before).await?;
    record(
        "cluster-cni",
        "restricted pods captured, a missed pod held until it was, both nodes left as they were",
    );
    Ok(())
}

async fn meshctl(words: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(demo::meshctl()?);
    output(command.args(words), PATIENCE).await?.good()
}

async fn with_plugin(before: &[Vec<String>]) -> anyhow::Result<()> {
    within("e2e-cni", true, async |space| {
        let level = "pod-security.kubernetes.io/enforce=restricted";
        let label = ["label", "namespace", space.name(), level];
        kubectl(label).await?.good()?;
        refused_without_plugin(&space).await?;
        meshctl(&["install", "--cni"]).await?;
        for lists in files(LISTS)? {
            ensure!(lists.iter().any(|name| name == OURS), "{lists:?}");
        }
        ensure!(before.iter().flatten().all(|name| name != OURS), "before");
        settled(&space, false).await?;
        captured(&space).await?;
        missed(&space).await
    })
    .await
}

fn app(name: &str) -> App<'_> {
    App {
        restricted: true,
        ..App::new(name)
    }
}

/// With an init container that needs rights, the pod is refused, and the text names the way out.
async fn refused_without_plugin(space: &Namespace) -> anyhow::Result<()> {
    space.apply(&app("shop").manifests()).await?;
    let is_said = || async {
        let words = ["get", "replicasets", "--output", "json"];
        let said = space.kubectl(words).await?.good()?;
        Ok(said.contains("meshctl install --cni"))
    };
    wait_until("the ReplicaSet says what helps", SOON, is_said).await?;
    let pods = space.pods("app=shop").await?;
    ensure!(pods.is_empty(), "created all the same: {pods:?}");
    let words = ["delete", "deployment", "shop"];
    space.kubectl(words).await?.good().map(drop)
}

/// Injection goes by what was installed, from the moment that `meshctl install` is done, whichever
/// replica is asked.
async fn settled(space: &Namespace, by_init: bool) -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::with_suffix(".yaml")?;
    std::fs::write(&file, PROBE)?;
    let path = file.path().to_str().context("its path")?;
    let create = [
        "create",
        "--dry-run=server",
        "--filename",
        path,
        "--output=json",
    ];
    for _ in 0..REPEATED {
        let made = space.kubectl(create).await?.good()?;
        ensure!(
            made.contains("mesh-init") == by_init,
            "by other settings: {made}"
        );
    }
    Ok(())
}

/// Pods have no container of ours but the proxy, and talk by mutual TLS.
async fn captured(space: &Namespace) -> anyhow::Result<()> {
    space.start(&[app("shop"), app("caller")]).await?;
    let pods = space.list("pods", "app=shop").await?;
    let pod = pods.first().context("no pod of shop")?;
    let first = pod["spec"]["initContainers"].as_array();
    let names: Vec<&Value> = first
        .into_iter()
        .flatten()
        .map(|one| &one["name"])
        .collect();
    ensure!(names == ["mesh-proxy"], "init containers: {names:?}");
    // Both came with a control plane that was changing places: the caller learns of the other soon.
    let answered = || async {
        let answer = space.call("caller", "http://shop/", &[]).await?;
        say(format!("a call: {answer}"));
        Ok(answer["status"] == 200)
    };
    wait_until("the caller reaches the pod", SOON, answered).await?;
    let name = pod["metadata"]["name"].as_str().context("its name")?;
    let text = metrics(space, name).await?;
    // Its port is Strict: what came through the proxy came by mutual TLS.
    let count = sum(&text, "mesh_requests_total", &["direction=\"inbound\""])?;
    ensure!(count >= 1.0, "the call went past the proxy: {text}");
    Ok(())
}

/// A pod that starts while the plug-in is away runs no app before its rules are there.
async fn missed(space: &Namespace) -> anyhow::Result<()> {
    select("{\"mesh.dev/none\":\"true\"}").await?;
    let is_gone = || async { Ok(files(LISTS)?.iter().flatten().all(|name| name != OURS)) };
    wait_until("the plug-in is taken away", SOON, is_gone).await?;
    space.apply(&app("late").manifests()).await?;
    let runs_proxy = || async { Ok(state(space).await?.0) };
    wait_until("the proxy of the missed pod runs", SOON, runs_proxy).await?;
    tokio::time::sleep(QUARANTINE).await;
    let (_, app_started) = state(space).await?;
    ensure!(!app_started, "an app that is not captured runs");
    select("{\"mesh.dev/none\":null}").await?;
    space.wait_rollout("deployment/late").await?;
    let answer = space.call("late", "http://shop/", &[]).await?;
    same("a call of the repaired pod", &answer["status"], 200)
}

/// Where the DaemonSet runs.
async fn select(nodes: &str) -> anyhow::Result<()> {
    let patch = format!("{{\"spec\":{{\"template\":{{\"spec\":{{\"nodeSelector\":{nodes}}}}}}}}}");
    let words = ["--namespace", SYSTEM, "patch", DAEMON, "--patch", &patch];
    kubectl(words).await?.good().map(drop)
}

/// Whether the proxy of the pod runs, and whether its app was ever started.
async fn state(space: &Namespace) -> anyhow::Result<(bool, bool)> {
    let pods = space.list("pods", "app=late").await?;
    let Some(pod) = pods.first() else {
        return Ok((false, false));
    };
    let status = &pod["status"];
    let runs = !status["initContainerStatuses"][0]["state"]["running"].is_null();
    let app = &status["containerStatuses"][0];
    let started = !app["state"]["running"].is_null() || app["restartCount"] != 0;
    Ok((runs, started))
}
