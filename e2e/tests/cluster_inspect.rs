//! Looks at a mesh in a cluster: `proxy-status`, `proxy-config`, `explain`, `get`, `logs`, `check`, each
//! of a meshed pod, in each form that programs read.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::cluster::app::App;
use e2e::cluster::{Namespace, same, within};
use e2e::demo::meshctl;
use e2e::figure::record;
use e2e::process::{Ended, output, wait_until};
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(1);
const SOON: Duration = Duration::from_secs(30);
const SPACE: &str = "e2e-inspect";
const CALLER: &str = "deploy/caller.e2e-inspect";
/// Nine of ten calls to one, one to the other, by a rule for a path.
const ROUTE: &str = "\
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: looked-at }
spec:
  parentRefs: [{ group: \"\", kind: Service, name: shop, port: 80 }]
  rules:
  - matches: [{ path: { type: PathPrefix, value: /looked-at } }]
    backendRefs: [{ name: shop, port: 80, weight: 9 }, { name: caller, port: 80, weight: 1 }]
  - backendRefs: [{ name: shop, port: 80 }]
";

async fn run(words: &[&str]) -> anyhow::Result<Ended> {
    output(Command::new(meshctl()?).args(words), LIMIT).await
}

/// What it prints as JSON; as YAML it must print the same.
async fn both(words: &[&str]) -> anyhow::Result<Value> {
    let json = run(&[words, &["-o", "json"]].concat()).await?.good()?;
    let yaml = run(&[words, &["-o", "yaml"]].concat()).await?.good()?;
    let json: Value = serde_json::from_str(&json).with_context(|| format!("{words:?}: {json}"))?;
    let yaml: Value =
        serde_saphyr::from_str(&yaml).with_context(|| format!("{words:?}: {yaml}"))?;
    ensure!(shape(&json) == shape(&yaml), "{words:?}: {json} and {yaml}");
    Ok(json)
}

/// What does not change from one look to the next: names of fields, kinds of values.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, one)| (name.clone(), shape(one)));
            Value::Object(fields.collect())
        }
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::String(_) => "text".into(),
        Value::Number(_) => "number".into(),
        other => other.clone(),
    }
}

async fn fails(words: &[&str], parts: &[&str]) -> anyhow::Result<()> {
    let refused = run(words).await?;
    ensure!(refused.status.code() == Some(1), "{words:?}: {refused:?}");
    for part in parts {
        let said = &refused.error;
        ensure!(said.contains(part), "{words:?}: no {part:?} in {said}");
    }
    Ok(())
}

