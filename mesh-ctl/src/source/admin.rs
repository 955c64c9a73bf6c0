//! The administrators' door of the control plane: JSON over HTTP/1.1, on a Unix socket of this user
//! or on the remote port of one in a cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use serde_json::Value;

use crate::source::cluster::remote::Remote;
use crate::source::http::{Answer, Connection, request};
use crate::source::state::StateFolder;

/// A client of the control plane.
#[derive(Clone, Debug)]
pub(crate) enum Admin {
    /// By its socket on this machine.
    Socket(PathBuf),
    /// By the remote port of its replicas.
    Remote(Arc<Remote>),
}

impl Admin {
    /// The control plane of `state`.
    pub(crate) fn of(state: &StateFolder) -> Self {
        Self::Socket(state.admin_socket())
    }

    /// The control plane of a cluster.
    pub(crate) fn remote(remote: Arc<Remote>) -> Self {
        Self::Remote(remote)
    }

    /// Asks for `target`.
    pub(crate) async fn get(&self, target: &str) -> anyhow::Result<Value> {
        self.ask("GET", target, Bytes::new()).await?.json()
    }

    /// Posts `body`.
    pub(crate) async fn post(&self, target: &str, body: &Value) -> anyhow::Result<Value> {
        let body = serde_json::to_vec(body)?;
        self.ask("POST", target, Bytes::from(body)).await?.json()
    }

    /// The control plane's clock, in seconds since the epoch; `None` if its answer is not dated.
    pub(crate) async fn clock(&self) -> anyhow::Result<Option<i64>> {
        let answer = self.ask("GET", "/version", Bytes::new()).await?;
        let date = jiff::fmt::rfc2822::parse(answer.header("date"));
        Ok(date.ok().map(|date| date.timestamp().as_second()))
    }

    async fn ask(&self, method: &str, target: &str, body: Bytes) -> anyhow::Result<Answer> {
        let answer = match self {
            Self::Socket(socket) => by_socket(socket, method, target, body).await,
            Self::Remote(remote) => remote.ask(method, target, body).await,
        }?;
        if answer.status >= 400 {
            let text = refusal(&answer);
            bail!(
                "the control plane answers {} to {target}: {text}",
                answer.status
            );
        }
        Ok(answer)
    }
}

async fn by_socket(
    socket: &Path,
    method: &str,
    target: &str,
    body: Bytes,
) -> anyhow::Result<Answer> {
    let mut connection = Connection::open_unix(socket).await.with_context(|| {
        format!(
            "no control plane answers at {}; start one with `meshctl control`, or name its folder \
             with --state or MESH_STATE, or a cluster with --context",
            socket.display()
        )
    })?;
    connection
        .exchange(request(method, target, "localhost", body)?)
        .await
        .with_context(|| format!("{method} {target} on the control plane failed"))
}

/// The reason in an error answer: its `error` field, or its text.
fn refusal(answer: &Answer) -> String {
    match answer
        .json()
        .ok()
        .and_then(|json| Some(json.get("error")?.as_str()?.to_owned()))
    {
        Some(reason) => reason,
        None => String::from_utf8_lossy(&answer.body).trim().to_owned(),
    }
}
