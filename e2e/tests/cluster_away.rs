//! An API server that is away: the mesh goes on, and converges once it is back.

use std::process::Command;
use std::time::Duration;

use e2e::cluster::app::App;
use e2e::cluster::load::Load;
use e2e::cluster::{kubectl, within};
use e2e::figure::record;
use e2e::process::{output, wait_until};

/// How long the API server is away.
const AWAY: Duration = Duration::from_mins(2);
/// Where it waits meanwhile.
const ASIDE: &str = "/var/lib/kube-apiserver.yaml";
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_loaded_without_its_api_server_goes_on() -> anyhow::Result<()> {
    within("e2e-away", true, async |space| {
        let shop = App {
            replicas: 3,
            ..App::new("shop")
        };
        space.start(&[shop]).await?;
        let load = Load::start(&space, "load", "http://shop/", 500).await?;
        let before = load.run_for(Duration::from_secs(5)).await?;
        on_the_node(&["mv", MANIFEST, ASIDE]).await?;
        let ended = async {
            let gone = || async {
                Ok(!kubectl(["version", "--request-timeout=2s"])
                    .await?
                    .status
                    .success())
            };
            wait_until("the API server ends", Duration::from_mins(1), gone).await?;
            tokio::time::sleep(AWAY).await;
            anyhow::Ok(())
        }
        .await;
        on_the_node(&["mv", ASIDE, MANIFEST]).await?;
        ended?;
        let back = || async { Ok(kubectl(["get", "--raw", "/readyz"]).await?.status.success()) };
        wait_until("the API server is back", Duration::from_mins(2), back).await?;
        let counted = load.none_failed_since(&before).await?;
        record(
            "cluster-api-server-away",
            format!(
                "0 of {} requests failed in {} s without it",
                counted.sent,
                AWAY.as_secs()
            ),
        );
        // It converges: what is changed now arrives.
        space
            .kubectl(["scale", "deployment/shop", "--replicas=4"])
            .await?
            .good()?;
        space.wait_rollout("deployment/shop").await?;
        let four = || async {
            let now = load.counts().await?;
            Ok(now.since(&before).pods.len() >= 4)
        };
        wait_until("the fourth pod gets requests", Duration::from_mins(1), four).await
    })
    .await
}

async fn on_the_node(words: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("docker");
    command.args(["exec", "mesh-control-plane"]).args(words);
    output(&mut command, Duration::from_secs(30))
        .await?
        .good()
        .map(drop)
}
