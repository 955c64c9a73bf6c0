//! What stands before an installation, asked of a real API server: its version, and the Gateway API.
//! The versions that it says it is of come from a proxy before it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use e2e::apiserver::ApiServer;
use e2e::backend::Backend;
use e2e::demo::meshctl;
use e2e::figure::record;
use e2e::process::{Ended, output, wait_until};
use e2e::replica::{Place, SOON, gateway_definitions};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::{Value, json};

const COMMAND: Duration = Duration::from_mins(2);
const BUNDLE: &str = "gateway.networking.k8s.io/bundle-version";

/// An API server that says it is of another version.
struct Posing {
    kubeconfig: tempfile::NamedTempFile,
    _front: Backend,
}

impl Posing {
    /// Before `server`, as of version 1.`minor`.
    async fn start(server: &ApiServer, minor: &'static str) -> anyhow::Result<Self> {
        let client = server.client().await?;
        let front = Backend::start(move |stream, _| {
            let client = client.clone();
            async move {
                let answer = |request| answer(client.clone(), minor, request);
                let service = hyper::service::service_fn(answer);
                let connection = hyper::server::conn::http1::Builder::new();
                let connection = connection.serve_connection(TokioIo::new(stream), service);
                Ok(connection.await?)
            }
        })
        .await?;
        let cluster = json!({"server": format!("http://127.0.0.1:{}", front.port)});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "posing",
            "clusters": [{"name": "posing", "cluster": cluster}],
            "users": [{"name": "posing", "user": {}}],
            "contexts": [{"name": "posing", "context": {"cluster": "posing", "user": "posing"}}],
        });
        let kubeconfig = tempfile::NamedTempFile::with_suffix(".json")?;
        std::fs::write(&kubeconfig, config.to_string())?;
        Ok(Self {
            kubeconfig,
            _front: front,
        })
    }

    async fn meshctl(&self, words: &[&str]) -> anyhow::Result<Ended> {
        let mut command = Command::new(meshctl()?);
        command.args(words).arg("--kubeconfig");
        output(command.arg(self.kubeconfig.path()), COMMAND).await
    }

    /// The findings of a check before an installation, by its name.
    async fn findings(&self, check: &str) -> anyhow::Result<Vec<Value>> {
        let ended = self.meshctl(&["check", "--pre", "-o", "json"]).await?;
        let report: Value =
            serde_json::from_str(&ended.out).with_context(|| format!("{ended:?}"))?;
        let checks = report["checks"].as_array().context("no checks")?;
        let found = checks.iter().find(|one| one["check"] == check);
        let found = found.with_context(|| format!("no {check} in {report}"))?;
        Ok(found["findings"].as_array().cloned().unwrap_or_default())
    }
}

async fn answer(
    client: kube::Client,
    minor: &'static str,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let is_version = head.uri.path() == "/version";
    let mut forwarded = Request::builder().method(head.method).uri(head.uri);
    for name in ["accept", "content-type"] {
        if let Some(value) = head.headers.get(name) {
            forwarded = forwarded.header(name, value);
        }
    }
    let body = body.collect().await?.to_bytes();
    let answered = client
        .send(forwarded.body(Body::from(body.to_vec()))?)
        .await?;
    let status = answered.status();
    let kind = answered.headers().get("content-type").cloned();
    let mut body = answered.into_body().collect().await?.to_bytes();
    if is_version {
        let mut version: Value = serde_json::from_slice(&body)?;
        version["minor"] = minor.into();
        version["gitVersion"] = format!("v1.{minor}.0").into();
        body = version.to_string().into();
    }
    let mut answer = Response::builder().status(status);
    if let Some(kind) = kind {
        answer = answer.header("content-type", kind);
    }
    Ok(answer.body(Full::new(body))?)
}

