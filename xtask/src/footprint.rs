//! `cargo xtask measure`: what an idle mesh-proxy costs.
//!
//! Linux only: memory is read from the kernel's table of processes. May use `dist` and `step`.

pub(crate) mod mesh;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::dist;
use crate::footprint::mesh::FiveServices;

/// Longer than this and it did not start at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two questions whether it is ready: the error of the time to ready.
const PACE: Duration = Duration::from_millis(1);
/// After this a process that does nothing has settled.
const SETTLE: Duration = Duration::from_secs(3);

/// Starts measured.
const RUNS: usize = 5;

/// Builds mesh-proxy for shipping, starts it several times, and prints its size, the median time
/// to ready and the memory it holds when idle. Without a bootstrap it starts a control plane with
/// five services and a sidecar of two workers that dials them all.
pub(crate) fn run(bootstrap: Option<&Path>) -> anyhow::Result<()> {
    dist::build(&["mesh-proxy", "mesh-control"])?;
    let bytes = std::fs::metadata(dist::binary("mesh-proxy"))?.len();
    println!("binary    {bytes} bytes ({})", dist::mebibytes(bytes));
    if let Some(bootstrap) = bootstrap {
        return start_and_watch(bootstrap);
    }
    let mesh = FiveServices::start()?;
    // The first start joins and saves what it receives; the measured ones find it on disk.
    drop(started(mesh.bootstrap())?);
    start_and_watch(mesh.bootstrap())
}

fn start_and_watch(bootstrap: &Path) -> anyhow::Result<()> {
    let mut ready = Vec::new();
    let mut memory = String::new();
    for _ in 0..RUNS {
        let (time, proxy) = started(bootstrap)?;
        std::thread::sleep(SETTLE);
        memory = resident(proxy.0.id())?;
        ready.push(time.as_millis());
    }
    ready.sort_unstable();
    println!(
        "ready     {ready:?} ms after its start, {RUNS} starts, the first question 1 ms apart"
    );
    println!("VmRSS     {memory}, idle for {} s", SETTLE.as_secs());
    Ok(())
}

/// A process that ends with its guard.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself; either way it must not stay behind.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts mesh-proxy and waits until it is ready.
fn started(bootstrap: &Path) -> anyhow::Result<(Duration, Guard)> {
    let observe = observe(bootstrap)?;
    let binary = dist::binary("mesh-proxy");
    let mut command = Command::new(&binary);
    command
        .arg("run")
        .arg(bootstrap)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let begun = Instant::now();
    let child = command
        .spawn()
        .with_context(|| binary.display().to_string())?;
    let mut proxy = Guard(child);
    let ready = watch(&mut proxy.0, observe, begun)?;
    Ok((ready, proxy))
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

fn watch(proxy: &mut Child, observe: SocketAddr, started: Instant) -> anyhow::Result<Duration> {
    while !is_ready(observe) {
        if let Some(status) = proxy.try_wait()? {
            bail!("the proxy ended with {status}");
        }
        if started.elapsed() > PATIENCE {
            bail!("not ready within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(PACE);
    }
    Ok(started.elapsed())
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
