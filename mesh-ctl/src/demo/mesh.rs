//! The demo's mesh: control plane and workloads as processes of their own.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use mesh_api::name::{Name, Namespace, ObjectName};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::command::{signal, token};
use crate::demo::child::Process;
use crate::source::address::{self, Ports};
use crate::source::admin::Admin;
use crate::source::state::{Pids, StateFolder, write_private};

/// Manifests of the demo by file name.
pub(crate) const MANIFESTS: [(&str, &str); 4] = [
    ("mesh.yaml", include_str!("manifests/mesh.yaml")),
    ("services.yaml", include_str!("manifests/services.yaml")),
    ("catalog.yaml", include_str!("manifests/catalog.yaml")),
    ("lab.yaml", include_str!("manifests/lab.yaml")),
];
/// The namespace of everything here.
const NAMESPACE: &str = "demo";
/// Services that the visitor dials, and at which port; the page is the first.
const DIALLED: [(&str, u16); 10] = [
    ("shop", 80),
    ("catalog", 80),
    ("catalog-v1", 80),
    ("catalog-v2", 80),
    ("stock", 80),
    ("lab", 80),
    ("pricing", 80),
    ("feed", 80),
    ("ledger", 7000),
    ("journal", 7000),
];
/// Service accounts of the demo.
const ACCOUNTS: [&str; 7] = [
    "shop", "catalog", "stock", "visitor", "pricing", "feed", "ledger",
];
/// Between two looks at something awaited.
const LOOK: Duration = Duration::from_millis(20);

/// A workload that just registered reaches its callers a debounced publish later; what is whole
/// for this long stays so.
const SETTLED: Duration = Duration::from_millis(150);
/// Names a folder of manifests as a demo's own; hidden, so no manifest.
const MARKER: &str = ".demo";

/// Takes the folder for this demo, or says that another has it.
fn lock(state: &StateFolder) -> anyhow::Result<fs::File> {
    state.create(state.root())?;
    let path = state.root().join("demo.lock");
    let file = fs::File::create(&path).with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!(
            "a demo runs in {} already; end it, or choose another folder with --state",
            state.root().display()
        ),
        Err(fs::TryLockError::Error(error)) => Err(error).context(path.display().to_string()),
    }
}

/// A running mesh.
pub(crate) struct Mesh {
    /// Where everything is kept.
    pub(crate) state: StateFolder,
    /// Held while the demo runs: two in one folder would undo each other.
    _lock: fs::File,
    control: Option<Process>,
    listen: SocketAddr,
    workloads: BTreeMap<String, Process>,
    ports: Ports,
    /// Ports of apps that have not been seen to listen, by workload.
    starting: BTreeMap<String, Vec<u16>>,
    outbound: BTreeMap<&'static str, SocketAddr>,
    stock_for_catalog: BTreeMap<String, SocketAddr>,
    for_shop: Vec<(&'static str, SocketAddr)>,
}

impl Mesh {
    /// Writes the manifests and starts everything; what is up is told by [`Mesh::wait_synced`].
    pub(crate) async fn start(state: StateFolder) -> anyhow::Result<Self> {
        let mut ports = Ports::default();
        let listen = ports.local()?;
        let mut mesh = Self {
            _lock: lock(&state)?,
            state,
            control: None,
            listen,
            workloads: BTreeMap::new(),
            ports,
            starting: BTreeMap::new(),
            outbound: BTreeMap::new(),
            stock_for_catalog: BTreeMap::new(),
            for_shop: Vec::new(),
        };
        for (service, _) in DIALLED {
            let address = mesh.ports.local()?;
            mesh.outbound.insert(service, address);
        }
        for service in ["catalog", "pricing", "feed", "ledger"] {
            let address = mesh.ports.local()?;
            mesh.for_shop.push((service, address));
        }
        mesh.prepare()?;
        mesh.start_control().await?;
        mesh.write_tokens().await?;
        mesh.start_workloads()?;
        Ok(mesh)
    }

