//! HTTP/2: many streams at once, and apps that speak another version than their callers.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Figure;
use super::grpc::quote;
use crate::demo::mesh::Mesh;
use crate::demo::pricing::Connection;
use crate::demo::pricing::generated::SeenRequest;
use crate::source::http;

/// Connections, and streams that each may have.
const CONNECTIONS: u64 = 10;
const STREAMS: u64 = 100;
/// How long the app holds each call: all of them must be in hand at once.
const HOLD: u32 = 2_000;
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests in each direction of translation.
const TRANSLATED: u64 = 200;

/// 100 streams on each of 10 connections, and a 101st on each that must wait.
pub(super) async fn streams(mesh: &Mesh) -> Figure {
    let address = mesh.outbound("pricing")?;
    let mut calls = JoinSet::new();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let connection = Connection::open(address).await?;
        // The listener's limit is known once it has answered.
        connection.client().quote(quote(0, 0)).await?;
        for item in 0..=STREAMS {
            let mut client = connection.client();
            calls.spawn(async move {
                let answer = timeout(PATIENCE, client.quote(quote(item, HOLD))).await;
                answer.context("no answer in time")??;
                anyhow::Ok(())
            });
        }
        connections.push(connection);
    }
    let asked = CONNECTIONS * (STREAMS + 1);
    let mut good = 0;
    while let Some(call) = calls.join_next().await {
        call?.with_context(|| format!("after {good} of {asked}"))?;
        good += 1;
    }
    let connection = connections.first().context("connections")?;
    let seen = connection.client().seen(SeenRequest {}).await?;
    let most = seen.get_ref().most_at_once;
    ensure!(
        most == CONNECTIONS * STREAMS,
        "{most} at once, not {}",
        CONNECTIONS * STREAMS
    );
    Ok(format!(
        "{good} of {asked} calls answered over {CONNECTIONS} connections, at most {most} in the app at once"
    ))
}

/// A caller's HTTP/2 to an app of HTTP/1.1, and a caller's HTTP/1.1 to an app of HTTP/2.
pub(super) async fn translation(mesh: &Mesh) -> Figure {
    down(mesh).await.context("HTTP/2 to an app of HTTP/1.1")?;
    up(mesh).await.context("HTTP/1.1 to an app of HTTP/2")?;
    Ok(format!(
        "{TRANSLATED} of {TRANSLATED} from HTTP/2 to HTTP/1.1, {TRANSLATED} of {TRANSLATED} from HTTP/1.1 to \
         HTTP/2 with trailers"
    ))
}

async fn down(mesh: &Mesh) -> anyhow::Result<()> {
    let stream = TcpStream::connect(mesh.outbound("catalog")?).await?;
    let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move { connection.await.ok() });
    for number in 0..TRANSLATED {
        let request = hyper::Request::builder()
            .uri(format!("http://catalog/items/{number}"))
            .body(Full::<Bytes>::default())?;
        sender.ready().await?;
        let response = timeout(PATIENCE, sender.send_request(request)).await??;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(status == 200, "{status}: {body:?}");
        let item: serde_json::Value = serde_json::from_slice(&body)?;
        ensure!(item["item"] == number, "another item");
    }
    Ok(())
}

async fn up(mesh: &Mesh) -> anyhow::Result<()> {
    let mut connection = http::Connection::open(mesh.outbound("pricing")?).await?;
    for item in 0..TRANSLATED {
        // A message of gRPC: not compressed, its length, then field 1 as a number.
        let number = u8::try_from(item % 100)?;
        let message = vec![0, 0, 0, 0, 2, 8, number];
        let path = "/mesh.demo.v1.Pricing/Quote";
        let mut request = http::request("POST", path, "pricing", message)?;
        let headers = request.headers_mut();
        headers.insert("content-type", "application/grpc".parse()?);
        headers.insert("te", "trailers".parse()?);
        let answer = timeout(PATIENCE, connection.exchange(request)).await??;
        let error = answer.header("mesh-error");
        ensure!(answer.status == 200, "status {}: {error}", answer.status);
        let status = answer.trailers.as_ref();
        let status = status.and_then(|trailers| trailers.get("grpc-status"));
        ensure!(
            status.is_some_and(|status| status == "0"),
            "grpc-status {status:?} in trailers"
        );
        ensure!(answer.body.len() > 5, "{} bytes", answer.body.len());
    }
    Ok(())
}
