//! Many Services: what they cost the control plane, and a proxy that uses none of them.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::cluster::app::App;
use e2e::cluster::node::resident;
use e2e::cluster::{Namespace, kubectl, same, within};
use e2e::figure::{percentile, record, say};
use e2e::process::wait_until;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Services of the large cluster, and endpoints of each.
const SERVICES: u32 = 2_000;
const ENDPOINTS: u32 = 5;
/// Changes whose way to a proxy is timed.
const CHANGES: u32 = 200;
/// Objects that are made at the same time.
const AT_ONCE: u32 = 20;
/// What was asked for; times gate at five times that.
const CHANGE: Duration = Duration::from_millis(250);
const COLD: Duration = Duration::from_secs(5);
/// The control plane's memory.
const MEMORY: u64 = 300 << 20;
/// What a sidecar may hold more than in an empty cluster.
const GROWTH: u64 = 1 << 20;

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_loaded_with_two_thousand_services() -> anyhow::Result<()> {
    within("e2e-many", true, async |space| {
        space.start(&["shop", "caller"].map(App::new)).await?;
        let pod = space.list("pods", "app=caller").await?;
        let pod = pod.first().context("no pod of caller")?;
        let answer = space.call("caller", "http://shop/", &[]).await?;
        same("before", &answer["status"], 200)?;
        let small = resident(pod, "mesh-proxy")?;

        let started = Instant::now();
        make_services(space.name()).await?;
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
    // Those that end still answer the API server, and what is timed later is not their end.
    let gone = || async {
        let mut pods = replicas().await?.into_iter();
        Ok(pods.all(|pod| pod["metadata"]["deletionTimestamp"].is_null()))
    };
    wait_until("the old replicas are gone", COLD * 12, gone).await?;
    for pod in &replicas().await? {
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

/// The pods of the control plane.
async fn replicas() -> anyhow::Result<Vec<Value>> {
    let list = ["get", "pods", "--namespace=mesh-system"];
    let words = list
        .iter()
        .chain(&["--selector=app=mesh-control", "--output=json"]);
    let list: Value = serde_json::from_str(&kubectl(words).await?.good()?)?;
    Ok(list["items"].as_array().context("a list of pods")?.clone())
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
    let proxy = Proxy {
        client: Client::try_default().await?,
        namespace: space.name(),
        pod: pod["metadata"]["name"].as_str().context("a name")?,
    };
    // The control plane has just been started anew.
    let connected = || async { Ok(proxy.gauge("mesh_config_connected").await? == 1) };
    wait_until("the proxy is connected", CHANGE * 100, connected).await?;
    proxy.change(0).await?;
    let mut times = Vec::new();
    for turn in 1..=CHANGES {
        times.push(proxy.change(turn).await?);
    }
    // The last is in force, and not only counted.
    let last = format!("http://turn-{CHANGES}.example/");
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
            "{CHANGES} changes from the patch to the proxy's snapshot: p50 {:.0?}, p99 {p99:.0?}",
            percentile(&times, 50)
        ),
    );
    ensure!(p99 <= CHANGE * 5, "a change takes {p99:?}");
    Ok(())
}

/// A proxy whose snapshots are watched.
struct Proxy<'a> {
    client: Client,
    namespace: &'a str,
    pod: &'a str,
}

impl Proxy<'_> {
    /// Changes a route that it uses; how long until it has it.
    async fn change(&self, turn: u32) -> anyhow::Result<Duration> {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
        let kind = ApiResource::from_gvk(&kind);
        let client = self.client.clone();
        let routes: Api<DynamicObject> = Api::namespaced_with(client, self.namespace, &kind);
        let before = self.gauge("mesh_config_generation").await?;
        let changed = Instant::now();
        let parameters = PatchParams::apply("e2e").force();
        let route = Patch::Apply(route(turn));
        routes.patch("turn", &parameters, &route).await?;
        while self.gauge("mesh_config_generation").await? == before {
            let waited = changed.elapsed();
            ensure!(waited < CHANGE * 20, "nothing arrives within {waited:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(changed.elapsed())
    }

    /// A metric without labels.
    async fn gauge(&self, name: &str) -> anyhow::Result<u64> {
        let Self { namespace, pod, .. } = self;
        let at = format!("/api/v1/namespaces/{namespace}/pods/{pod}:15020/proxy/metrics");
        let ask = http::Request::get(at).body(Vec::new())?;
        let text = self.client.request_text(ask).await?;
        let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        text.lines()
            .find_map(of)
            .with_context(|| format!("no {name}"))
    }
}

fn route(turn: u32) -> Value {
    json!({
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
    })
}

/// Services without pods, each with a slice of endpoints.
async fn make_services(namespace: &str) -> anyhow::Result<()> {
    let client = Client::try_default().await?;
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(client, namespace);
    let mut makers = JoinSet::new();
    for maker in 0..AT_ONCE {
        let (services, slices) = (services.clone(), slices.clone());
        makers.spawn(async move {
            let parameters = PostParams::default();
            for number in (maker..SERVICES).step_by(AT_ONCE as usize) {
                let (service, slice) = objects(number);
                let service = serde_json::from_value(service)?;
                services.create(&parameters, &service).await?;
                let slice = serde_json::from_value(slice)?;
                slices.create(&parameters, &slice).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(made) = makers.join_next().await {
        made??;
    }
    Ok(())
}

fn objects(number: u32) -> (Value, Value) {
    let name = format!("many-{number}");
    let endpoint = |index: u32| {
        let at = number * ENDPOINTS + index;
        let address = format!("10.200.{}.{}", at / 250, at % 250 + 1);
        json!({ "addresses": [address], "conditions": { "ready": true } })
    };
    let service = json!({
        "metadata": { "name": name },
        "spec": { "ports": [{ "name": "http", "port": 80 }] },
    });
    let slice = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/service-name": name } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": (0..ENDPOINTS).map(endpoint).collect::<Vec<_>>(),
    });
    (service, slice)
}