    fn prepare(&self) -> anyhow::Result<()> {
        let manifests = self.state.manifests();
        self.state.create(&manifests)?;
        let marker = manifests.join(MARKER);
        let entries = fs::read_dir(&manifests)?.collect::<Result<Vec<_>, _>>()?;
        // Only what a demo wrote is a demo's to remove.
        ensure!(
            entries.is_empty() || marker.exists(),
            "{} holds manifests of your own; give the demo another folder with --state",
            manifests.display()
        );
        for entry in entries {
            fs::remove_file(entry.path())?;
        }
        fs::write(&marker, "")?;
        for (name, text) in MANIFESTS {
            self.write_manifest(name, text)?;
        }
        self.state.create(&self.tokens())
    }

    /// Starts the control plane and waits until it answers.
    pub(crate) async fn start_control(&mut self) -> anyhow::Result<()> {
        let arguments = [
            "control".to_owned(),
            "--state".to_owned(),
            self.state.root().display().to_string(),
            "--manifests".to_owned(),
            self.state.manifests().display().to_string(),
            "--listen".to_owned(),
            self.listen.to_string(),
            "--exit-with-parent".to_owned(),
        ];
        let log = self.state.root().join("control.log");
        self.control = Some(Process::start("the control plane", &arguments, &log)?);
        let limit = Instant::now() + Duration::from_secs(5);
        while self.admin().get("/ready").await.is_err() {
            if let Some(status) = self.control.as_mut().and_then(Process::ended) {
                bail!("the control plane ended ({status}); see {}", log.display());
            }
            if Instant::now() > limit {
                bail!("the control plane does not answer; see {}", log.display());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Kills the control plane without warning.
    pub(crate) async fn kill_control(&mut self) -> anyhow::Result<()> {
        match self.control.take() {
            Some(process) => process.kill().await.map(drop),
            None => Ok(()),
        }
    }

    async fn write_tokens(&self) -> anyhow::Result<()> {
        let namespace: Namespace = NAMESPACE.parse()?;
        for account in ACCOUNTS {
            let account: Name = account.parse()?;
            let text = token::for_identity(&self.state, &namespace, &account).await?;
            write_private(&self.tokens().join(account.as_str()), text.as_bytes())?;
        }
        Ok(())
    }

    fn start_workloads(&mut self) -> anyhow::Result<()> {
        for name in ["stock", "pricing", "feed", "ledger"] {
            let label = format!("app={name}");
            self.start_workload(name, name, &[&label], &[], &[name])?;
        }
        for (version, instance) in [("v1", 0), ("v1", 1), ("v2", 0), ("v2", 1)] {
            self.start_catalog(version, instance)?;
        }
        self.start_shop()?;
        let mut upstreams = Vec::new();
        for (name, port) in DIALLED {
            upstreams.push(format!("{name}:{port}={}", self.outbound(name)?));
        }
        self.start_workload("visitor", "visitor", &[], &upstreams, &[])
    }

    fn start_shop(&mut self) -> anyhow::Result<()> {
        let mut upstreams = Vec::new();
        let mut app = vec!["shop".to_owned()];
        for (service, address) in &self.for_shop {
            let port = DIALLED.iter().find(|(name, _)| name == service);
            let (_, port) = port.with_context(|| format!("{service} has no port"))?;
            upstreams.push(format!("{service}:{port}={address}"));
            app.extend([format!("--{service}"), address.to_string()]);
        }
        let app: Vec<&str> = app.iter().map(String::as_str).collect();
        self.start_workload("shop", "shop", &["app=shop"], &upstreams, &app)
    }

    /// Starts one more instance of the catalog.
    pub(crate) fn start_catalog(&mut self, version: &str, instance: u32) -> anyhow::Result<()> {
        let name = format!("catalog-{version}-{instance}");
        let stock = match self.stock_for_catalog.get(&name) {
            Some(address) => *address,
            None => self.ports.local()?,
        };
        self.stock_for_catalog.insert(name.clone(), stock);
        let (stock, instance) = (stock.to_string(), instance.to_string());
        let label = format!("version={version}");
        let app = [
            "catalog",
            "--version",
            version,
            "--instance",
            &instance,
            "--stock",
            &stock,
        ];
        let upstream = format!("stock:80={stock}");
        self.start_workload(
            &name,
            "catalog",
            &["app=catalog", &label],
            &[upstream],
            &app,
        )
    }

    fn start_workload(
        &mut self,
        name: &str,
        account: &str,
        labels: &[&str],
        upstreams: &[String],
        app: &[&str],
    ) -> anyhow::Result<()> {
        let mut arguments: Vec<String> = [
            "run",
            name,
            "--namespace",
            NAMESPACE,
            "--service-account",
            account,
        ]
        .map(str::to_owned)
        .to_vec();
        let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        option("--state", self.state.root().display().to_string());
        option("--token", self.tokens().join(account).display().to_string());
        for label in labels {
            option("--label", (*label).to_owned());
        }
        for upstream in upstreams {
            option("--upstream", upstream.clone());
        }
        let mut listens = Vec::new();
        for port in app.first().map(|app| ports(app)).into_iter().flatten() {
            let number = self.ports.local()?.port();
            option("--port", format!("{port}={number}"));
            listens.push(number);
        }
        self.starting.insert(name.to_owned(), listens);
        arguments.push("--exit-with-parent".to_owned());
        if !app.is_empty() {
            let own = std::env::current_exe()?.display().to_string();
            arguments.extend(["--".to_owned(), own, "demo-app".to_owned()]);
            arguments.extend(app.iter().map(|&word| word.to_owned()));
        }
        let log = self.state.root().join(format!("{name}.log"));
        self.workloads
            .insert(name.to_owned(), Process::start(name, &arguments, &log)?);
        Ok(())
    }

    /// Ends a workload in order: it leaves the mesh, drains, then its app ends.
    pub(crate) async fn stop_workload(&mut self, name: &str) -> anyhow::Result<()> {
        let process = self
            .workloads
            .remove(name)
            .with_context(|| format!("no {name} runs"))?;
        process.stop(Duration::from_secs(45)).await.map(drop)
    }

    /// Kills supervisor, sidecar and app of a workload at once, as a machine that dies does.
    pub(crate) async fn kill_workload(&mut self, name: &str) -> anyhow::Result<()> {
        let pids = self.pids(name)?;
        for pid in [Some(pids.run), Some(pids.proxy), pids.app]
            .into_iter()
            .flatten()
            .filter(|&pid| pid != 0)
        {
            signal::send(pid, rustix::process::Signal::KILL);
        }
        let process = self
            .workloads
            .remove(name)
            .with_context(|| format!("no {name} runs"))?;
        process.kill().await.map(drop)
    }

    /// Tells the supervisor of a workload to end it.
    pub(crate) fn tell(&self, name: &str, what: rustix::process::Signal) -> anyhow::Result<()> {
        let process = self
            .workloads
            .get(name)
            .with_context(|| format!("no {name} runs"))?;
        process.tell(what);
        Ok(())
    }

    /// Waits until the control plane no longer knows a workload.
    pub(crate) async fn wait_unregistered(
        &self,
        name: &str,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let limit = Instant::now() + limit;
        loop {
            let workloads = self.admin().get("/workloads").await?;
            let mut rows = workloads.as_array().into_iter().flatten();
            if !rows.any(|row| row["name"] == *name) {
                return Ok(());
            }
            if Instant::now() > limit {
                bail!("{name} is still registered");
            }
            sleep(LOOK).await;
        }
    }

    /// The processes of a workload.
    pub(crate) fn pids(&self, name: &str) -> anyhow::Result<Pids> {
        self.state.pids(&object(name)?)
    }

    /// The folder of a workload.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        Ok(self.state.workload(&object(name)?))
    }

    /// The visitor's outbound listener for a service.
    pub(crate) fn outbound(&self, service: &str) -> anyhow::Result<SocketAddr> {
        let address = self.outbound.get(service);
        address
            .copied()
            .with_context(|| format!("the visitor does not dial {service}"))
    }

    /// The control plane's admin socket.
    pub(crate) fn admin(&self) -> Admin {
        Admin::of(&self.state)
    }

    /// Writes a manifest in one step, as `kubectl` or an editor would.
    pub(crate) fn write_manifest(&self, name: &str, text: &str) -> anyhow::Result<()> {
        write_private(&self.state.manifests().join(name), text.as_bytes())
    }

    /// Removes a manifest.
    pub(crate) fn remove_manifest(&self, name: &str) -> anyhow::Result<()> {
        let path = self.state.manifests().join(name);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Waits until every workload's proxy is SYNCED and all its endpoints are there.
    pub(crate) async fn wait_synced(&mut self, limit: Duration) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let mut whole: Option<Instant> = None;
        loop {
            let missing = match self.missing().await {
                Ok(missing) if missing.is_empty() => {
                    if whole.get_or_insert_with(Instant::now).elapsed() >= SETTLED {
                        return Ok(started.elapsed());
                    }
                    "settling".to_owned()
                }
                Ok(missing) => missing.join(", "),
                Err(error) => format!("{error:#}"),
            };
            if missing != "settling" {
                whole = None;
            }
            if started.elapsed() > limit {
                bail!(
                    "not ready within {limit:?}: {missing}; logs are in {}",
                    self.state.root().display()
                );
            }
            self.check_alive()?;
            sleep(LOOK).await;
        }
    }

    /// What is not as it should be yet.
    async fn missing(&mut self) -> anyhow::Result<Vec<String>> {
        let admin = self.admin();
        let (proxies, workloads) = (admin.get("/proxies").await?, admin.get("/workloads").await?);
        let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut missing = Vec::new();
        for name in self.workloads.keys() {
            let full = format!("{NAMESPACE}/{name}");
            let state = rows(&proxies)
                .into_iter()
                .find(|row| row["workload"] == *full);
            match state.as_ref().and_then(|row| row["state"].as_str()) {
                Some("SYNCED") => {}
                Some(other) => missing.push(format!("{name} is {other}")),
                None => missing.push(format!("{name} is not connected")),
            }
            let registered = |row: &Value| row["name"] == **name && row["stale"] == false;
            if !rows(&workloads).iter().any(registered) {
                missing.push(format!("{name} is not registered"));
            }
        }
        self.starting
            .retain(|_, ports| !ports.iter().all(|&port| address::listens(port)));
        let starting = self.starting.keys();
        missing.extend(starting.map(|name| format!("the app of {name} does not listen")));
        Ok(missing)
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        for (name, process) in &mut self.workloads {
            if let Some(status) = process.ended() {
                let log = self.state.root().join(format!("{name}.log"));
                let text = fs::read_to_string(&log).unwrap_or_default();
                let last = text.lines().last().unwrap_or_default();
                bail!("{name} ended ({status}): {last}; see {}", log.display());
            }
        }
        Ok(())
    }

    /// Ends everything: workloads all at once, then the control plane.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let workloads = std::mem::take(&mut self.workloads);
        for process in workloads.values() {
            process.tell(rustix::process::Signal::TERM);
        }
        for process in workloads.into_values() {
            process.stop(Duration::from_secs(45)).await?;
        }
        if let Some(control) = self.control.take() {
            control.stop(Duration::from_secs(10)).await?;
        }
        Ok(())
    }

    fn tokens(&self) -> PathBuf {
        self.state.root().join("tokens")
    }
}

/// The names of an app's ports, as its Services call them; the first in order of names is its `PORT`.
fn ports(app: &str) -> &'static [&'static str] {
    match app {
        "pricing" => &["grpc"],
        "ledger" => &["line", "raw"],
        _ => &["http"],
    }
}

/// The full name of a workload here.
pub(crate) fn object(name: &str) -> anyhow::Result<ObjectName> {
    Ok(ObjectName::new(NAMESPACE.parse()?, name.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_have_no_fault() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in MANIFESTS {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let files = crate::source::files::Files::read(&[folder.path().to_owned()]).unwrap();
        let faults: Vec<String> = files.all_faults().iter().map(ToString::to_string).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}
