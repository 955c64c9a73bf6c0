//! A Kubernetes cluster with the mesh in it, as cases use it: objects, pods, calls, counted load.
//!
//! `cargo xtask e2e` makes the cluster and runs the cases in its network, with `KUBECONFIG` set; so does
//! `cargo xtask cluster exec -- cargo test -p e2e --test cluster -- --ignored`. May use `demo`, `figure`
//! and `process`.

pub mod app;
pub mod load;
pub mod node;
pub mod wire;

use std::ffi::OsStr;
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::figure::{failed, say};
use crate::process::{Ended, output, wait_until};

/// Names the file by which programs reach the cluster.
const KUBECONFIG: &str = "KUBECONFIG";
/// Keeps what a case made, for a look at it.
const KEEP: &str = "MESH_KEEP";
/// Longest wait for a command that should take seconds.
const COMMAND: Duration = Duration::from_mins(2);
/// Longest wait for pods to be ready.
pub const READY: Duration = Duration::from_mins(2);

/// A namespace of a case, with the cluster that it is in. Dropping it removes all that is in it.
pub struct Namespace {
    name: String,
}

/// Runs `case` in a namespace of its own, with pods that join the mesh if `meshed`. If it fails, what
/// the namespace had is printed first.
///
/// # Errors
///
/// What the case returns, or why there is no namespace.
pub async fn within<F>(
    name: &str,
    meshed: bool,
    case: impl FnOnce(Namespace) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let namespace = Namespace::create(name, meshed).await?;
    let guard = Namespace {
        name: name.to_owned(),
    };
    let ended = case(namespace).await;
    if let Err(error) = &ended {
        guard.tell_all().await;
        failed(name, error);
    }
    guard.remove().await?;
    ended
}

/// kubectl with these words, run to its end.
///
/// # Errors
///
/// If there is no cluster, it cannot be started, or takes too long.
pub async fn kubectl<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> anyhow::Result<Ended> {
    output(&mut command(words)?, COMMAND).await
}

/// kubectl with these words, not started.
///
/// # Errors
///
/// If there is no cluster.
pub fn command<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> anyhow::Result<Command> {
    ensure!(
        std::env::var_os(KUBECONFIG).is_some(),
        "no cluster: cargo xtask e2e makes one, or cargo xtask cluster up and exec"
    );
    let mut command = Command::new("kubectl");
    command.args(words);
    Ok(command)
}

/// Makes the objects of these manifests what they say, with the text of the API server if it refuses.
///
/// # Errors
///
/// If one is refused.
pub async fn apply(manifests: &str) -> anyhow::Result<()> {
    let mut file = tempfile::NamedTempFile::with_suffix(".yaml")?;
    file.write_all(manifests.as_bytes())?;
    let path = file.path().as_os_str();
    let words = ["apply", "--server-side", "--force-conflicts", "--filename"].map(OsStr::new);
    let ended = kubectl(words.into_iter().chain([path])).await?;
    ended.good().context("kubectl apply").map(drop)
}

/// An object as it is.
///
/// # Errors
///
/// If it is not there.
pub async fn read(namespace: &str, object: &str) -> anyhow::Result<Value> {
    let words = ["get", object, "--namespace", namespace, "--output", "json"];
    let said = kubectl(words).await?.good()?;
    serde_json::from_str(&said).with_context(|| format!("{object} as JSON"))
}

