//! `cargo xtask measure`: what an idle mesh-proxy costs.
//!
//! Linux only: memory is read from the kernel's table of processes. May use `dist` and `step`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::dist;

/// Longer than this and it did not start at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two questions whether it is ready: the error of the time to ready.
const PACE: Duration = Duration::from_millis(1);
/// After this a process that does nothing has settled.
const SETTLE: Duration = Duration::from_secs(3);

/// Builds mesh-proxy for shipping, starts it with `bootstrap`, and prints its size, the time to
/// ready and the memory it holds when idle. Without a bootstrap, the size alone.
pub(crate) fn run(bootstrap: Option<&Path>) -> anyhow::Result<()> {
    dist::build()?;
    let binary = dist::binary("mesh-proxy");
    let bytes = std::fs::metadata(&binary)?.len();
    println!("binary    {bytes} bytes ({})", dist::mebibytes(bytes));
    let Some(bootstrap) = bootstrap else {
        println!("time to ready and memory need `--bootstrap`");
        return Ok(());
    };
    let observe = observe(bootstrap)?;
    let mut command = Command::new(&binary);
    command.arg("run").arg(bootstrap).stdin(Stdio::piped());
    let started = Instant::now();
    let mut proxy = command
        .spawn()
        .with_context(|| binary.display().to_string())?;
    let figures = watch(&mut proxy, observe, started);
    // It may have ended by itself; either way it must not stay behind.
    proxy.kill().ok();
    proxy.wait()?;
    let (ready, memory) = figures?;
    println!("ready     {} ms after its start", ready.as_millis());
    println!("VmRSS     {memory}, idle for {} s", SETTLE.as_secs());
    Ok(())
}

/// The address of metrics and readiness that the bootstrap names.
fn observe(bootstrap: &Path) -> anyhow::Result<SocketAddr> {
    let text = std::fs::read(bootstrap).with_context(|| bootstrap.display().to_string())?;
    let value: serde_json::Value = serde_json::from_slice(&text)?;
    let address = value.get("observe").and_then(|address| address.as_str());
    Ok(address
        .context("the bootstrap names no `observe` address")?
        .parse()?)
}

fn watch(
    proxy: &mut Child,
    observe: SocketAddr,
    started: Instant,
) -> anyhow::Result<(Duration, String)> {
    while !is_ready(observe) {
        if let Some(status) = proxy.try_wait()? {
            bail!("the proxy ended with {status}");
        }
        if started.elapsed() > PATIENCE {
            bail!("not ready within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(PACE);
    }
    let ready = started.elapsed();
    std::thread::sleep(SETTLE);
    Ok((ready, resident(proxy.id())?))
}

/// True if `/ready` is answered with 200. No connection, or none that speaks, is a no.
fn is_ready(observe: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&observe, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(head == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

fn resident(process: u32) -> anyhow::Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.context("the kernel tells no VmRSS")?.trim().to_owned())
}
