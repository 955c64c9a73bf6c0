//! Many Services, and an API server that is away: what the mesh costs, and what it still does.

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::cluster::app::App;
use e2e::cluster::load::Load;
use e2e::cluster::{Namespace, apply, kubectl, metrics, read, same, sum, within};
use e2e::figure::{percentile, record, say};
use e2e::process::{output, wait_until};

/// Services of the large cluster, and endpoints of each.
const SERVICES: u32 = 2_000;
const ENDPOINTS: u32 = 5;
/// Changes whose way to a proxy is timed.
const CHANGES: usize = 50;
/// What was asked for; times gate at five times that.
const CHANGE: Duration = Duration::from_millis(250);
const COLD: Duration = Duration::from_secs(5);
/// The control plane's memory.
const MEMORY: u64 = 300 << 20;
/// What a sidecar may hold more than in an empty cluster.
const GROWTH: f64 = 1024.0 * 1024.0;
const AWAY: Duration = Duration::from_mins(2);
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_without_its_api_server_goes_on() -> anyhow::Result<()> {
    within("e2e-away", true, async |space| {
        let shop = App {
            replicas: 3,
            ..App::new("shop")
        };
        space.start(&[shop]).await?;
        let load = Load::start(&space, "load", "http://shop/", 500).await?;
        let before = load.run_for(Duration::from_secs(5)).await?;
        on_the_node(&["mv", MANIFEST, "/root/kube-apiserver.yaml"]).await?;
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
        on_the_node(&["mv", "/root/kube-apiserver.yaml", MANIFEST]).await?;
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

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_of_two_thousand_services() -> anyhow::Result<()> {
    within("e2e-many", true, async |space| {
        space.start(&[App::new("shop"), App::new("caller")]).await?;
        let pods = space.pods("app=caller").await?;
        let pod = pods.first().context("no pod of caller")?;
        let answer = space.call("caller", "http://shop/", &[]).await?;
        same("before", &answer["status"], 200)?;
        let small = resident(&space, pod).await?;

        let started = Instant::now();
        for part in (0..SERVICES).collect::<Vec<_>>().chunks(250) {
            space.apply(&services(part)).await?;
        }
        say(format!(
            "{SERVICES} Services made in {:.1?}",
            started.elapsed()
        ));
        let large = resident(&space, pod).await?;
        let grown = large - small;
        record(
            "cluster-sidecar-memory",
            format!("{:+.0} KiB with {SERVICES} Services", grown / 1024.0),
        );
        ensure!(grown <= GROWTH, "a sidecar grew by {grown} bytes");

        cold_start().await?;
        changes(&space).await
    })
    .await
}

/// Restarts the control plane; how long until it serves, and its memory.
async fn cold_start() -> anyhow::Result<()> {
    let system = ["--namespace", "mesh-system"];
    let delete = [
        "delete",
        "pod",
        "--selector",
        "app=mesh-control",
        "--wait=false",
    ];
    kubectl(system.iter().chain(&delete)).await?.good()?;
    let wait = [
        "rollout",
        "status",
        "deployment/mesh-control",
        "--timeout=120s",
    ];
    kubectl(system.iter().chain(&wait)).await?.good()?;
    let list = [
        "get",
        "pods",
        "--selector",
        "app=mesh-control",
        "--output",
        "json",
    ];
    let said = kubectl(system.iter().chain(&list)).await?.good()?;
    let list: serde_json::Value = serde_json::from_str(&said)?;
    for pod in list["items"].as_array().context("a list of pods")? {
        let status = &pod["status"];
        let state = &status["containerStatuses"][0]["state"]["running"]["startedAt"];
        let conditions = status["conditions"].as_array().context("conditions")?;
        let ready = conditions
            .iter()
            .find(|condition| condition["type"] == "Ready");
        let ready = &ready.context("no Ready")?["lastTransitionTime"];
        let name = pod["metadata"]["name"].as_str().context("a name")?;
        let at = format!("/api/v1/namespaces/mesh-system/pods/{name}:15020/proxy/metrics");
        let text = kubectl(["get", "--raw", &at]).await?.good()?;
        let memory = sum(&text, "process_resident_memory_bytes", &[])?;
        record(
            "cluster-control-plane-cold",
            format!(
                "started {state}, ready {ready} (at most {COLD:?}), {:.0} MiB",
                memory / 1048576.0
            ),
        );
        ensure!(memory <= MEMORY as f64, "{memory} bytes");
    }
    Ok(())
}

/// From a changed Service to the proxy that uses it, many times.
async fn changes(space: &Namespace) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for turn in 0..CHANGES {
        let status = if turn % 2 == 0 { 302 } else { 301 };
        let route = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: turn }}\n\
             spec:\n  parentRefs: [{{ kind: Service, group: \"\", name: shop }}]\n\
             \x20 rules: [{{ filters: [{{ type: RequestRedirect, requestRedirect: {{ statusCode: {status} }} }}] }}]\n"
        );
        space.apply(&route).await?;
        let changed = Instant::now();
        let arrived = || async {
            let answer = space.call("caller", "http://shop/", &[]).await?;
            Ok(answer["status"] == status)
        };
        wait_until(
            "the change arrives",
            CHANGE * 5 + Duration::from_secs(5),
            arrived,
        )
        .await?;
        times.push(changed.elapsed());
    }
    times.sort_unstable();
    let p99 = percentile(&times, 99);
    record(
        "cluster-change",
        format!(
            "p50 {:?}, p99 {p99:?}, with the time of the call",
            percentile(&times, 50)
        ),
    );
    ensure!(p99 <= CHANGE * 5, "a change takes {p99:?}");
    Ok(())
}

/// Services without pods, each with a slice of endpoints.
fn services(numbers: &[u32]) -> String {
    let mut text = String::new();
    for number in numbers {
        let endpoints: Vec<String> = (0..ENDPOINTS)
            .map(|index| {
                let at = number * ENDPOINTS + index;
                format!(
                    "{{ addresses: [10.200.{}.{}], conditions: {{ ready: true }} }}",
                    at / 250,
                    at % 250 + 1
                )
            })
            .collect();
        write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: many-{number} }}\n\
             spec: {{ ports: [{{ name: http, port: 80 }}] }}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: many-{number}\n\
             \x20 labels: {{ kubernetes.io/service-name: many-{number} }}\naddressType: IPv4\n\
             ports: [{{ name: http, port: 8080 }}]\nendpoints: [{}]\n",
            endpoints.join(", ")
        )
        .ok();
    }
    text
}

async fn resident(space: &Namespace, pod: &str) -> anyhow::Result<f64> {
    let text = metrics(space, pod).await?;
    sum(&text, "process_resident_memory_bytes", &[])
}

async fn on_the_node(words: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("docker");
    command.args(["exec", "mesh-control-plane"]).args(words);
    output(&mut command, Duration::from_secs(30))
        .await?
        .good()
        .map(drop)
}
