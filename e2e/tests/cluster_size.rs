//! Many Services: what they cost the control plane, and a proxy that uses none of them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::cluster::app::App;
use e2e::cluster::node::resident;
use e2e::cluster::{Namespace, kubectl, same, within};
use e2e::figure::{percentile, record, say};
use e2e::process::wait_until;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

/// Services of the large cluster, and endpoints of each.
const SERVICES: u32 = 2_000;
const ENDPOINTS: u32 = 5;
/// Changes whose way to a proxy is timed.
const CHANGES: u32 = 100;
/// What was asked for; times gate at five times that.
const CHANGE: Duration = Duration::from_millis(250);
const COLD: Duration = Duration::from_secs(5);
/// The control plane's memory.
const MEMORY: u64 = 300 << 20;
/// What a sidecar may hold more than in an empty cluster.
const GROWTH: u64 = 1 << 20;

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_of_two_thousand_services() -> anyhow::Result<()> {
    within("e2e-many", true, async |space| {
        space.start(&["shop", "caller"].map(App::new)).await?;
        let pod = space.list("pods", "app=caller").await?;
        let pod = pod.first().context("no pod of caller")?;
        let answer = space.call("caller", "http://shop/", &[]).await?;
        same("before", &answer["status"], 200)?;
        let small = resident(pod, "mesh-proxy")?;

        let started = Instant::now();
        for part in (0..SERVICES).collect::<Vec<_>>().chunks(250) {
            space.apply(&services(part)).await?;
        }
        let took = started.elapsed();
        say(format!("{SERVICES} Services made in {took:.1?}"));
        let large = resident(pod, "mesh-proxy")?;
        let grown = large.saturating_sub(small);
        record(
            "cluster-sidecar-memory",
            format!("{small} B in an empty cluster, {large} B with {SERVICES} Services"),
        );
        ensure!(grown <= GROWTH, "a sidecar grew by {grown} B");
        cold_start().await?;
        changes(&space, pod).await
    })
    .await
}

/// Starts the control plane anew; how long until it is ready, and its memory.
async fn cold_start() -> anyhow::Result<()> {
    let system = ["--namespace", "mesh-system"];
    let restart = ["rollout", "restart", "deployment/mesh-control"];
    kubectl(system.iter().chain(&restart)).await?.good()?;
    let wait = ["rollout", "status", "deployment/mesh-control"];
    kubectl(system.iter().chain(&wait)).await?.good()?;
    let list = ["get", "pods", "--selector=app=mesh-control"];
    let words = system.iter().chain(&list).chain(&["--output=json"]);
    let list: Value = serde_json::from_str(&kubectl(words).await?.good()?)?;
    for pod in list["items"].as_array().context("a list of pods")? {
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            continue;
        }
        let took = ready_after(pod)?;
        let memory = resident(pod, "mesh-control")?;
        record(
            "cluster-control-plane-cold",
            format!(
                "ready {took:?} after its start, in whole seconds, {} MiB",
                memory >> 20
            ),
        );
        ensure!(took <= COLD * 5, "the control plane needs {took:?}");
        ensure!(memory <= MEMORY, "the control plane holds {memory} B");
    }
    Ok(())
}

/// From the start of a pod's container to its readiness; Kubernetes tells whole seconds.
fn ready_after(pod: &Value) -> anyhow::Result<Duration> {
    let status = &pod["status"];
    let started = &status["containerStatuses"][0]["state"]["running"]["startedAt"];
    let conditions = status["conditions"].as_array().context("conditions")?;
    let ready = conditions.iter().find(|one| one["type"] == "Ready");
    let ready = &ready.context("no Ready")?["lastTransitionTime"];
    let [started, ready] = [started, ready].map(|at| at.as_str().unwrap_or_default().parse());
    let (started, ready): (Timestamp, Timestamp) = (started?, ready?);
    Ok(Duration::try_from(ready.duration_since(started)).unwrap_or_default())
}

/// From a changed route to the snapshot of the proxy that uses it, many times.
async fn changes(space: &Namespace, pod: &Value) -> anyhow::Result<()> {
    let client = Client::try_default().await?;
    let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
    let kind = ApiResource::from_gvk(&kind);
    let routes: Api<DynamicObject> = Api::namespaced_with(client.clone(), space.name(), &kind);
    let pod = pod["metadata"]["name"].as_str().context("a name")?;
    let mut generation = generation(&client, space.name(), pod).await?;
    let mut times = Vec::new();
    for turn in 0..CHANGES {
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": { "name": "turn" },
            "spec": {
                "parentRefs": [{ "group": "", "kind": "Service", "name": "shop" }],
                "rules": [{ "filters": [{
                    "type": "RequestRedirect",
                    "requestRedirect": { "hostname": format!("turn-{turn}.example") },
                }] }],
            },
        });
        let changed = Instant::now();
        let parameters = PatchParams::apply("e2e").force();
        routes
            .patch("turn", &parameters, &Patch::Apply(&route))
            .await?;
        let before = generation;
        while generation == before {
            let waited = changed.elapsed();
            ensure!(waited < CHANGE * 20, "nothing arrives within {waited:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
            generation = self::generation(&client, space.name(), pod).await?;
        }
        times.push(changed.elapsed());
    }
    // The last is in force, and not only counted.
    let last = format!("http://turn-{}.example/", CHANGES - 1);
    let arrived = || async {
        let answer = space.call("caller", "http://shop/", &[]).await?;
        Ok(answer["headers"]["location"][0] == last.as_str())
    };
    wait_until("the last change is in force", CHANGE * 20, arrived).await?;
    times.sort_unstable();
    let p99 = percentile(&times, 99);
    record(
        "cluster-change",
        format!(
            "{CHANGES} changes from the patch to the proxy's snapshot: p50 {:?}, p99 {p99:?}",
            percentile(&times, 50)
        ),
    );
    ensure!(p99 <= CHANGE * 5, "a change takes {p99:?}");
    Ok(())
}

/// How many snapshots a proxy put in force.
async fn generation(client: &Client, namespace: &str, pod: &str) -> anyhow::Result<u64> {
    let at = format!("/api/v1/namespaces/{namespace}/pods/{pod}:15020/proxy/metrics");
    let text = client
        .request_text(http::Request::get(at).body(Vec::new())?)
        .await?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("mesh_config_generation "));
    Ok(line.context("no generation")?.parse()?)
}

/// Services without pods, each with a slice of endpoints.
fn services(numbers: &[u32]) -> String {
    let mut text = String::new();
    for number in numbers {
        let endpoints: Vec<String> = (0..ENDPOINTS)
            .map(|index| {
                let at = number * ENDPOINTS + index;
                let (high, low) = (at / 250, at % 250 + 1);
                format!("{{ addresses: [10.200.{high}.{low}], conditions: {{ ready: true }} }}")
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