impl Namespace {
    async fn create(name: &str, meshed: bool) -> anyhow::Result<Self> {
        // What an earlier run left is not part of this case.
        let words = ["delete", "namespace", name, "--ignore-not-found"];
        kubectl(words).await?.good()?;
        let inject = if meshed { "enabled" } else { "disabled" };
        let labels = format!("{{ mesh.dev/inject: {inject} }}");
        apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name}, labels: {labels} }}\n"
        ))
        .await?;
        Ok(Self {
            name: name.to_owned(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Applies manifests whose objects name no namespace.
    ///
    /// # Errors
    ///
    /// If one is refused.
    pub async fn apply(&self, manifests: &str) -> anyhow::Result<()> {
        let mut file = tempfile::NamedTempFile::with_suffix(".yaml")?;
        file.write_all(manifests.as_bytes())?;
        let path = file.path().as_os_str();
        let words = ["apply", "--server-side", "--force-conflicts", "--filename"].map(OsStr::new);
        let ended = self.kubectl(words.into_iter().chain([path])).await?;
        ended.good().context("kubectl apply").map(drop)
    }

    /// kubectl in this namespace.
    ///
    /// # Errors
    ///
    /// As [`kubectl`].
    pub async fn kubectl<S: AsRef<OsStr>>(
        &self,
        words: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<Ended> {
        let mut command = command(["--namespace", &self.name])?;
        command.args(words);
        output(&mut command, COMMAND).await
    }

    /// Waits until a Deployment or the like has all its pods ready and none of an older kind.
    ///
    /// # Errors
    ///
    /// If it has not in time.
    pub async fn wait_rollout(&self, object: &str) -> anyhow::Result<()> {
        let limit = format!("--timeout={}s", READY.as_secs());
        let words = ["rollout", "status", object, &limit];
        let ended = self.kubectl(words).await?;
        ended
            .good()
            .with_context(|| format!("{object} is not ready"))
            .map(drop)
    }

    /// Waits until an object has a condition of this type, status and reason, in `status.parents` or in
    /// `status.conditions`.
    ///
    /// # Errors
    ///
    /// If it has not in time; the message has what it has.
    pub async fn wait_condition(
        &self,
        object: &str,
        [kind, status, reason]: [&str; 3],
    ) -> anyhow::Result<()> {
        let last = std::cell::RefCell::new(Vec::new());
        let ask = || async {
            let found = conditions(&read(&self.name, object).await?);
            let is = |condition: &Value| {
                condition["type"] == kind
                    && condition["status"] == status
                    && (reason.is_empty() || condition["reason"] == reason)
            };
            let fits = found.iter().any(is);
            last.replace(found);
            Ok(fits)
        };
        let what = format!("{object}: {kind}={status} {reason}");
        let waited = wait_until(&what, Duration::from_secs(30), ask).await;
        waited.with_context(|| format!("it has {:?}", last.borrow()))
    }

    /// Names of the pods with this label that are neither ending nor ended.
    ///
    /// # Errors
    ///
    /// If they cannot be listed.
    pub async fn pods(&self, selector: &str) -> anyhow::Result<Vec<String>> {
        let list = self.list("pods", selector).await?;
        let name = |pod: &Value| pod["metadata"]["name"].as_str().map(ToOwned::to_owned);
        let alive = list.iter().filter(|pod| {
            pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running"
        });
        Ok(alive.filter_map(name).collect())
    }

    /// Objects of a kind with this label.
    ///
    /// # Errors
    ///
    /// If they cannot be listed.
    pub async fn list(&self, kind: &str, selector: &str) -> anyhow::Result<Vec<Value>> {
        let words = ["get", kind, "--selector", selector, "--output", "json"];
        let said = self.kubectl(words).await?.good()?;
        let list: Value = serde_json::from_str(&said)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// A program in a container of a pod (`name`, or `deployment/name`).
    ///
    /// # Errors
    ///
    /// If it ends otherwise than with 0.
    pub async fn exec(&self, pod: &str, container: &str, words: &[&str]) -> anyhow::Result<String> {
        let exec = ["exec", pod, "--container", container, "--"];
        let ended = self.kubectl(exec.iter().chain(words)).await?;
        ended.good().with_context(|| format!("{words:?} in {pod}"))
    }

    /// What a container printed.
    ///
    /// # Errors
    ///
    /// If there is no such container.
    pub async fn logs(&self, pod: &str, container: &str) -> anyhow::Result<String> {
        let words = ["logs", pod, "--container", container];
        self.kubectl(words).await?.good()
    }

    /// Prints what is there and what it said: a case failed.
    async fn tell_all(&self) {
        say(format!("what was in namespace {}:", self.name));
        let looks: [&[&str]; 4] = [
            &["get", "all,endpointslices", "--output", "wide"],
            &["get", "events", "--sort-by", ".lastTimestamp"],
            &["describe", "pods"],
            &[
                "logs",
                "--selector",
                "app",
                "--all-containers",
                "--prefix",
                "--tail",
                "40",
                "--ignore-errors",
            ],
        ];
        for look in looks {
            let said = self.kubectl(look).await;
            let said = said.map_or_else(
                |error| format!("{error:#}"),
                |ended| ended.out + &ended.error,
            );
            println!("--- kubectl {}\n{said}", look.join(" "));
        }
    }

    async fn remove(&self) -> anyhow::Result<()> {
        if std::env::var_os(KEEP).is_some() {
            say(format!("namespace {} is kept", self.name));
            return Ok(());
        }
        let words = ["delete", "namespace", &self.name, "--wait=false"];
        kubectl(words).await?.good().map(drop)
    }
}

/// All conditions of an object: its own and those of each parent.
fn conditions(object: &Value) -> Vec<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let status = &object["status"];
    let of_parents = list(&status["parents"]);
    let of_parents = of_parents
        .iter()
        .flat_map(|parent| list(&parent["conditions"]));
    list(&status["conditions"])
        .into_iter()
        .chain(of_parents)
        .collect()
}

/// The metrics of a proxy, by its pod.
///
/// # Errors
///
/// If the proxy does not tell them.
pub async fn metrics(namespace: &Namespace, pod: &str) -> anyhow::Result<String> {
    let at = format!(
        "/api/v1/namespaces/{}/pods/{pod}:15020/proxy/metrics",
        namespace.name()
    );
    kubectl(["get", "--raw", &at]).await?.good()
}

/// The sum of a metric's series that have all of these labels, each as `name="value"`.
///
/// # Errors
///
/// If a value is no number.
pub fn sum(metrics: &str, name: &str, labels: &[&str]) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let of = series.split('{').next().unwrap_or_default();
        if of == name && labels.iter().all(|label| series.contains(label)) {
            sum += value.parse::<f64>().with_context(|| line.to_owned())?;
        }
    }
    Ok(sum)
}

/// Fails with `what` unless the two are equal.
///
/// # Errors
///
/// If they are not.
pub fn same(what: &str, found: &Value, expected: impl Into<Value>) -> anyhow::Result<()> {
    let expected = expected.into();
    if *found != expected {
        bail!("{what}: {found} instead of {expected}");
    }
    Ok(())
}