async fn start(space: &Namespace) -> anyhow::Result<()> {
    space.start(&[App::new("shop"), App::new("caller")]).await?;
    let annotation = "{\"spec\":{\"template\":{\"metadata\":{\"annotations\":{\"mesh.dev/access-log\":\"true\"}}}}}";
    let words = ["patch", "deployment", "caller", "--patch", annotation];
    space.kubectl(words).await?.good()?;
    space.wait_rollout("deployment/caller").await?;
    space.apply(ROUTE).await?;
    let accepted = ["Accepted", "True", "Accepted"];
    space
        .wait_condition("httproute/looked-at", accepted)
        .await?;
    // What a proxy never dialled it does not ask for.
    for _ in 0..5 {
        let answer = space.call("caller", "http://shop/looked-at", &[]).await?;
        same("a call", &answer["status"], 200)?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_alone_inspect_a_meshed_pod() -> anyhow::Result<()> {
    within(SPACE, true, async |space| {
        start(&space).await?;
        let mut looks = status().await?;
        looks += configuration().await?;
        looks += explanation().await?;
        looks += resources().await?;
        looks += lines(&space).await?;
        looks += checks().await?;
        record(
            "cluster-inspect",
            format!("{looks} of {looks} looks as they should be"),
        );
        Ok(())
    })
    .await
}

async fn status() -> anyhow::Result<usize> {
    let synced = || async {
        let rows = both(&["proxy-status", "-n", SPACE]).await?;
        // Those of an earlier run are remembered for a while.
        let mut states = rows
            .as_array()
            .into_iter()
            .flatten()
            .map(|row| &row["state"]);
        Ok(
            states.clone().filter(|state| *state == "SYNCED").count() == 2
                && states.all(|state| state == "SYNCED" || state == "DISCONNECTED"),
        )
    };
    wait_until("both proxies are SYNCED", SOON, synced).await?;
    let table = run(&["proxy-status", "-n", SPACE]).await?.good()?;
    ensure!(table.matches("SYNCED").count() == 2, "{table}");
    ensure!(table.contains("/ns/e2e-inspect/sa/caller"), "{table}");
    let names = run(&["proxy-status", "-n", SPACE, "-o", "name"])
        .await?
        .good()?;
    ensure!(names.contains("e2e-inspect/caller-"), "{names}");
    let one = both(&["proxy-status", CALLER]).await?;
    ensure!(one.to_string().contains("e2e-inspect/shop:80"), "{one}");
    fails(
        &["proxy-status", "deploy/none.e2e-inspect"],
        &["deploy/none.e2e-inspect"],
    )
    .await?;
    Ok(5)
}

async fn configuration() -> anyhow::Result<usize> {
    let mut looks = 0;
    for (part, holds) in [
        ("all", "looked-at"),
        ("listeners", "15001"),
        ("routes", "looked-at"),
        ("backends", "e2e-inspect/shop"),
        ("endpoints", ":8080"),
        ("policies", "e2e-inspect/shop"),
        ("certificates", "/ns/e2e-inspect/sa/caller"),
    ] {
        let said = both(&["proxy-config", part, CALLER]).await?.to_string();
        ensure!(said.contains(holds), "{part}: no {holds:?} in {said}");
        let table = run(&["proxy-config", part, CALLER]).await?.good()?;
        ensure!(!table.is_empty(), "{part}: an empty table");
        looks += 2;
    }
    // Past the control plane, from inside the pod.
    let inside = run(&["proxy-config", "routes", CALLER, "--exec", "-o", "json"]).await?;
    ensure!(inside.good()?.contains("looked-at"), "by exec");
    let narrow = ["proxy-config", "routes", CALLER, "--service", "caller"];
    let said = run(&narrow).await?;
    ensure!(!said.out.contains("looked-at"), "{said:?}");
    fails(
        &["proxy-config", "routes", "deploy/none.e2e-inspect"],
        &["deploy/none.e2e-inspect", "meshctl proxy-status"],
    )
    .await?;
    Ok(looks + 3)
}

async fn explanation() -> anyhow::Result<usize> {
    let ask = [
        "explain",
        "http://shop/looked-at",
        "--from",
        CALLER,
        "--live",
    ];
    let said = both(&ask).await?;
    same("destination", &said["destination"], "e2e-inspect/shop:80")?;
    ensure!(said.to_string().contains("looked-at"), "{said}");
    let text = run(&ask).await?.good()?;
    ensure!(text.contains("looked-at") && text.contains("90"), "{text}");
    fails(
        &[
            "explain",
            "http://shop/",
            "--from",
            "deploy/none.e2e-inspect",
            "--live",
        ],
        &["deploy/none.e2e-inspect", "meshctl proxy-status"],
    )
    .await?;
    Ok(3)
}

async fn resources() -> anyhow::Result<usize> {
    let route = both(&["get", "HTTPRoute", "e2e-inspect/looked-at"]).await?;
    let text = route.to_string();
    ensure!(
        text.contains("looked-at") && text.contains("Accepted"),
        "{text}"
    );
    let workloads = both(&["get", "workloads", "-n", SPACE]).await?;
    let workloads = workloads.as_array().context("no list")?;
    ensure!(workloads.len() == 2, "{workloads:?}");
    let services = both(&["get", "services", "-n", SPACE]).await?;
    let services = services.as_array().context("no list")?;
    ensure!(services.len() == 2, "{services:?}");
    let hosts = run(&["get", "services", "-n", SPACE, "-o", "hosts"])
        .await?
        .good()?;
    ensure!(hosts.contains("shop.e2e-inspect"), "{hosts}");
    let labelled = [
        "get",
        "workloads",
        "-n",
        SPACE,
        "-l",
        "app=shop",
        "-o",
        "name",
    ];
    let labelled = run(&labelled).await?.good()?;
    ensure!(labelled.lines().count() == 1, "{labelled}");
    fails(
        &["get", "HTTPRoute", "e2e-inspect/none"],
        &["e2e-inspect/none", "meshctl get HTTPRoute"],
    )
    .await?;
    Ok(6)
}

async fn lines(space: &Namespace) -> anyhow::Result<usize> {
    let answer = space
        .call("caller", "http://shop/written-down", &[])
        .await?;
    same("a call", &answer["status"], 200)?;
    let written = || async {
        let logs = ["logs", CALLER, "--path", "/written*", "-o", "json"];
        let said = run(&logs).await?.good()?;
        let lines: Vec<Value> = said
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        Ok(lines.len() == 1)
    };
    wait_until("the call is in the log", SOON, written).await?;
    let none = ["logs", CALLER, "--status", "5xx", "--path", "/written*"];
    ensure!(run(&none).await?.good()?.is_empty(), "a 5xx");
    // The namespace as kubectl has it.
    let proxy = ["logs", "-n", SPACE, "deploy/caller", "--source", "proxy"];
    ensure!(
        !run(&proxy).await?.good()?.is_empty(),
        "the proxy said nothing"
    );
    fails(
        &["logs", "deploy/none.e2e-inspect"],
        &["deploy/none.e2e-inspect"],
    )
    .await?;
    Ok(4)
}

async fn checks() -> anyhow::Result<usize> {
    let mut found = 0;
    for category in ["control-plane", "proxies", "adoption", "cluster"] {
        let report = both(&["check", "--only", category]).await?;
        same(category, &report["faults"], 0)?;
        let checks = report["checks"].as_array().context("no checks")?;
        ensure!(!checks.is_empty(), "{category}: {report}");
        ensure!(
            checks.iter().any(|check| check["result"] != "skipped"),
            "{category} looks at nothing: {report}"
        );
        found += 1;
    }
    let adopted = ["check", "--only", "adoption", "--adopt", "kube-system"];
    let adopted = run(&adopted).await?;
    ensure!(adopted.status.success(), "{adopted:?}");
    fails(
        &["check", "--adopt", "nowhere"],
        &["nowhere", "kubectl get namespaces"],
    )
    .await?;
    Ok(found + 2)
}
