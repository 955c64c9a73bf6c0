//! A mesh of processes, as a user would start it: `meshctl control`, and `meshctl run` per workload.
//!
//! Everything lives in a folder of its own and ends with its value. May use `demo` and `process`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::demo::meshctl;
use crate::process::{Process, output};

/// The namespace of everything that cases start.
const NAMESPACE: &str = "e2e";
/// What is whole for this long stays so: a publish is debounced.
const SETTLED: Duration = Duration::from_millis(300);
/// Longest wait for anything to start.
const START: Duration = Duration::from_secs(20);
/// Ports that systems do not give to outgoing connections.
const PORTS: std::ops::Range<u16> = 24_000..31_000;

/// A running mesh.
pub struct Mesh {
    meshctl: PathBuf,
    /// Workloads end before the control plane, and all before their folder goes.
    workloads: BTreeMap<String, Process>,
    _control: Process,
    folder: tempfile::TempDir,
}

/// A workload to start.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    name: String,
    arguments: Vec<String>,
}

/// A Service with one port, as text of a manifest; its pods carry the label `app` with its name.
pub fn service(name: &str, port: u16, protocol: &str) -> String {
    let protocol = match protocol {
        "" => String::new(),
        named => format!(", appProtocol: {named}"),
    };
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: {NAMESPACE} }}\n\
         spec: {{ selector: {{ app: {name} }}, ports: [{{ name: main, port: {port}{protocol} }}] }}\n"
    )
}

/// A port of 127.0.0.1 that nothing listens on, and that no other run is given while this process lives:
/// a server may go away for a while and come back there.
///
/// # Errors
///
/// If there is none.
pub fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static HELD: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    // Runs at the same time start at different places.
    let start = std::process::id() % u32::from(PORTS.end - PORTS.start);
    for _ in 0..1000 {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let offset = (start + step * 7) % u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(offset)?;
        let at = (Ipv4Addr::LOCALHOST, port);
        // Nobody here speaks UDP: that port of the same number is the sign that it is taken.
        if let (Ok(_), Ok(held)) = (TcpListener::bind(at), UdpSocket::bind(at)) {
            HELD.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(held);
            return Ok(port);
        }
    }
    bail!("no free port")
}

/// An address of 127.0.0.1 that nothing listens on.
///
/// # Errors
///
/// If there is none.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, free_port()?).into())
}

impl Workload {
    /// A workload with its own service account and the label `app`, all of the same name.
    pub fn new(name: &str) -> Self {
        let arguments = ["--service-account", name, "--label", &format!("app={name}")];
        Self {
            name: name.to_owned(),
            arguments: arguments.map(ToOwned::to_owned).to_vec(),
        }
    }

    /// One of several workloads of the service account and the label `app`.
    pub fn named(name: &str, app: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::new(app)
        }
    }

    /// Its app listens on `port` of 127.0.0.1.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        self.argument("--port", format!("main={port}"))
    }

    /// Calls to `listen` go to `service`.
    #[must_use]
    pub fn upstream(self, service: &str, port: u16, listen: SocketAddr) -> Self {
        self.argument("--upstream", format!("{service}:{port}={listen}"))
    }

    /// It carries this label too.
    #[must_use]
    pub fn label(self, name: &str, value: &str) -> Self {
        self.argument("--label", format!("{name}={value}"))
    }

    fn argument(mut self, name: &str, value: String) -> Self {
        self.arguments.extend([name.to_owned(), value]);
        self
    }
}

