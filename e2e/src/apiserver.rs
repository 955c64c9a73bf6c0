//! A real API server with its etcd, on free ports of 127.0.0.1: no node, no controllers, a few seconds.
//!
//! For resources, schemas, webhooks, watches, leases, tokens and status. The programs are those of
//! `KUBEBUILDER_ASSETS`, or those that `cargo xtask cluster assets` builds and names. Everything lives
//! in a folder of its own and ends with its value, also by the death of the test.
//! May use `demo`, `figure`, `process` and `mesh`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::figure::say;
use crate::mesh::free_port;
use crate::process::{Process, bound, wait_until};

/// Names a folder with `etcd` and `kube-apiserver`.
const ASSETS: &str = "KUBEBUILDER_ASSETS";
/// Longest wait for the server to be ready.
const START: Duration = Duration::from_mins(1);
/// What the administrator shows; the server listens on 127.0.0.1 only, and ends with the test.
const TOKEN: &str = "administrator-of-a-test";

/// A running API server.
pub struct ApiServer {
    /// The server ends before its store, and both before their folder goes.
    server: Process,
    _store: Process,
    folder: tempfile::TempDir,
    url: String,
}

/// What a server is started with beyond the defaults.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// More arguments of kube-apiserver, such as `--min-request-timeout=5`.
    pub arguments: Vec<String>,
}

impl ApiServer {
    /// Starts a server with an empty store and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If the programs cannot be had, or one of them does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&Settings::default()).await
    }

    /// Starts a server with `settings`.
    ///
    /// # Errors
    ///
    /// As [`ApiServer::start`].
    pub async fn start_with(settings: &Settings) -> anyhow::Result<Self> {
        let assets = assets()?;
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        let (client, port) = (free_port()?, free_port()?);
        let store = start_store(&assets, at, client)?;
        write_credentials(at)?;
        let server = start_server(&assets, at, [client, port], settings)?;
        let mut whole = Self {
            server,
            _store: store,
            url: format!("https://127.0.0.1:{port}"),
            folder,
        };
        whole.wait_ready().await?;
        Ok(whole)
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A file for `KUBECONFIG`, of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// A client with every right.
    ///
    /// # Errors
    ///
    /// If the files of the server cannot be read.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        Ok(kube::Client::try_from(self.config().await?)?)
    }

    /// A client with the rights of `user`, such as `system:serviceaccount:mesh-system:mesh-control`.
    ///
    /// # Errors
    ///
    /// As [`ApiServer::client`].
    pub async fn client_as(&self, user: &str) -> anyhow::Result<kube::Client> {
        let mut config = self.config().await?;
        config.auth_info.impersonate = Some(user.to_owned());
        Ok(kube::Client::try_from(config)?)
    }

    /// How an administrator connects.
    ///
    /// # Errors
    ///
    /// As [`ApiServer::client`].
    pub async fn config(&self) -> anyhow::Result<kube::Config> {
        let file = Kubeconfig::read_from(self.kubeconfig())?;
        let options = KubeConfigOptions::default();
        Ok(kube::Config::from_custom_kubeconfig(file, &options).await?)
    }

    async fn wait_ready(&mut self) -> anyhow::Result<()> {
        // Its own certificate is written early in its start.
        let certificate = self.folder.path().join("pki/apiserver.crt");
        let written = || async { Ok(certificate.is_file()) };
        wait_until("the certificate of kube-apiserver", START, written)
            .await
            .with_context(|| self.server.said())?;
        write_kubeconfig(self.folder.path(), &self.url)?;
        let client = self.client().await?;
        let ready = || async {
            let asked = http::Request::get("/readyz").body(Vec::new())?;
            let answer = client.request_text(asked).await;
            Ok(answer.is_ok_and(|text| text == "ok"))
        };
        wait_until("kube-apiserver is ready", START, ready)
            .await
            .with_context(|| self.server.said())?;
        self.server.check_alive()
    }
}

fn start_store(assets: &Path, at: &Path, port: u16) -> anyhow::Result<Process> {
    let url = format!("http://127.0.0.1:{port}");
    let mut command = bound(assets.join("etcd"));
    command
        .arg("--data-dir")
        .arg(at.join("etcd"))
        .args([
            "--listen-client-urls",
            &url,
            "--advertise-client-urls",
            &url,
        ])
        .args(["--listen-peer-urls", "http://127.0.0.1:0"])
        .args(["--unsafe-no-fsync", "--log-level", "error"]);
    Process::start("etcd", &mut command, &at.join("etcd.log"))
}

fn start_server(
    assets: &Path,
    at: &Path,
    [store, port]: [u16; 2],
    settings: &Settings,
) -> anyhow::Result<Process> {
    let mut command = bound(assets.join("kube-apiserver"));
    command
        .arg(format!("--etcd-servers=http://127.0.0.1:{store}"))
        .arg(format!("--secure-port={port}"))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        .args(["--endpoint-reconciler-type=none", "--allow-privileged=true"])
        .arg("--service-cluster-ip-range=10.96.0.0/16")
        .args(["--authorization-mode=Node,RBAC", "--profiling=false"])
        // Nothing makes the default ServiceAccounts here.
        .arg("--disable-admission-plugins=ServiceAccount")
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg("--cert-dir")
        .arg(at.join("pki"))
        .arg("--token-auth-file")
        .arg(at.join("tokens.csv"));
    for flag in ["key-file", "signing-key-file"] {
        command.arg(format!("--service-account-{flag}"));
        command.arg(at.join("service-accounts.key"));
    }
    command.args(&settings.arguments);
    Process::start("kube-apiserver", &mut command, &at.join("apiserver.log"))
}

fn write_credentials(at: &Path) -> anyhow::Result<()> {
    let key = rcgen::KeyPair::generate()?.serialize_pem();
    std::fs::write(at.join("service-accounts.key"), key)?;
    let tokens = format!("{TOKEN},administrator,administrator,system:masters\n");
    std::fs::write(at.join("tokens.csv"), tokens)?;
    Ok(())
}

fn write_kubeconfig(at: &Path, url: &str) -> anyhow::Result<()> {
    let trusted = at.join("pki/apiserver.crt");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters: [{{ name: test, cluster: {{ server: \"{url}\", certificate-authority: \"{}\" }} }}]\n\
         users: [{{ name: administrator, user: {{ token: {TOKEN} }} }}]\n\
         contexts: [{{ name: test, context: {{ cluster: test, user: administrator }} }}]\n",
        trusted.display()
    );
    std::fs::write(at.join("kubeconfig"), text)?;
    Ok(())
}

/// The folder with `etcd` and `kube-apiserver`.
fn assets() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(ASSETS).map(PathBuf::from) {
        for name in ["etcd", "kube-apiserver"] {
            ensure!(
                named.join(name).is_file(),
                "{ASSETS} is {}, which has no {name}",
                named.display()
            );
        }
        return Ok(named);
    }
    say("etcd and kube-apiserver: cargo xtask cluster assets");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["xtask", "cluster", "assets"])
        .stderr(std::process::Stdio::inherit());
    let built = command.output().context("cannot start cargo")?;
    ensure!(
        built.status.success(),
        "cargo xtask cluster assets ended with {}",
        built.status
    );
    let said = String::from_utf8(built.stdout)?;
    let last = said.lines().last().context("it named no folder")?;
    Ok(PathBuf::from(last))
}
