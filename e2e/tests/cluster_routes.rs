//! Routes in the cluster, stricter than the Gateway API's own suite: exact targets, Locations, headers,
//! precedence, and what happens to pods that are called directly.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use e2e::cluster::app::{App, IMAGE};
use e2e::cluster::{Namespace, read, same, within};
use e2e::figure::record;
use e2e::process::wait_until;
use serde_json::Value;

/// The cases, as data.
const CASES: &str = include_str!("../cases/routes.yaml");
/// For a route to reach a proxy.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_routes_do_exactly_what_they_say() -> anyhow::Result<()> {
    within("e2e-routes", true, async |space| {
        let apps = ["shop", "beta", "caller"].map(App::new);
        space.start(&apps).await?;
        let external = "apiVersion: v1\nkind: Service\nmetadata: { name: external }\n\
             spec: { type: ExternalName, externalName: example.com, ports: [{ port: 80 }] }\n";
        space.apply(external).await?;
        let cases: Vec<Value> = yaml(CASES)?;
        let objects: anyhow::Result<String> = cases.iter().map(objects_of).collect();
        space.apply(&objects?).await?;
        let mut calls = 0;
        for case in &cases {
            calls += run(&space, case).await?;
        }
        record(
            "cluster-routes",
            format!("{calls} calls of {} routes as written", cases.len()),
        );
        Ok(())
    })
    .await
}

/// The Service and the route of a case, and what else it has.
fn objects_of(case: &Value) -> anyhow::Result<String> {
    let name = text(case, "name")?;
    let mut parent = format!("group: \"\", kind: Service, name: {name}");
    if let Some(port) = case["port"].as_u64() {
        parent = format!("{parent}, port: {port}");
    }
    let route = format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {name} }}\n\
         spec: {{ parentRefs: [{{ {parent} }}], rules: {} }}\n",
        with_backends(&case["rules"])
    );
    let more = case["objects"].as_array().into_iter().flatten();
    let more: Vec<String> = more.map(|object| format!("---\n{object}\n")).collect();
    Ok(service(name, "") + &route + &more.concat())
}

/// Rules that name no backend go to `shop`, except those that answer themselves.
fn with_backends(rules: &Value) -> Value {
    let mut rules = rules.clone();
    for rule in rules.as_array_mut().into_iter().flatten() {
        let filters = rule["filters"].to_string();
        let answers = ["RequestRedirect", "DirectResponse"];
        let answers = answers.iter().any(|filter| filters.contains(filter));
        if rule["backendRefs"].is_null() && !answers {
            rule["backendRefs"] = serde_json::json!([{ "name": "shop", "port": 80 }]);
        }
    }
    rules
}

/// A Service over the pods of `shop`, at ports 80 and 81; `more` goes into its spec.
fn service(name: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\n\
         spec:\n  selector: {{ app: shop }}\n  ports:\n\
         \x20 - {{ name: http, port: 80, targetPort: 8080, appProtocol: http }}\n\
         \x20 - {{ name: http-more, port: 81, targetPort: 8080, appProtocol: http }}\n{more}"
    )
}

/// Makes the calls of a case; how many.
async fn run(space: &Namespace, case: &Value) -> anyhow::Result<u64> {
    let name = text(case, "name")?;
    let mut made = 0;
    for call in case["calls"].as_array().context("calls")? {
        let path = text(call, "path")?;
        let port = call["port"].as_u64().unwrap_or(80);
        let url = match port {
            80 => format!("http://{name}{path}"),
            port => format!("http://{name}:{port}{path}"),
        };
        let headers = call["headers"].as_array().into_iter().flatten();
        let headers: Vec<&str> = headers.filter_map(Value::as_str).collect();
        for _ in 0..call["times"].as_u64().unwrap_or(1) {
            expect(space, &url, &headers, &call["expect"]).await?;
            made += 1;
        }
    }
    if let Some([kind, status, reason]) = case["condition"].as_array().map(Vec::as_slice) {
        let words = [kind, status, reason].map(|word| word.as_str().unwrap_or_default());
        space
            .wait_condition(&format!("httproute/{name}"), words)
            .await?;
    }
    Ok(made)
}

/// Calls until the answer is as expected: a route needs a moment to arrive.
async fn expect(
    space: &Namespace,
    url: &str,
    headers: &[&str],
    expected: &Value,
) -> anyhow::Result<()> {
    let last = std::cell::RefCell::new(Value::Null);
    let fits = || async {
        let answer = space.call("caller", url, headers).await?;
        let fits = contains(&answer, expected);
        last.replace(answer);
        Ok(fits)
    };
    let waited = wait_until(url, SOON, fits).await;
    waited.with_context(|| format!("{} instead of {expected}", last.borrow()))
}

