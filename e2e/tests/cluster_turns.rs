//! Disruptions under 500 requests a second, each request counted: none may fail.

use std::time::Duration;

use anyhow::ensure;
use e2e::cluster::app::App;
use e2e::cluster::load::{Counts, Load};
use e2e::cluster::{Namespace, kubectl, within};
use e2e::figure::record;

/// Requests a second.
const RATE: u32 = 500;
/// So many pods, restarted so often, are thirty turns.
const PODS: u32 = 6;
const RESTARTS: u32 = 5;
/// Pods of the other cases.
const FEW: u32 = 3;

/// A load on so many pods, in the mesh; what `disrupt` does may cost no request.
async fn undisturbed(
    case: &str,
    name: &str,
    replicas: u32,
    disrupt: impl AsyncFnOnce(&Namespace) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    within(name, true, async |space| {
        let shop = App {
            replicas,
            ..App::new("shop")
        };
        space.start(&[shop]).await?;
        let load = Load::start(&space, "load", "http://shop/", RATE).await?;
        load.run_for(Duration::from_secs(5)).await?;
        let before: Counts = load.counts().await?;
        disrupt(&space).await?;
        let counted = load.none_failed_since(&before).await?;
        record(
            case,
            format!(
                "0 of {} requests failed, {} pods answered",
                counted.sent,
                counted.pods.len()
            ),
        );
        ensure!(
            counted.sent > u64::from(RATE) * 5,
            "too few requests: {counted:?}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_loaded_turns_of_an_app_cost_no_request() -> anyhow::Result<()> {
    undisturbed(
        "cluster-rolling-restarts",
        "e2e-turns",
        PODS,
        async |space| {
            for _ in 0..RESTARTS {
                space
                    .kubectl(["rollout", "restart", "deployment/shop"])
                    .await?
                    .good()?;
                space.wait_rollout("deployment/shop").await?;
            }
            Ok(())
        },
    )
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_loaded_turns_of_the_control_plane_cost_no_request() -> anyhow::Result<()> {
    undisturbed(
        "cluster-control-plane-restarts",
        "e2e-control",
        FEW,
        async |_| {
            let control = ["--namespace", "mesh-system", "rollout"];
            let restart = ["restart", "deployment/mesh-control"];
            kubectl(control.iter().chain(&restart)).await?.good()?;
            let wait = ["status", "deployment/mesh-control", "--timeout=120s"];
            kubectl(control.iter().chain(&wait)).await?.good()?;
            Ok(())
        },
    )
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_loaded_turns_of_scale_cost_no_request() -> anyhow::Result<()> {
    undisturbed("cluster-scale-1-10-1", "e2e-scale", FEW, async |space| {
        for replicas in ["1", "10", "1"] {
            let to = format!("--replicas={replicas}");
            space
                .kubectl(["scale", "deployment/shop", &to])
                .await?
                .good()?;
            space.wait_rollout("deployment/shop").await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_loaded_turns_of_a_node_cost_no_request() -> anyhow::Result<()> {
    // The load itself has to stay: it is on the other node, as the control plane is.
    let ended = undisturbed("cluster-drain", "e2e-drain", FEW, async |space| {
        // Without a budget a drain ends every pod at once, and nobody is left to answer.
        let budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: { name: shop }\n\
             spec: { minAvailable: 2, selector: { matchLabels: { app: shop } } }\n";
        space.apply(budget).await?;
        kubectl([
            "taint",
            "node",
            "mesh-control-plane",
            "node-role.kubernetes.io/control-plane-",
        ])
        .await?;
        kubectl([
            "drain",
            "mesh-worker",
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--force",
            "--timeout=100s",
            "--pod-selector=app=shop",
        ])
        .await?
        .good()?;
        space.wait_rollout("deployment/shop").await
    })
    .await;
    kubectl(["uncordon", "mesh-worker"]).await?.good()?;
    ended
}
