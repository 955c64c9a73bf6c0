//! A sidecar asked by exec into its pod: for when the control plane cannot be asked.

use anyhow::{Context, bail};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Cluster, reason};
use crate::source::http::Answer;

/// The container that is asked.
const CONTAINER: &str = "mesh-proxy";
/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Asks the sidecar of a pod for `path`; a body goes to its standard input.
pub(crate) async fn ask(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    path: &str,
    body: &Bytes,
) -> anyhow::Result<Answer> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let mut command = vec!["/usr/local/bin/mesh-proxy", "admin", path];
    if !body.is_empty() {
        command.extend(["--body", "-"]);
    }
    let parameters = AttachParams::default()
        .container(CONTAINER)
        .stdin(!body.is_empty());
    let mut process = api
        .exec(pod, command, &parameters)
        .await
        .map_err(reason)
        .with_context(|| {
            format!("cannot exec into the container {CONTAINER} of {namespace}/{pod}")
        })?;
    if let Some(mut stdin) = process.stdin() {
        stdin.write_all(body).await?;
        stdin.shutdown().await?;
    }
    let mut text = Vec::new();
    if let Some(stdout) = process.stdout() {
        stdout.take(MAX_ANSWER).read_to_end(&mut text).await?;
    }
    let mut fault = String::new();
    if let Some(stderr) = process.stderr() {
        stderr.take(MAX_ANSWER).read_to_string(&mut fault).await?;
    }
    process.join().await.context("exec broke off")?;
    if text.is_empty() {
        bail!(
            "{namespace}/{pod} answered nothing to {path}: {}",
            fault.trim()
        );
    }
    Ok(Answer {
        status: 200,
        headers: hyper::HeaderMap::new(),
        body: text.into(),
        trailers: None,
    })
}
