//! Logs of pods. A sidecar writes its access log and its own log to one stream; lines tell them
//! apart.

use std::collections::VecDeque;

use anyhow::bail;
use futures_util::stream::{BoxStream, select_all};
use futures_util::{AsyncBufReadExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, LogParams};
use serde_json::Value;

use super::filter::Filter;
use super::{Form, Logs, Source, follow};
use crate::command::signal;
use crate::render::{count, stream};
use crate::source::cluster::pod::Wanted;
use crate::source::cluster::{Cluster, reason};
use crate::source::json::{list, text};

/// The container of a sidecar.
const SIDECAR: &str = "mesh-proxy";
/// Pods whose logs are printed at once.
const MAX_PODS: usize = 50;

/// One container of a pod.
struct Container {
    namespace: String,
    pod: String,
    name: String,
}

/// A line with the container it comes from.
type Lines = BoxStream<'static, (usize, String)>;

/// Prints what the pods meant wrote; with `--follow`, what comes.
pub(super) async fn run(logs: &Logs, cluster: &Cluster) -> anyhow::Result<u8> {
    let path = match &logs.namespace {
        Some(namespace) => format!("/api/v1/namespaces/{namespace}/pods"),
        None => "/api/v1/pods".to_owned(),
    };
    let all = cluster.list(&path).await?;
    let pods = choose(&all, logs)?;
    let wanted = logs.wanted();
    let containers: Vec<Container> = pods
        .iter()
        .flat_map(|pod| containers(pod, &wanted))
        .collect();
    if containers.is_empty() {
        bail!(
            "{} has no such log: no sidecar runs in it; --source app",
            logs.workload
        );
    }
    let printer = Printer {
        filter: logs.filter(),
        is_named: containers.len() > 1,
        as_json: logs.output == Form::Json,
        containers,
        wanted,
    };
    let work = printer.print(cluster, logs);
    if !logs.follow {
        return work.await.map(|()| 0);
    }
    tokio::select! {
        ended = work => ended.map(|()| 0),
        _ = signal::stop() => Ok(0),
    }
}

/// What is printed, and how.
struct Printer {
    containers: Vec<Container>,
    wanted: Vec<Source>,
    filter: Filter,
    is_named: bool,
    as_json: bool,
}

impl Printer {
    async fn print(&self, cluster: &Cluster, logs: &Logs) -> anyhow::Result<()> {
        // What is there first, so that `--tail` counts what passes the filters.
        let mut present = self.open(cluster, logs, None).await?;
        let mut last = VecDeque::new();
        while let Some((index, line)) = present.next().await {
            let Some(line) = self.render(index, &line) else {
                continue;
            };
            match logs.tail {
                None => stream(&line)?,
                Some(limit) => {
                    last.push_back(line);
                    if last.len() > limit {
                        last.pop_front();
                    }
                }
            }
        }
        stream(&last.into_iter().collect::<String>())?;
        if !logs.follow {
            return Ok(());
        }
        let mut coming = self.open(cluster, logs, Some(0)).await?;
        while let Some((index, line)) = coming.next().await {
            if let Some(line) = self.render(index, &line) {
                stream(&line)?;
            }
        }
        Ok(())
    }

    /// The lines of every container: those there are, or those that come after the last `tail`.
    async fn open(
        &self,
        cluster: &Cluster,
        logs: &Logs,
        tail: Option<i64>,
    ) -> anyhow::Result<Lines> {
        let mut all: Vec<Lines> = Vec::new();
        for (index, container) in self.containers.iter().enumerate() {
            let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &container.namespace);
            let parameters = LogParams {
                container: Some(container.name.clone()),
                follow: tail.is_some(),
                tail_lines: tail,
                since_seconds: logs
                    .since
                    .map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
                ..LogParams::default()
            };
            // A container that has not started has no log yet.
            let opened = match api.log_stream(&container.pod, &parameters).await {
                Ok(opened) => opened,
                Err(kube::Error::Api(status)) if status.code == 400 => continue,
                Err(error) => return Err(reason(error)),
            };
            let lines = opened.lines().filter_map(async |line| line.ok());
            all.push(lines.map(move |line| (index, line)).boxed());
        }
        // In the order of pods, unless what comes is awaited from all at once.
        Ok(match tail {
            Some(_) => select_all(all).boxed(),
            None => futures_util::stream::iter(all).flatten().boxed(),
        })
    }

    fn render(&self, index: usize, line: &str) -> Option<String> {
        let container = self.containers.get(index)?;
        let source = source(&container.name, line);
        if !self.wanted.contains(&source) && container.name == SIDECAR {
            return None;
        }
        let text = follow::render(source, &self.filter, self.as_json, line)?;
        Some(match self.is_named {
            true => format!("{}/{} {text}\n", container.pod, container.name),
            false => format!("{text}\n"),
        })
    }
}

