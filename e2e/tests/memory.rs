//! What idle connections cost, and what a stalled stream costs others.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use e2e::backend::http;
use e2e::figure::{percentile, record};
use e2e::frame::{Client, Frame, flag, kind, request};
use e2e::load::{Version, paced};
use e2e::mesh::Mesh;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Idle connections.
const IDLE: u64 = 1000;
/// Time for buffers to be given back.
const SETTLE: Duration = Duration::from_secs(3);
/// Time for the memory of a burst to be given back, and how much of what was there before may stay.
const BACK: Duration = Duration::from_mins(1);
const STAYS: u64 = 10;
/// Bytes of the stream that stalls.
const STALLED: usize = 200 * 1024 * 1024;

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn idle_connections_are_cheap() -> anyhow::Result<()> {
    // Twice the bound: other tests may run on the machine.
    let first = http1(2 * 8 * 1024).await;
    http2(2 * 16 * 1024).await.and(first)
}

#[tokio::test]
#[ignore = "a proof: cargo xtask prove idle_memory"]
async fn prove_idle_memory() -> anyhow::Result<()> {
    let first = http1(8 * 1024).await;
    http2(16 * 1024).await.and(first)
}

async fn http1(most: u64) -> anyhow::Result<()> {
    let app = http().await?;
    let (mesh, address) = Mesh::pair("http", app.port).await?;
    let ask = || async move {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET /1 HTTP/1.1\r\nhost: echo\r\n\r\n")
            .await?;
        let mut answer = [0; 1024];
        let read = stream.read(&mut answer).await?;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "{read} bytes");
        anyhow::Ok(stream)
    };
    let warm = ask().await?;
    let before = mesh.resident("caller")?;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(ask().await?);
    }
    drop(warm);
    judge("idle-http1", &mesh, before, most).await?;
    drop(idle);
    gives_back("burst-http1", &mesh, before).await
}

async fn http2(most: u64) -> anyhow::Result<()> {
    let app = http().await?;
    let (mesh, address) = Mesh::pair("kubernetes.io/h2c", app.port).await?;
    let ask = || async move {
        let mut client = Client::connect(address).await?;
        let whole = flag::END_HEADERS | flag::END_STREAM;
        let head = Frame::new(kind::HEADERS, whole, 1, request("GET", "/1", "echo"));
        client.send(&[head]).await?;
        loop {
            let frame = client.reader.next().await?.context("closed")?;
            ensure!(
                frame.kind != kind::RST_STREAM && frame.kind != kind::GOAWAY,
                "{frame:?}"
            );
            if frame.stream == 1 && frame.has(flag::END_STREAM) {
                return anyhow::Ok(client);
            }
        }
    };
    let warm = ask().await?;
    let before = mesh.resident("caller")?;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(ask().await?);
    }
    drop(warm);
    judge("idle-http2", &mesh, before, most).await?;
    drop(idle);
    gives_back("burst-http2", &mesh, before).await
}

async fn judge(case: &str, mesh: &Mesh, before: u64, most: u64) -> anyhow::Result<()> {
    tokio::time::sleep(SETTLE).await;
    let after = mesh.resident("caller")?;
    let each = after.saturating_sub(before) * 1024 / IDLE;
    record(
        case,
        format!(
            "{each} bytes per idle connection ({IDLE}; VmRSS {before} to {after} KiB), at most {most}"
        ),
    );
    ensure!(each <= most, "{each} bytes per idle connection");
    Ok(())
}

/// What a burst of connections needed goes back to the system.
async fn gives_back(case: &str, mesh: &Mesh, before: u64) -> anyhow::Result<()> {
    let most = before + before * STAYS / 100;
    let began = Instant::now();
    let mut now = mesh.resident("caller")?;
    while now > most && began.elapsed() < BACK {
        tokio::time::sleep(Duration::from_secs(1)).await;
        now = mesh.resident("caller")?;
    }
    let taken = began.elapsed().as_secs();
    record(
        case,
        format!("VmRSS {before} KiB before {IDLE} connections, {now} KiB {taken} s after them"),
    );
    ensure!(now <= most, "{now} KiB after a burst, {before} before it");
    Ok(())
}

#[tokio::test]
#[ignore = "takes a minute: cargo xtask prove stalled"]
async fn prove_stalled_stream_does_not_slow_others() -> anyhow::Result<()> {
    let app = http().await?;
    let (mesh, address) = Mesh::pair("kubernetes.io/h2c", app.port).await?;
    paced(address, Version::Http2, 500, 1000).await?;
    let before = mesh.resident("caller")?;
    let mut ratios = Vec::new();
    for _ in 0..9 {
        let calm = paced(address, Version::Http2, 500, 1000).await?;
        let mut stalled = Client::connect(address).await?;
        let path = format!("/bytes/{STALLED}");
        let whole = flag::END_HEADERS | flag::END_STREAM;
        let head = Frame::new(kind::HEADERS, whole, 1, request("GET", &path, "echo"));
        // The default window fills, and is never opened again.
        stalled.send(&[head]).await?;
        let mut read = 0;
        while read < 65_535 {
            let frame = stalled.reader.next().await?.context("closed")?;
            read += if frame.kind == kind::DATA {
                frame.payload.len()
            } else {
                0
            };
        }
        let beside = paced(address, Version::Http2, 500, 1000).await?;
        ensure!(calm.failed + beside.failed == 0, "{beside:?}");
        ratios.push(beside.latency[1].as_nanos() * 1000 / calm.latency[1].as_nanos().max(1));
    }
    ratios.sort_unstable();
    let median = percentile(&ratios, 50);
    record(
        "stalled-stream",
        format!(
            "small requests' p99 x {}.{:03} beside a stalled stream of {STALLED} bytes (median of 9 rounds); \
             VmRSS of the caller's sidecar grew by {} KiB",
            median / 1000,
            median % 1000,
            mesh.resident("caller")?.saturating_sub(before)
        ),
    );
    ensure!(median <= 2000, "{ratios:?} permille");
    Ok(())
}
