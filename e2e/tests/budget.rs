//! What a plain request costs in counts, which no other load on the machine changes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use e2e::backend::http;
use e2e::figure::{record, skip};
use e2e::mesh::Mesh;
use e2e::process::{Process, wait_until};
use e2e::tool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Requests that are counted, one after the other on one connection: nothing is batched.
const REQUESTS: u32 = 2_000;
/// System calls of both proxies per request, at most.
const SYSTEM_CALLS: f64 = 24.0;
/// Longest wait for the tracer.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
#[ignore = "needs meshctl as released: cargo xtask e2e"]
async fn system_calls_of_a_request_are_within_budget() -> anyhow::Result<()> {
    let strace = match tool::debian("strace", "strace") {
        Ok(strace) => strace,
        Err(error) => return skip("system-calls", &error),
    };
    let app = http().await?;
    let (mesh, address) = Mesh::pair("http", app.port).await?;
    let mut stream = TcpStream::connect(address).await?;
    for _ in 0..50 {
        ask(&mut stream).await?;
    }
    let proxies = [mesh.proxy("caller")?, mesh.proxy("echo")?];
    let counts = mesh.folder().join("strace.counts");
    let mut command = Command::new(strace);
    command.args(["-f", "-c", "-o"]).arg(&counts);
    for pid in proxies {
        command.args(["-p", &pid.to_string()]);
    }
    let log = mesh.folder().join("strace.log");
    let mut tracer = Process::start("strace", &mut command, &log)?;
    let traced = wait_until("strace sees every thread", PATIENCE, || async move {
        let all = proxies.iter().map(|pid| is_traced(*pid));
        Ok(all
            .collect::<anyhow::Result<Vec<bool>>>()?
            .iter()
            .all(|traced| *traced))
    });
    if let Err(error) = traced.await {
        return skip("system-calls", &error.context(tracer.said()));
    }
    for _ in 0..REQUESTS {
        ask(&mut stream).await?;
    }
    tracer.stop()?;
    let (calls, table) = total(&counts)?;
    let each = f64::from(calls) / f64::from(REQUESTS);
    record(
        "system-calls",
        format!(
            "{each:.2} system calls of both proxies per request ({calls} for {REQUESTS}), at most {SYSTEM_CALLS}"
        ),
    );
    ensure!(each <= SYSTEM_CALLS, "{each:.2} per request:\n{table}");
    Ok(())
}

/// One request, and its answer to the last byte.
async fn ask(stream: &mut TcpStream) -> anyhow::Result<()> {
    stream
        .write_all(b"GET /1 HTTP/1.1\r\nhost: echo\r\n\r\n")
        .await?;
    let mut answer = Vec::with_capacity(2048);
    loop {
        ensure!(stream.read_buf(&mut answer).await? > 0, "closed");
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        ensure!(head.starts_with("http/1.1 200"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.context("no length")?.trim().parse()?;
        if body.len() >= length {
            return Ok(());
        }
    }
}

/// True if every thread of a process has a tracer.
fn is_traced(pid: u32) -> anyhow::Result<bool> {
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        if status.contains("TracerPid:\t0\n") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The sum of the table that strace wrote, and the table.
fn total(counts: &Path) -> anyhow::Result<(u32, String)> {
    let table = std::fs::read_to_string(counts)?;
    let line = table
        .lines()
        .find(|line| line.trim_end().ends_with(" total"));
    let calls = line.and_then(|line| line.split_whitespace().nth(3));
    let calls = calls
        .with_context(|| format!("no sum in {table}"))?
        .parse()?;
    Ok((calls, table))
}
