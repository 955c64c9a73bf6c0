//! `meshctl demo --kubernetes`: the same apps and routes as pods of a cluster that has a mesh.

mod forward;
mod objects;

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::show::DemoArgs;
use crate::command::install::apply::{api, gone, remove};
use crate::command::install::{ready, recorded};
use crate::command::signal;
use crate::install::object::Object;
use crate::install::values::Values;
use crate::render::symbol::Symbols;
use crate::render::{Tone, note, print, show};
use crate::source::cluster::{Cluster, ClusterArg, reason};
use crate::source::json::text;
use forward::Forward;
use objects::{MARK, NAMESPACE};

/// The owner of every field that is applied.
const MANAGER: &str = "meshctl-demo";
/// Time until every pod is ready.
const START: Duration = Duration::from_mins(3);
/// Time until the namespace is gone.
const END: Duration = Duration::from_mins(2);
/// Time for the calls that `--check` looks at.
const CALLS: Duration = Duration::from_mins(1);
/// Calls that `--check` waits for: of so many, a version with a tenth of them is seen for sure.
const ENOUGH: u64 = 300;
/// Those that answer for the catalog.
const VERSIONS: [&str; 2] = ["v1", "v2"];
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// What holds of the demo.
#[derive(Debug, Serialize)]
struct Held {
    name: &'static str,
    ok: bool,
    figure: String,
}

/// Deploys the demo, shows or checks it, and takes it away.
pub(crate) async fn run(arguments: DemoArgs, cluster: &ClusterArg) -> anyhow::Result<u8> {
    let cluster = cluster.connect().await?;
    if arguments.delete {
        return delete(&cluster).await;
    }
    let image = image(&cluster).await?;
    claim(&cluster).await?;
    let objects = objects::all(&image)?;
    let work = async {
        deploy(&cluster, &objects).await?;
        act(&cluster, &arguments).await
    };
    let result = tokio::select! {
        result = work => result,
        _ = signal::stop() => Ok(u8::from(arguments.check)),
    };
    if arguments.keep {
        note(&format!(
            "it stays in namespace {NAMESPACE}: meshctl demo --kubernetes --delete removes it"
        ));
        return result;
    }
    note("ending: the namespace goes with everything in it");
    let ended = end(&cluster).await;
    // Why it failed says more than that it could not be taken away as well.
    let code = result?;
    ended?;
    Ok(code)
}

/// Takes away what an earlier demo left.
async fn delete(cluster: &Cluster) -> anyhow::Result<u8> {
    cluster.version().await?;
    if !is_there(cluster).await? {
        note(&format!("there is no demo: no namespace {NAMESPACE}"));
        return Ok(0);
    }
    end(cluster).await?;
    note(&format!(
        "namespace {NAMESPACE} is gone, with everything in it"
    ));
    Ok(0)
}

/// Removes the namespace and waits until it is gone.
async fn end(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = Object::new(objects::namespace());
    remove(cluster, &namespace).await?;
    gone(cluster, &namespace, Instant::now() + END).await
}

/// The image of the apps: that of the installed mesh's registry and tag.
async fn image(cluster: &Cluster) -> anyhow::Result<String> {
    cluster.version().await?;
    let found = recorded::read(cluster).await?;
    let found = found.context("no mesh is installed in this cluster: `meshctl install` first")?;
    let values: Values = serde_json::from_str(&found.record.values)
        .context("the values of the installation cannot be read; `meshctl install` mends that")?;
    let routes = "/apis/gateway.networking.k8s.io/v1/httproutes";
    ensure!(
        cluster.get(routes).await?.is_some(),
        "the cluster has no HTTPRoute: `meshctl check --pre` prints the command that installs the \
         Gateway API"
    );
    Ok(format!(
        "{}/meshctl:{}",
        values.image.registry, values.image.tag
    ))
}