/// Which log a line belongs to.
fn source(container: &str, line: &str) -> Source {
    if container != SIDECAR {
        return Source::App;
    }
    let exchange: Option<Value> = serde_json::from_str(line).ok();
    match exchange.is_some_and(|line| line["direction"].is_string()) {
        true => Source::Access,
        false => Source::Proxy,
    }
}

/// The pods that are meant.
fn choose<'a>(all: &'a [Value], logs: &Logs) -> anyhow::Result<Vec<&'a Value>> {
    let given = logs.workload.as_str();
    let wanted = Wanted::parse(given);
    let is_meant = |pod: &&Value| {
        let (namespace, name) = names(pod);
        match (&wanted, given.split_once('/')) {
            (Some(wanted), _) if wanted.takes(namespace, name) => true,
            (None, Some((place, bare))) => (place, bare) == (namespace, name),
            (_, None) => given == name,
            _ => false,
        }
    };
    let found: Vec<&Value> = all.iter().filter(is_meant).take(MAX_PODS).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let place = logs
        .namespace
        .as_ref()
        .map(|namespace| format!(" in {namespace}"));
    bail!(
        "no pod {given:?}{} (of {}); pods are named namespace/name, deploy/NAME, pod/NAME, \
         NAME.NAMESPACE",
        place.unwrap_or_default(),
        count(all.len(), "pod")
    )
}

/// The containers of a pod that write the logs wanted. One without a sidecar has its app's alone.
fn containers(pod: &Value, wanted: &[Source]) -> Vec<Container> {
    let (namespace, name) = names(pod);
    let spec = &pod["spec"];
    let own = list(spec, "containers").iter();
    let stays = |one: &&Value| text(one, "restartPolicy") == "Always";
    let all = list(spec, "initContainers").iter().filter(stays).chain(own);
    let all: Vec<&str> = all.map(|container| text(container, "name")).collect();
    let has_sidecar = all.contains(&SIDECAR);
    let is_wanted = |container: &&&str| match **container == SIDECAR {
        true => wanted.iter().any(|source| *source != Source::App),
        false => !has_sidecar || wanted.contains(&Source::App),
    };
    let of = |container: &&str| Container {
        namespace: namespace.to_owned(),
        pod: name.to_owned(),
        name: (*container).to_owned(),
    };
    all.iter().filter(is_wanted).map(of).collect()
}

fn names(pod: &Value) -> (&str, &str) {
    let metadata = &pod["metadata"];
    (text(metadata, "namespace"), text(metadata, "name"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_of_a_sidecar_are_told_apart() {
        for (container, line, expected) in [
            (
                "mesh-proxy",
                r#"{"direction":"inbound","status":200}"#,
                Source::Access,
            ),
            (
                "mesh-proxy",
                "2026-01-01T00:00:00Z INFO ready",
                Source::Proxy,
            ),
            ("app", r#"{"direction":"left"}"#, Source::App),
        ] {
            assert_eq!(source(container, line), expected, "{line}");
        }
    }

    #[test]
    fn containers_follow_the_logs_wanted() {
        let pod = json!({
            "metadata": {"namespace": "n", "name": "p"},
            "spec": {
                "initContainers": [
                    {"name": "mesh-init"},
                    {"name": "mesh-proxy", "restartPolicy": "Always"},
                ],
                "containers": [{"name": "app"}],
            },
        });
        let names = |pod: &Value, wanted: &[Source]| {
            let found = containers(pod, wanted).into_iter();
            found.map(|container| container.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&pod, &[Source::Access]), ["mesh-proxy"]);
        assert_eq!(names(&pod, &[Source::App]), ["app"]);
        assert_eq!(
            names(&pod, &[Source::Proxy, Source::App]),
            ["mesh-proxy", "app"]
        );
        let plain = json!({"metadata": {}, "spec": {"containers": [{"name": "app"}]}});
        assert_eq!(names(&plain, &[Source::Access]), ["app"]);
    }
}