/// True if all of `expected` is in `found`; null is what is not there.
fn contains(found: &Value, expected: &Value) -> bool {
    match expected {
        Value::Object(fields) => fields.iter().all(|(name, field)| match field {
            Value::Null => found[name].is_null(),
            field => contains(&found[name], field),
        }),
        other => found == other,
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_routes_of_the_same_match_go_by_age() -> anyhow::Result<()> {
    within("e2e-age", true, async |space| {
        space.start(&["shop", "caller"].map(App::new)).await?;
        space.apply(&service("aged", "")).await?;
        // The elder has the later name: by name it would lose.
        for name in ["z-elder", "a-younger"] {
            space.apply(&redirect(name, "aged", "")).await?;
            // Ages are counted in whole seconds.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        let to = |host: &str| {
            serde_json::json!({ "status": 302, "headers": { "location": [format!("http://{host}/")] } })
        };
        expect(&space, "http://aged/", &[], &to("z-elder.example")).await?;
        space
            .kubectl(["delete", "httproute", "z-elder"])
            .await?
            .good()?;
        expect(&space, "http://aged/", &[], &to("a-younger.example")).await?;
        // A rule that is more specific beats age.
        let exact = "      matches: [{ path: { type: Exact, value: / } }]\n";
        space.apply(&redirect("exact", "aged", exact)).await?;
        expect(&space, "http://aged/", &[], &to("exact.example")).await?;
        let first = first_of_an_age(&space).await?;
        expect(&space, "http://same/", &[], &to(&format!("{first}.example"))).await
    })
    .await
}

/// Makes two routes of the same second, the one with the later name first; the name that wins.
async fn first_of_an_age(space: &Namespace) -> anyhow::Result<&'static str> {
    space.apply(&service("same", "")).await?;
    let names = ["same-b", "same-a"];
    for _ in 0..10 {
        let routes = names.map(|name| redirect(name, "same", ""));
        space.apply(&routes.concat()).await?;
        let mut ages = Vec::new();
        for name in names {
            let route = read(space.name(), &format!("httproute/{name}")).await?;
            ages.push(text(&route["metadata"], "creationTimestamp")?.to_owned());
        }
        if ages[0] == ages[1] {
            return Ok("same-a");
        }
        let delete = ["delete", "httproute", "same-a", "same-b"];
        space.kubectl(delete).await?.good()?;
    }
    bail!("no two routes were made within a second")
}

fn redirect(name: &str, parent: &str, matches: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: {name} }}\n\
         spec:\n  parentRefs: [{{ group: \"\", kind: Service, name: {parent} }}]\n  rules:\n\
         \x20   - filters: [{{ type: RequestRedirect, requestRedirect: {{ hostname: {name}.example }} }}]\n{matches}"
    )
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_consumers_have_routes_of_their_own() -> anyhow::Result<()> {
    within("e2e-producer", true, async |producer| {
        producer.start(&["shop", "caller"].map(App::new)).await?;
        within("e2e-consumer", true, async |consumer| {
            consumer.start(&[App::new("caller")]).await?;
            let parent = "shop, namespace: e2e-producer";
            consumer.apply(&redirect("own", parent, "")).await?;
            let url = "http://shop.e2e-producer/";
            let redirected = serde_json::json!({ "status": 302 });
            expect(&consumer, url, &[], &redirected).await?;
            let answer = producer.call("caller", url, &[]).await?;
            same("in the producer's own namespace", &answer["status"], 200)
        })
        .await
    })
    .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn cluster_pods_are_called_directly() -> anyhow::Result<()> {
    within("e2e-direct", true, async |space| {
        space.start(&["shop", "caller"].map(App::new)).await?;
        // A route of the Service is none of its pods'.
        space.apply(&service("routed", "")).await?;
        space.apply(&redirect("routed", "routed", "")).await?;
        let headless = "  clusterIP: None\n";
        space.apply(&service("headless", headless)).await?;
        let all = serde_json::json!({ "status": 302 });
        expect(&space, "http://routed/", &[], &all).await?;
        let pods = space.list("pods", "app=shop").await?;
        let pod = pods.first().context("a pod")?;
        let address = text(&pod["status"], "podIP")?;
        let good = serde_json::json!({ "status": 200, "body": { "version": "shop" } });
        expect(&space, &format!("http://{address}:8080/"), &[], &good).await?;
        expect(&space, "http://headless:8080/", &[], &good).await?;
        space.apply(&stateful()).await?;
        space.wait_rollout("statefulset/row").await?;
        let row = serde_json::json!({ "status": 200, "body": { "pod": "row-1" } });
        expect(&space, "http://row-1.row:8080/", &[], &row).await?;
        record(
            "cluster-direct",
            "a pod's address, a headless name and a name of a StatefulSet's pod reach the app",
        );
        Ok(())
    })
    .await
}

/// Two pods with names of their own.
fn stateful() -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: row }}\n\
         spec:\n  clusterIP: None\n  selector: {{ app: row }}\n\
         \x20 ports: [{{ name: http, port: 8080, appProtocol: http }}]\n\
         ---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{ name: row }}\n\
         spec:\n  replicas: 2\n  serviceName: row\n  podManagementPolicy: Parallel\n\
         \x20 selector: {{ matchLabels: {{ app: row }} }}\n\
         \x20 template:\n    metadata: {{ labels: {{ app: row }} }}\n    spec:\n      containers:\n\
         \x20     - name: app\n        image: {IMAGE}\n        args: [serve]\n\
         \x20       readinessProbe: {{ httpGet: {{ path: /ready, port: 8080 }}, periodSeconds: 1 }}\n"
    )
}

fn text<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    value[name]
        .as_str()
        .with_context(|| format!("no {name} in {value}"))
}

fn yaml(text: &str) -> anyhow::Result<Vec<Value>> {
    let read: Result<Vec<Value>, _> = serde_saphyr::from_str(text);
    let read = read.context("e2e/cases/routes.yaml")?;
    ensure!(!read.is_empty(), "no cases");
    Ok(read)
}