async fn is_there(server: &ApiServer, path: &str) -> anyhow::Result<bool> {
    let asked = Request::get(path).body(Vec::new())?;
    match server.client().await?.request::<Value>(asked).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_of_an_unsupported_version_is_refused() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let mut said = Vec::new();
    for minor in ["30", "28+", "x"] {
        let old = Posing::start(&server, minor).await?;
        for words in [&["install"][..], &["install", "--profile", "ha", "--cni"]] {
            let refused = old.meshctl(words).await?;
            ensure!(refused.status.code() == Some(1), "{minor}: {refused:?}");
            ensure!(refused.out.is_empty(), "{minor}: {}", refused.out);
            ensure!(
                refused.error.contains(&format!("1.{minor}"))
                    && refused.error.contains("1.31 or newer")
                    && refused.error.contains("nothing was changed"),
                "{minor}: {}",
                refused.error
            );
            said.push(refused.error);
        }
        let checked = old.meshctl(&["check", "--pre"]).await?;
        ensure!(checked.status.code() == Some(1), "{minor}: {checked:?}");
        ensure!(
            checked.out.contains("upgrade it to 1.31 or newer"),
            "{minor}: {}",
            checked.out
        );
    }
    for path in [
        "/api/v1/namespaces/mesh-system",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/meshes.mesh.dev",
    ] {
        ensure!(!is_there(&server, path).await?, "{path} is there");
    }
    // It is the version that is refused, not what stands before the server.
    let known = Posing::start(&server, "31").await?;
    ensure!(known.findings("cluster-version").await?.is_empty());
    let new = Posing::start(&server, "99").await?;
    let found = new.findings("cluster-version").await?;
    ensure!(
        found.len() == 1 && found[0]["severity"] == "warning",
        "{found:?}"
    );
    record(
        "apiserver-version",
        format!("{} of 6 installations refused, nothing made", said.len()),
    );
    Ok(())
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_without_the_gateway_api_gets_the_command_for_it() -> anyhow::Result<()> {
    let server = ApiServer::start().await?;
    let front = Posing::start(&server, "35").await?;
    let definitions = gateway_definitions()?;
    let version = definitions
        .iter()
        .find_map(|one| one["metadata"]["annotations"][BUNDLE].as_str())
        .context("no version")?;
    let command = format!(
        "kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/download/{version}/standard-install.yaml"
    );
    let found = front.findings("gateway-api").await?;
    ensure!(found.len() == 1 && found[0]["fix"] == *command, "{found:?}");
    // An installation does without, and says the same. There is no node that could run it.
    let install = ["install", "--wait=false", "-o", "json"];
    let installed = front.meshctl(&install).await?;
    ensure!(installed.status.success(), "{installed:?}");
    ensure!(installed.error.contains(&command), "{}", installed.error);
    let outcome: Value = serde_json::from_str(&installed.out)?;
    ensure!(outcome["ready"] == false, "{outcome}");

    for (said, count, fix) in [
        ("v1.5.1", 1, Some(command.as_str())),
        ("v1.7.0", 1, None),
        (version, 0, None),
    ] {
        define(&server, &definitions, said).await?;
        let found = front.findings("gateway-api").await?;
        ensure!(found.len() == count, "{said}: {found:?}");
        let is_command = |one: &Value| one["fix"] == *command;
        ensure!(
            found.iter().all(|one| is_command(one) == fix.is_some()),
            "{said}: {found:?}"
        );
        let again = front.meshctl(&install).await?;
        ensure!(
            again.error.matches(&command).count() == if fix.is_some() { count } else { 0 },
            "{said}: {}",
            again.error
        );
    }
    Ok(())
}

/// Applies the Gateway API's definitions, as of a version.
async fn define(server: &ApiServer, definitions: &[Value], said: &str) -> anyhow::Result<()> {
    let client = server.client().await?;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for definition in definitions
        .iter()
        .filter(|one| one["kind"] == "CustomResourceDefinition")
    {
        let mut definition = definition.clone();
        definition["metadata"]["annotations"][BUNDLE] = said.into();
        let name = definition["metadata"]["name"].as_str().context("a name")?;
        let at = format!("{path}/{name}?fieldManager=case&force=true");
        let applied = Request::patch(at)
            .header("content-type", "application/apply-patch+yaml")
            .body(definition.to_string().into_bytes())?;
        client.request::<Value>(applied).await?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "builds kube-apiserver: cargo xtask e2e"]
async fn apiserver_counts_exceptions_that_are_overdue() -> anyhow::Result<()> {
    const METRIC: &str = "mesh_control_exceptions_overdue";
    let place = Place::start(&e2e::apiserver::Settings::default()).await?;
    let replica = e2e::replica::Replica::start(&place, "one", 86_400).await?;
    let policy = |name: &str, spec: &Value| {
        json!({
            "apiVersion": "mesh.dev/v1alpha1", "kind": "MutualTLSPolicy",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
        })
    };
    let port = |until: &str| {
        json!({
            "selector": {"matchLabels": {"app": "shop"}}, "mode": "Strict",
            "ports": {"9100": {"mode": "Disabled", "until": until}},
        })
    };
    place.apply(policy("open", &port("2099-12-31"))).await?;
    place
        .await_condition(&policy("open", &json!({})), "Accepted=True Accepted")
        .await?;
    ensure!(replica.sample(METRIC).await? == 0, "none is overdue yet");
    let names = async |wanted: bool| {
        let checked = replica.run(&["check", "--only", "policies"]).await?;
        let said = "MutualTLSPolicy shop/open at port 9100 was to end by 2020-01-31";
        ensure!(checked.out.contains(said) == wanted, "{checked:?}");
        ensure!(checked.status.success() != wanted, "{checked:?}");
        anyhow::Ok(())
    };
    names(false).await?;

    place.apply(policy("open", &port("2020-01-31"))).await?;
    let counted = || async { Ok(replica.sample(METRIC).await? == 1) };
    wait_until("the overdue exception is counted", SOON, counted).await?;
    names(true).await?;

    place.apply(policy("open", &port("2099-12-31"))).await?;
    let gone = || async { Ok(replica.sample(METRIC).await? == 0) };
    wait_until("the exception has time again", SOON, gone).await?;
    names(false).await
}