impl Mesh {
    /// Starts the control plane with one file of manifests.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn start(manifests: &str) -> anyhow::Result<Self> {
        let meshctl = meshctl()?;
        let folder = tempfile::Builder::new().prefix("mesh-e2e-").tempdir()?;
        let directory = folder.path().join("manifests");
        std::fs::create_dir(&directory)?;
        std::fs::write(directory.join("case.yaml"), manifests)?;
        let mut command = Command::new(&meshctl);
        command
            .arg("control")
            .args([
                "--exit-with-parent",
                "--listen",
                &free_address()?.to_string(),
            ])
            .args(["--manifests".as_ref(), directory.as_os_str()])
            .args(["--state".as_ref(), folder.path().as_os_str()]);
        let log = folder.path().join("control.log");
        let mut control = Process::start("the control plane", &mut command, &log)?;
        let begun = Instant::now();
        while ask(&meshctl, folder.path(), &["proxy-status"])
            .await
            .is_err()
        {
            control.check_alive()?;
            if begun.elapsed() > START {
                bail!("no control plane within {START:?}: {}", control.said());
            }
        }
        Ok(Self {
            meshctl,
            workloads: BTreeMap::new(),
            _control: control,
            folder,
        })
    }

    /// Two sidecars: the receiver's with its app on `app` of 127.0.0.1, and a caller's. Returns the
    /// mesh and the caller's listener. `protocol` is the port's `appProtocol`; empty declares none.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn pair(protocol: &str, app: u16) -> anyhow::Result<(Self, SocketAddr)> {
        let mut mesh = Self::start(&service("echo", 80, protocol)).await?;
        let listen = free_address()?;
        mesh.run(&Workload::new("echo").port(app))?;
        mesh.run(&Workload::new("caller").upstream("echo", 80, listen))?;
        mesh.wait_synced().await?;
        Ok((mesh, listen))
    }

    /// Starts a workload.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn run(&mut self, workload: &Workload) -> anyhow::Result<()> {
        let mut command = Command::new(&self.meshctl);
        command
            .args(["run", &workload.name, "--exit-with-parent", "-n", NAMESPACE])
            .args(["--state".as_ref(), self.folder.path().as_os_str()])
            .args(&workload.arguments);
        let log = self.folder.path().join(format!("{}.log", workload.name));
        let process = Process::start(&workload.name, &mut command, &log)?;
        self.workloads.insert(workload.name.clone(), process);
        Ok(())
    }

    /// Waits until every workload is registered and its proxy runs what was published.
    ///
    /// # Errors
    ///
    /// If that takes too long, or one ended.
    pub async fn wait_synced(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut whole: Option<Instant> = None;
        loop {
            for process in self.workloads.values_mut() {
                process.check_alive()?;
            }
            let missing = self.missing().await?;
            if missing.is_empty() {
                if whole.get_or_insert_with(Instant::now).elapsed() > SETTLED {
                    return Ok(());
                }
            } else {
                whole = None;
            }
            if begun.elapsed() > START {
                bail!("not ready within {START:?}: {}", missing.join(", "));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn missing(&self) -> anyhow::Result<Vec<String>> {
        let proxies = self.ask(&["proxy-status"]).await?;
        let workloads = self.ask(&["get", "workloads"]).await?;
        let has = |rows: &Value, field: &str, name: &str, state: (&str, Value)| {
            let mut rows = rows.as_array().into_iter().flatten();
            rows.any(|row| row[field] == *name && row[state.0] == state.1)
        };
        let mut missing = Vec::new();
        for name in self.workloads.keys() {
            let full = format!("{NAMESPACE}/{name}");
            if !has(&proxies, "workload", &full, ("state", "SYNCED".into())) {
                missing.push(format!("{name} is not SYNCED"));
            }
            if !has(&workloads, "name", name, ("stale", false.into())) {
                missing.push(format!("{name} is not registered"));
            }
        }
        Ok(missing)
    }

    /// What `meshctl ... -o json` says.
    ///
    /// # Errors
    ///
    /// If it fails.
    pub async fn ask(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        ask(&self.meshctl, self.folder.path(), arguments).await
    }

    /// The folder of everything here: logs of workloads, `<namespace>.<name>/proxy.log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process number of a workload's sidecar.
    ///
    /// # Errors
    ///
    /// If it does not run.
    pub fn proxy(&self, workload: &str) -> anyhow::Result<u32> {
        let file = self.workload_folder(workload).join("pids.json");
        let pids: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        let pid = pids["proxy"].as_u64().filter(|&pid| pid != 0);
        Ok(u32::try_from(pid.with_context(|| {
            format!("no sidecar of {workload} runs")
        })?)?)
    }

    /// The memory that a workload's sidecar holds, in KiB.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn resident(&self, workload: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.proxy(workload)?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.context("the kernel tells no VmRSS")?.parse()?)
    }

    /// The metrics of a workload's sidecar, as its admin socket gives them.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub async fn metrics(&self, workload: &str) -> anyhow::Result<String> {
        let bootstrap = self.workload_folder(workload).join("bootstrap.json");
        let bootstrap: Value = serde_json::from_slice(&std::fs::read(bootstrap)?)?;
        let socket = bootstrap["adminSocket"]
            .as_str()
            .context("no adminSocket")?;
        let ask = b"GET /metrics HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n";
        let mut stream = tokio::net::UnixStream::connect(socket).await?;
        stream.write_all(ask).await?;
        let mut answer = String::new();
        tokio::time::timeout(START, stream.read_to_string(&mut answer)).await??;
        Ok(answer)
    }

    /// Exchanges that a workload's sidecar ended, in all directions: what it passed as opaque bytes is
    /// not among them.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub async fn exchanges(&self, workload: &str) -> anyhow::Result<u64> {
        let metrics = self.metrics(workload).await?;
        let samples = metrics
            .lines()
            .filter(|line| line.starts_with("mesh_requests_total"));
        let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(values.sum())
    }

    /// What a workload's sidecar logged.
    pub fn proxy_log(&self, workload: &str) -> String {
        std::fs::read_to_string(self.workload_folder(workload).join("proxy.log"))
            .unwrap_or_default()
    }

    fn workload_folder(&self, workload: &str) -> PathBuf {
        self.folder.path().join(format!("{NAMESPACE}.{workload}"))
    }
}

async fn ask(meshctl: &Path, state: &Path, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new(meshctl);
    command
        .args(arguments)
        .args(["-o", "json", "--state"])
        .arg(state);
    let said = output(&mut command, START).await?.good()?;
    Ok(serde_json::from_str(&said)?)
}