/// Makes sure that the namespace is the demo's to change: none is, or an earlier demo's. One that is
/// being removed is waited for, as nothing can be made in it.
async fn claim(cluster: &Cluster) -> anyhow::Result<()> {
    if !is_there(cluster).await? {
        return Ok(());
    }
    let namespace = cluster.get(&place()).await?.unwrap_or_default();
    if namespace["metadata"]["deletionTimestamp"].is_string() {
        note("an earlier demo still ends");
        let namespace = Object::new(objects::namespace());
        return gone(cluster, &namespace, Instant::now() + END).await;
    }
    note("an earlier demo is there: what differs is mended");
    Ok(())
}

/// True if there is a demo's namespace; one of another's making is refused.
async fn is_there(cluster: &Cluster) -> anyhow::Result<bool> {
    let Some(namespace) = cluster.get(&place()).await? else {
        return Ok(false);
    };
    ensure!(
        text(&namespace["metadata"]["labels"], MARK) == "true",
        "the cluster has a namespace {NAMESPACE} of your own, without the label {MARK}=true; the \
         demo needs that name: nothing was changed"
    );
    Ok(true)
}

fn place() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}")
}

async fn deploy(cluster: &Cluster, objects: &[Object]) -> anyhow::Result<()> {
    let parameters = PatchParams::apply(MANAGER).force();
    for object in objects {
        let api = api(cluster, object);
        let applied = api
            .patch(object.name(), &parameters, &Patch::Apply(object))
            .await;
        applied
            .map_err(reason)
            .with_context(|| format!("cannot apply {object}"))?;
    }
    note(&format!(
        "{} objects applied in namespace {NAMESPACE}",
        objects.len()
    ));
    wait(cluster).await
}

/// Waits until every pod is ready, and says meanwhile what keeps them.
async fn wait(cluster: &Cluster) -> anyhow::Result<()> {
    let limit = Instant::now() + START;
    let (mut told, mut known) = (String::new(), Vec::new());
    loop {
        let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
        let waiting = waiting(&cluster.list(&path).await?);
        if waiting.is_empty() {
            return Ok(());
        }
        let line = format!("  waiting for {}", waiting.join(", "));
        if line != told {
            note(&line);
            told = line;
        }
        let troubles = ready::look(cluster, NAMESPACE).await?;
        for trouble in &troubles {
            if !known.contains(&trouble.kind()) {
                note(&format!("  {trouble}"));
                known.push(trouble.kind());
            }
        }
        if Instant::now() > limit {
            let troubles: Vec<String> = troubles.iter().map(ToString::to_string).collect();
            bail!("not ready: {}\n{}", waiting.join(", "), troubles.join("\n"));
        }
        sleep(LOOK).await;
    }
}

/// Deployments that lack replicas.
fn waiting(deployments: &[Value]) -> Vec<String> {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let lacks = |one: &&Value| {
        let status = &one["status"];
        number(&status["availableReplicas"]) < number(&one["spec"]["replicas"])
            || number(&status["observedGeneration"]) < number(&one["metadata"]["generation"])
    };
    let found = deployments.iter().filter(lacks);
    found
        .map(|one| text(&one["metadata"], "name").to_owned())
        .collect()
}

async fn act(cluster: &Cluster, arguments: &DemoArgs) -> anyhow::Result<u8> {
    let forward = Forward::open(cluster, "shop", objects::PORT).await?;
    if arguments.check {
        let held = check(cluster, &forward).await?;
        let fails = held.iter().any(|one| !one.ok);
        show(arguments.output, &held, || report(&held))?;
        return Ok(u8::from(fails));
    }
    print(&format!(
        "The demo runs in namespace {NAMESPACE}. Its page:\n\n    http://{}/\n\n\
         Look at it from another terminal with\n    meshctl proxy-status -n {NAMESPACE}\n    \
         meshctl explain http://catalog/items/1 --from deploy/shop.{NAMESPACE} --live\n    \
         meshctl logs -n {NAMESPACE} deploy/shop -f\n\
         Ctrl-C ends it.\n",
        forward.address()
    ))?;
    forward.serve().await?;
    Ok(0)
}

