//! What the mesh adds to the start of a pod.

use std::time::{Duration, Instant};

use anyhow::ensure;
use e2e::cluster::app::IMAGE;
use e2e::cluster::{Namespace, within};
use e2e::figure::{percentile, record};

/// Pods of each kind, in turns.
const PODS: usize = 5;
/// What was asked for; gated at five times that.
const LATER: Duration = Duration::from_secs(3);

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_loaded_pods_in_the_mesh_are_ready_soon() -> anyhow::Result<()> {
    within("e2e-ready", true, async |space| {
        let mut times = [Vec::new(), Vec::new()];
        for turn in 0..PODS {
            for (inject, times) in ["disabled", "enabled"].iter().zip(&mut times) {
                times.push(start(&space, &format!("{inject}-{turn}"), inject).await?);
            }
        }
        let [plain, meshed] = times.map(|mut times| {
            times.sort_unstable();
            percentile(&times, 50)
        });
        let later = meshed.saturating_sub(plain);
        record(
            "cluster-pod-ready",
            format!("median of {PODS}: {plain:.1?} without the mesh, {meshed:.1?} in it"),
        );
        ensure!(later <= LATER * 5, "{later:?} later than without the mesh");
        Ok(())
    })
    .await
}

/// From applying a pod to its readiness.
async fn start(space: &Namespace, name: &str, inject: &str) -> anyhow::Result<Duration> {
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ mesh.dev/inject: {inject} }} }}\n\
         spec:\n  containers:\n  - name: app\n    image: {IMAGE}\n    args: [serve]\n\
         \x20   readinessProbe: {{ httpGet: {{ path: /ready, port: 8080 }}, periodSeconds: 1 }}\n"
    );
    let started = Instant::now();
    space.apply(&pod).await?;
    let named = format!("pod/{name}");
    let wait = ["wait", "--for=condition=Ready", "--timeout=60s", &named];
    space.kubectl(wait).await?.good()?;
    let took = started.elapsed();
    // The end of one pod is not part of the next one's start.
    let delete = ["delete", &named, "--grace-period=1"];
    space.kubectl(delete).await?.good()?;
    Ok(took)
}
