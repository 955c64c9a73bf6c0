//! Waits until the control plane serves, and says what keeps it from that.

use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::trouble::{Trouble, of_pods, of_replica_sets};
use crate::install::values::Values;
use crate::install::{CONTROL, NAMESPACE, cni, webhook};
use crate::render::note;
use crate::source::cluster::Cluster;
use crate::source::json::{list, text};

/// Waits until every replica of this installation is ready and admission is open.
pub(crate) async fn wait(
    cluster: &Cluster,
    values: &Values,
    deadline: Instant,
) -> anyhow::Result<()> {
    let mut told = String::new();
    let mut known = Vec::new();
    loop {
        let Some(missing) = missing(cluster, values).await? else {
            return Ok(());
        };
        let found = look(cluster, NAMESPACE).await?;
        if missing != told {
            note(&format!("  {missing}"));
            told.clone_from(&missing);
        }
        for trouble in &found {
            // One pod's trouble is told once, though its words change from try to try.
            if !known.contains(&trouble.kind()) {
                note(&format!("  {trouble}"));
                known.push(trouble.kind());
            }
        }
        if Instant::now() >= deadline {
            bail!("{}", failure(cluster, &missing, &found).await);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What is not as it should be yet; `None` if all is.
async fn missing(cluster: &Cluster, values: &Values) -> anyhow::Result<Option<String>> {
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{CONTROL}");
    let deployment = cluster.get(&path).await?.unwrap_or_default();
    if let Some(missing) = replicas(&deployment) {
        return Ok(Some(missing));
    }
    // A node may send requests to a former replica until it is gone, and it answers by what it started with.
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3D{CONTROL}");
    let old = ending(&cluster.list(&path).await?, Timestamp::now());
    if old > 0 {
        return Ok(Some(format!("{CONTROL}: {old} old replicas still end")));
    }
    if values.cni.enabled {
        let path = format!(
            "/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/{}",
            cni::CNI
        );
        let daemon = cluster.get(&path).await?.unwrap_or_default();
        if let Some(missing) = nodes(&daemon) {
            return Ok(Some(missing));
        }
    }
    for (resource, name) in [
        ("mutatingwebhookconfigurations", webhook::INJECTOR),
        ("validatingwebhookconfigurations", webhook::VALIDATOR),
    ] {
        let path = format!("/apis/admissionregistration.k8s.io/v1/{resource}/{name}");
        let configuration = cluster.get(&path).await?.unwrap_or_default();
        let has_bundle = |entry: &Value| !text(&entry["clientConfig"], "caBundle").is_empty();
        if !list(&configuration, "webhooks").iter().all(has_bundle) {
            let what = format!("{name}: the control plane has not put its certificate there yet");
            return Ok(Some(what));
        }
    }
    Ok(None)
}

/// What a Deployment still lacks.
fn replicas(deployment: &Value) -> Option<String> {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let status = &deployment["status"];
    let wanted = number(&deployment["spec"]["replicas"]);
    let is_seen =
        number(&status["observedGeneration"]) >= number(&deployment["metadata"]["generation"]);
    let updated = number(&status["updatedReplicas"]);
    let available = number(&status["availableReplicas"]);
    let all = number(&status["replicas"]);
    if !deployment.is_object() || !is_seen || wanted == 0 {
        return Some(format!("{CONTROL}: not started yet"));
    }
    if updated < wanted || available < wanted {
        let ready = updated.min(available);
        return Some(format!("{CONTROL}: {ready} of {wanted} replicas ready"));
    }
    let old = all.saturating_sub(updated);
    (old > 0).then(|| format!("{CONTROL}: {old} old replicas still end"))
}

/// Pods that are told to end and have time left for it. One that is past its time is on a node that does
/// not answer, and is not waited for.
fn ending(pods: &[Value], now: Timestamp) -> usize {
    let is_ending = |pod: &&Value| {
        let end = text(&pod["metadata"], "deletionTimestamp").parse();
        end.is_ok_and(|end: Timestamp| end >= now)
    };
    pods.iter().filter(is_ending).count()
}

/// What a DaemonSet still lacks.
fn nodes(daemon: &Value) -> Option<String> {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let status = &daemon["status"];
    let is_seen =
        number(&status["observedGeneration"]) >= number(&daemon["metadata"]["generation"]);
    let wanted = number(&status["desiredNumberScheduled"]);
    let ready = number(&status["numberReady"]).min(number(&status["updatedNumberScheduled"]));
    if !daemon.is_object() || !is_seen {
        return Some(format!("{}: not started yet", cni::CNI));
    }
    (ready < wanted).then(|| format!("{}: ready on {ready} of {wanted} nodes", cni::CNI))
}

/// What keeps the pods of a namespace from running.
pub(crate) async fn look(cluster: &Cluster, namespace: &str) -> anyhow::Result<Vec<Trouble>> {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/replicasets");
    let mut troubles = of_replica_sets(&cluster.list(&path).await?);
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    troubles.extend(of_pods(&cluster.list(&path).await?));
    Ok(troubles)
}

/// Everything known, with the last lines of what crashed.
async fn failure(cluster: &Cluster, missing: &str, troubles: &[Trouble]) -> String {
    let mut text = format!("the mesh is applied but not ready: {missing}");
    for trouble in troubles {
        text.extend([format!("\n{trouble}")]);
        let Some((pod, container)) = &trouble.crashed else {
            continue;
        };
        let lines = last_lines(cluster, pod, container).await;
        for line in &lines {
            text.extend([format!("\n    | {line}")]);
        }
    }
    text.push_str("\nMend it and run the same command again; what is applied already is kept");
    text
}

/// The last lines that a container wrote, of its run before this one if there was one.
async fn last_lines(cluster: &Cluster, pod: &str, container: &str) -> Vec<String> {
    let path = format!(
        "/api/v1/namespaces/{NAMESPACE}/pods/{pod}/log?container={container}&tailLines={LINES}"
    );
    for path in [format!("{path}&previous=true"), path] {
        let Ok(request) = hyper::Request::get(&path).body(Vec::new()) else {
            continue;
        };
        if let Ok(log) = cluster.client.request_text(request).await
            && !log.is_empty()
        {
            return log.lines().map(str::to_owned).collect();
        }
    }
    Vec::new()
}

/// Lines of a log that are shown.
const LINES: usize = 10;
/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn former_replicas_are_waited_for_while_they_have_time() {
        let pod = |end: Value| json!({"metadata": {"deletionTimestamp": end}});
        let pods = [
            pod(Value::Null),
            pod("2026-01-01T00:00:29Z".into()),
            pod("2026-01-01T00:00:31Z".into()),
        ];
        let now = "2026-01-01T00:00:30Z".parse().unwrap();
        assert_eq!(ending(&pods, now), 1);
    }

    #[test]
    fn a_deployment_is_ready_when_every_replica_is_new_and_available() {
        let deployment = |generation: u64, status: Value| {
            let metadata = json!({"generation": 2});
            let mut status = status;
            status["observedGeneration"] = generation.into();
            json!({"metadata": metadata, "spec": {"replicas": 2}, "status": status})
        };
        let status = |updated: u64, available: u64, all: u64| json!({"updatedReplicas": updated, "availableReplicas": available, "replicas": all});
        for (given, expected) in [
            (Value::Null, Some("mesh-control: not started yet")),
            (
                deployment(1, status(2, 2, 2)),
                Some("mesh-control: not started yet"),
            ),
            (
                deployment(2, status(1, 2, 2)),
                Some("mesh-control: 1 of 2 replicas ready"),
            ),
            (
                deployment(2, status(2, 2, 3)),
                Some("mesh-control: 1 old replicas still end"),
            ),
            (deployment(2, status(2, 2, 2)), None),
        ] {
            assert_eq!(replicas(&given).as_deref(), expected);
        }
    }

    #[test]
    fn a_daemon_is_ready_on_every_node() {
        let daemon = |ready: u64| {
            json!({"metadata": {"generation": 1}, "status": {
                "observedGeneration": 1, "desiredNumberScheduled": 2, "numberReady": ready,
                "updatedNumberScheduled": 2,
            }})
        };
        assert_eq!(
            nodes(&daemon(1)).as_deref(),
            Some("mesh-cni: ready on 1 of 2 nodes")
        );
        assert_eq!(nodes(&daemon(2)), None);
    }
}