/// What a demo in a cluster must show.
async fn check(cluster: &Cluster, forward: &Forward) -> anyhow::Result<Vec<Held>> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let pods = cluster.list(&path).await?;
    let is_meshed = |pod: &&Value| text(&pod["metadata"]["labels"], "mesh.dev/proxy") == "sidecar";
    let meshed = pods.iter().filter(is_meshed).count();
    let mut held = vec![Held {
        name: "every pod has a sidecar",
        ok: meshed == pods.len() && meshed > 0,
        figure: format!("{meshed} of {}", pods.len()),
    }];
    // The shop calls as soon as it runs: a version that has no pod yet fails what is its share.
    let all_answer = |state: &Value| VERSIONS.iter().all(|one| state["versions"][one].is_u64());
    let begun = state_once(forward, all_answer).await?;
    let enough = |state: &Value| count(&state["calls"]) >= count(&begun["calls"]) + ENOUGH;
    let state = state_once(forward, enough).await?;
    held.extend(judge(&begun, &state));
    Ok(held)
}

/// The shop's counts once they are so, or as they are after [`CALLS`].
async fn state_once(forward: &Forward, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let limit = Instant::now() + CALLS;
    loop {
        let state = forward.get("/api/state").await?;
        if is_so(&state) || Instant::now() > limit {
            return Ok(state);
        }
        sleep(LOOK).await;
    }
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// What the shop counted since it had `begun`.
fn judge(begun: &Value, state: &Value) -> Vec<Held> {
    let since = |path: &str| {
        let of = |state: &Value| state.pointer(path).map_or(0, count);
        of(state).saturating_sub(of(begun))
    };
    let (calls, failed) = (since("/calls"), since("/failed"));
    let of = |version: &str| since(&format!("/versions/{version}"));
    let beside = state["beside"].as_object();
    let answers: Vec<&str> = beside
        .into_iter()
        .flatten()
        .map(|(protocol, _)| protocol.as_str())
        .collect();
    vec![
        Held {
            name: "no call fails",
            ok: calls >= ENOUGH && failed == 0,
            figure: format!("{failed} of {calls}"),
        },
        Held {
            name: "the canary gets its share",
            // 10 % of 300: both bounds are beyond one in a million.
            ok: of("v2") >= calls / 50 && of("v2") <= calls / 4 && of("v1") > 0,
            figure: format!("v1 {}, v2 {}", of("v1"), of("v2")),
        },
        Held {
            name: "gRPC, WebSocket and TCP answer",
            ok: ["TCP", "WebSocket", "gRPC"]
                .iter()
                .all(|one| answers.contains(one)),
            figure: answers.join(", "),
        },
    ]
}

fn report(held: &[Held]) -> String {
    let symbols = Symbols::of_locale();
    let line = |one: &Held| {
        let sign = if one.ok {
            Tone::Good.paint(symbols.good())
        } else {
            Tone::Bad.paint(symbols.bad())
        };
        format!("{sign} {}: {}\n", one.name, one.figure)
    };
    held.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_shop_counted_is_judged() {
        let state = |failed: u64, v2: u64| {
            json!({
                "calls": 300, "failed": failed, "versions": {"v1": 300 - v2, "v2": v2},
                "beside": {"gRPC": "1", "WebSocket": "1", "TCP": "1"},
            })
        };
        let ok = |begun: &Value, state: &Value| -> Vec<bool> {
            judge(begun, state).iter().map(|one| one.ok).collect()
        };
        let nothing = json!({});
        assert_eq!(ok(&nothing, &state(0, 30)), [true, true, true]);
        assert_eq!(ok(&nothing, &state(1, 0)), [false, false, true]);
        assert_eq!(ok(&nothing, &nothing), [false, false, false]);
        let begun = json!({ "calls": 20, "failed": 2, "versions": {"v1": 17, "v2": 1} });
        let ended = json!({
            "calls": 320, "failed": 2, "versions": {"v1": 287, "v2": 31},
            "beside": {"gRPC": "1", "WebSocket": "1", "TCP": "1"},
        });
        assert_eq!(ok(&begun, &ended), [true, true, true]);
        assert!(!ok(&json!({ "calls": 200 }), &ended)[0], "too few calls");
    }
}
