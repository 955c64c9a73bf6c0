//! `cargo xtask measure`: what an idle mesh-proxy costs.
//!
//! Linux only: memory is read from the kernel's table of processes. May use `dist` and `step`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::dist;

/// What the proxy prints to its standard error when it serves.
const READY: &str = "ready";

/// Longer than this and it did not start at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// After this a process that does nothing has settled.
const SETTLE: Duration = Duration::from_secs(3);

/// Builds mesh-proxy for shipping, starts it from the folder `from`, and prints its size, the time to
/// ready and the memory it holds when idle. Without a folder, the size alone.
pub(crate) fn run(from: Option<&Path>) -> anyhow::Result<()> {
    dist::build()?;
    let binary = dist::binary("mesh-proxy");
    let bytes = std::fs::metadata(&binary)?.len();
    println!("binary    {bytes} bytes ({})", dist::mebibytes(bytes));
    let Some(folder) = from else {
        println!("time to ready and memory need `--from`, a folder an idle proxy starts from");
        return Ok(());
    };
    let started = Instant::now();
    let mut proxy = start(&binary, folder)?;
    let figures = watch(&mut proxy, started);
    // It may have ended by itself; either way it must not stay behind.
    proxy.kill().ok();
    proxy.wait()?;
    let (ready, memory) = figures?;
    println!("ready     {} ms after its start", ready.as_millis());
    println!("VmRSS     {memory}, idle for {} s", SETTLE.as_secs());
    Ok(())
}

/// Starts the proxy with the environment in `folder/env`, one `NAME=value` a line.
fn start(binary: &Path, folder: &Path) -> anyhow::Result<Child> {
    let settings = folder.join("env");
    let text =
        std::fs::read_to_string(&settings).with_context(|| settings.display().to_string())?;
    let mut command = Command::new(binary);
    command
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.envs(text.lines().filter_map(|line| line.split_once('=')));
    command
        .spawn()
        .with_context(|| binary.display().to_string())
}

fn watch(proxy: &mut Child, started: Instant) -> anyhow::Result<(Duration, String)> {
    let errors = proxy
        .stderr
        .take()
        .context("the proxy has no standard error")?;
    let (sender, receiver) = mpsc::channel();
    // Reads until the proxy ends, so that a full pipe never holds it up.
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            sender.send((Instant::now(), line)).ok();
        }
    });
    let ready = loop {
        let left = PATIENCE.saturating_sub(started.elapsed());
        let Ok((at, line)) = receiver.recv_timeout(left) else {
            bail!("not ready within {} s", PATIENCE.as_secs());
        };
        if line.contains(READY) {
            break at.duration_since(started);
        }
    };
    std::thread::sleep(SETTLE);
    if reader.is_finished() {
        bail!("the proxy ended by itself");
    }
    Ok((ready, resident(proxy.id())?))
}

fn resident(process: u32) -> anyhow::Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.context("the kernel tells no VmRSS")?.trim().to_owned())
}
