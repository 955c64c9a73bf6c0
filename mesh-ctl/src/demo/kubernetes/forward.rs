//! A port of a pod on 127.0.0.1, for a browser.

use std::net::SocketAddr;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::objects::NAMESPACE;
use crate::render::note;
use crate::source::cluster::{Cluster, reason};
use crate::source::http::{Connection, get};
use crate::source::json::text;

/// Connections at once; a browser opens six.
const MAX_CONNECTIONS: usize = 64;

/// A listener that leads to a pod.
pub(super) struct Forward {
    api: Api<Pod>,
    pod: String,
    port: u16,
    listener: TcpListener,
    address: SocketAddr,
}

impl Forward {
    /// A free port that leads to `port` of the first pod of an app.
    pub(super) async fn open(cluster: &Cluster, app: &str, port: u16) -> anyhow::Result<Self> {
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), NAMESPACE);
        let chosen = ListParams::default().labels(&format!("app={app}"));
        let pods = api.list(&chosen).await.map_err(reason)?;
        let pod = pods.items.into_iter().find_map(|pod| pod.metadata.name);
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self {
            pod: pod.with_context(|| format!("no pod of {app} runs"))?,
            api,
            port,
            address: listener.local_addr()?,
            listener,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for as long as it is polled.
    pub(super) async fn serve(&self) -> anyhow::Result<()> {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if open.len() < MAX_CONNECTIONS => {
                    let (stream, _) = accepted?;
                    open.spawn(carry(self.api.clone(), self.pod.clone(), self.port, stream));
                }
                Some(ended) = open.join_next() => {
                    if let Ok(Err(error)) = ended {
                        note(&format!("{error:#}"));
                    }
                }
            }
        }
    }

    /// Asks the app for JSON at `path`.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let mut forward = self
            .api
            .portforward(&self.pod, &[self.port])
            .await
            .map_err(reason)?;
        let stream = forward
            .take_stream(self.port)
            .context("no stream to forward")?;
        let mut connection = Connection::over(stream).await?;
        let answer = connection.exchange(get(path, "shop")?).await?;
        let json = answer.json()?;
        anyhow::ensure!(
            answer.status == 200,
            "the shop answers {}: {}",
            answer.status,
            text(&json, "error")
        );
        Ok(json)
    }
}

async fn carry(api: Api<Pod>, pod: String, port: u16, mut stream: TcpStream) -> anyhow::Result<()> {
    let opened = api.portforward(&pod, &[port]).await.map_err(reason);
    let mut forward = opened.with_context(|| format!("cannot reach {pod}"))?;
    let mut there = forward.take_stream(port).context("no stream to forward")?;
    // Either end may go at any time: that is how browsers close.
    copy_bidirectional(&mut stream, &mut there).await.ok();
    Ok(())
}
