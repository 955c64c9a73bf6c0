//! Two meshed pods on different nodes, and what is refused: on a real API server, kubelet and container
//! runtime.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::cluster::app::App;
use e2e::cluster::wire::Capture;
use e2e::cluster::{metrics, same, sum, within};
use e2e::figure::{record, say};
use e2e::process::{output, wait_until};
use serde_json::Value;

const NODES: [&str; 2] = ["mesh-control-plane", "mesh-worker"];
const TUNNEL: u16 = 15008;
/// For a change of policy to reach a proxy.
const SOON: Duration = Duration::from_secs(10);

fn shop_and_caller() -> [App<'static>; 2] {
    let shop = App {
        node: NODES[1],
        ..App::new("shop")
    };
    let caller = App {
        node: NODES[0],
        ..App::new("caller")
    };
    [shop, caller]
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_pods_on_two_nodes_talk_by_mutual_tls() -> anyhow::Result<()> {
    let case = "cluster-mtls-on-the-wire";
    within("e2e-wire", true, async |space| {
        let stranger = App {
            node: NODES[0],
            labels: "mesh.dev/inject: disabled",
            ..App::new("stranger")
        };
        let outside = App {
            node: NODES[1],
            labels: "mesh.dev/inject: disabled",
            ..App::new("outside")
        };
        let [shop, caller] = shop_and_caller();
        space.start(&[shop, caller, stranger, outside]).await?;
        // Between pods outside of the mesh the capture sees what is said: it would see it anywhere.
        let capture = Capture::start("marker-in-the-clear", TUNNEL)?;
        let header = ["x-secret: marker-in-the-clear"];
        let answer = space.call("stranger", "http://outside/", &header).await?;
        same("outside of the mesh", &answer["status"], 200)?;
        let seen = capture.end()?;
        ensure!(seen.plain > 0, "the capture sees nothing: {seen:?}");

        let capture = Capture::start("marker-in-the-tunnel", TUNNEL)?;
        for _ in 0..20 {
            let header = ["x-secret: marker-in-the-tunnel"];
            let answer = space.call("caller", "http://shop/", &header).await?;
            same("in the mesh", &answer["status"], 200)?;
            let got = &answer["body"]["headers"]["x-secret"][0];
            same("the header arrives", got, "marker-in-the-tunnel")?;
        }
        let seen = capture.end()?;
        ensure!(seen.plain == 0, "plaintext between the nodes: {seen:?}");
        ensure!(seen.tunnelled >= 20, "too few records of TLS: {seen:?}");
        record(
            case,
            format!(
                "20 calls, {} records of TLS, 0 packets in plaintext",
                seen.tunnelled
            ),
        );
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_strict_refuses_what_permissive_accepts() -> anyhow::Result<()> {
    within("e2e-strict", true, async |space| {
        let stranger = App {
            labels: "mesh.dev/inject: disabled",
            ..App::new("stranger")
        };
        let [shop, caller] = shop_and_caller();
        space.start(&[shop, caller, stranger]).await?;
        let refused = space.call("stranger", "http://shop/", &[]).await?;
        ensure!(
            refused["status"] != 200,
            "Strict lets plaintext in: {refused}"
        );
        say(format!("Strict: {refused}"));
        let answer = space.call("caller", "http://shop/", &[]).await?;
        same("the mesh's own call", &answer["status"], 200)?;

        space
            .apply(
                "apiVersion: mesh.dev/v1alpha1\nkind: MutualTLSPolicy\n\
                 metadata: { name: shop }\n\
                 spec: { selector: { matchLabels: { app: shop } }, mode: Permissive }\n",
            )
            .await?;
        let accepted = || async {
            let answer = space.call("stranger", "http://shop/", &[]).await?;
            Ok(answer["status"] == 200)
        };
        wait_until("Permissive lets plaintext in", SOON, accepted).await?;
        let pods = space.pods("app=shop").await?;
        let pod = pods.first().context("no pod of shop")?;
        names_the_open_pod(&format!("e2e-strict/{pod}")).await?;
        let answer = space.call("caller", "http://shop/", &[]).await?;
        same("the mesh's own call", &answer["status"], 200)?;
        record(
            "cluster-strict",
            "plaintext refused under Strict, accepted under Permissive, which check names",
        );
        Ok(())
    })
    .await
}

/// `meshctl check` warns of the policy, and names the pod that it opens.
async fn names_the_open_pod(pod: &str) -> anyhow::Result<()> {
    let mut command = Command::new("meshctl");
    command.args(["check", "--only", "policies", "--output", "json"]);
    let said = output(&mut command, Duration::from_mins(1)).await?;
    let report: Value = serde_json::from_str(&said.good()?)?;
    let checks = report["checks"].as_array().context("no checks")?;
    let strict = checks
        .iter()
        .find(|one| one["check"] == "mutual-tls-strict");
    let findings = &strict.context("no check of mutual TLS")?["findings"];
    // Other cases have policies of their own.
    let mut findings = findings.as_array().into_iter().flatten();
    let names = |finding: &Value| {
        let cause = finding["cause"].as_str();
        cause.is_some_and(|cause| cause.ends_with(pod))
    };
    ensure!(findings.any(names), "{pod} is not named: {report}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_a_denied_identity_is_reset_and_counted() -> anyhow::Result<()> {
    within("e2e-denied", true, async |space| {
        let [shop, caller] = shop_and_caller();
        space.start(&[shop, caller, App::new("intruder")]).await?;
        let address = "shop:9000";
        let greeted = space.dial("intruder", address).await?;
        ensure!(greeted["error"].is_null(), "before the policy: {greeted}");
        space.apply(ALLOW_CALLER).await?;
        let denied = || async {
            let answer = space.dial("intruder", address).await?;
            let error = answer["error"].as_str().unwrap_or_default();
            Ok(error.contains("reset"))
        };
        wait_until("the intruder is reset", SOON, denied).await?;
        let greeted = space.dial("caller", address).await?;
        ensure!(
            greeted["error"].is_null(),
            "the caller is allowed: {greeted}"
        );
        let pods = space.pods("app=shop").await?;
        let pod = pods.first().map(String::as_str).unwrap_or_default();
        let labels = ["direction=\"inbound\"", "reason=\"denied\""];
        let text = metrics(&space, pod).await?;
        let refused = sum(&text, "mesh_connections_refused_total", &labels)?;
        ensure!(
            refused >= 1.0,
            "no refusal with its reason is counted: {text}"
        );
        record(
            "cluster-denied",
            format!("reset, {refused} counted as reason=denied by the receiver"),
        );
        Ok(())
    })
    .await
}

/// Lets one identity in, and nobody else.
const ALLOW_CALLER: &str = "apiVersion: mesh.dev/v1alpha1\nkind: AuthorizationPolicy\n\
     metadata: { name: shop }\nspec:\n  selector: { matchLabels: { app: shop } }\n  action: Allow\n\
     \x20 rules: [{ from: [{ identities: [\"spiffe://cluster.local/ns/e2e-denied/sa/caller\"] }] }]\n";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_a_job_completes_beside_its_sidecar() -> anyhow::Result<()> {
    within("e2e-job", true, async |space| {
        space.start(&[App::new("shop")]).await?;
        space
            .apply(
                "apiVersion: batch/v1\nkind: Job\nmetadata: { name: once }\n\
                 spec:\n  backoffLimit: 0\n  template:\n    spec:\n      restartPolicy: Never\n\
                 \x20     containers:\n      - name: app\n        image: mesh.dev/e2e-app:dev\n\
                 \x20       args: [call, \"http://shop/\"]\n",
            )
            .await?;
        space
            .kubectl([
                "wait",
                "--for=condition=Complete",
                "--timeout=60s",
                "job/once",
            ])
            .await?
            .good()?;
        let said = space.logs("job/once", "app").await?;
        let answer: Value = serde_json::from_str(&said)?;
        same("its call", &answer["status"], 200)?;
        Ok(())
    })
    .await
}
