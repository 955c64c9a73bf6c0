//! A real API server with its etcd, on free ports of 127.0.0.1: no node, no controllers, a few seconds.
//!
//! For resources, schemas, webhooks, watches, leases, tokens and status. The programs are those of
//! `KUBEBUILDER_ASSETS`, or those that `cargo xtask cluster assets` builds and names. Everything lives
//! in a folder of its own and ends with its value, also by the death of the test.
//! May use `demo`, `figure`, `process` and `mesh`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
    /// The server ends before its store, and both before their folder goes. None while it is away.
    server: Option<Process>,
    _store: Process,
    folder: tempfile::TempDir,
    assets: PathBuf,
    /// Of the store and of the server.
    ports: [u16; 2],
    settings: Settings,
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
        let mut whole = Self {
            server: None,
            _store: store,
            url: format!("https://127.0.0.1:{port}"),
            folder,
            assets,
            ports: [client, port],
            settings: settings.clone(),
        };
        whole.come_back().await?;
        Ok(whole)
    }

    /// Ends the server; its store stays.
    ///
    /// # Errors
    ///
    /// If it cannot be waited for.
    pub fn go_away(&mut self) -> anyhow::Result<()> {
        if let Some(mut server) = self.server.take() {
            server.stop()?;
        }
        Ok(())
    }

    /// Starts the server where it was, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it does not start.
    pub async fn come_back(&mut self) -> anyhow::Result<()> {
        let at = self.folder.path();
        let server = start_server(&self.assets, at, self.ports, &self.settings)?;
        let server = self.server.insert(server);
        wait_ready(server, at, &self.url).await
    }

    /// Makes the store forget every version but the present one.
    ///
    /// # Errors
    ///
    /// If the store refuses.
    pub async fn compact(&self) -> anyhow::Result<()> {
        let store = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[0]));
        // `AA==` is the key 0: any, for the header alone.
        let asked = post(store, "/v3/kv/range", "{\"key\":\"AA==\"}").await?;
        let present = asked["header"]["revision"].as_str();
        let present = present.with_context(|| format!("no revision in {asked}"))?;
        let body = format!("{{\"revision\":\"{present}\",\"physical\":true}}");
        let done = post(store, "/v3/kv/compaction", &body).await?;
        ensure!(done["header"].is_object(), "not compacted: {done}");
        Ok(())
    }

    /// The folder of everything here; what it holds ends with the server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
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
        config(&self.kubeconfig()).await
    }
}

async fn wait_ready(server: &mut Process, at: &Path, url: &str) -> anyhow::Result<()> {
    // Its own certificate is written early in its start.
    let certificate = at.join("pki/apiserver.crt");
    let written = || async { Ok(certificate.is_file()) };
    wait_until("the certificate of kube-apiserver", START, written)
        .await
        .with_context(|| server.said())?;
    write_kubeconfig(at, url)?;
    let ready = || async {
        // Read anew each time: a file that is there may not be whole yet.
        let Ok(config) = config(&at.join("kubeconfig")).await else {
            return Ok(false);
        };
        let client = kube::Client::try_from(config)?;
        let asked = http::Request::get("/readyz").body(Vec::new())?;
        let answer = client.request_text(asked).await;
        Ok(answer.is_ok_and(|text| text == "ok"))
    };
    wait_until("kube-apiserver is ready", START, ready)
        .await
        .with_context(|| server.said())?;
    server.check_alive()
}

async fn config(kubeconfig: &Path) -> anyhow::Result<kube::Config> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    Ok(kube::Config::from_custom_kubeconfig(file, &options).await?)
}

/// The answer of the store to a call of its gateway.
async fn post(store: SocketAddr, path: &str, body: &str) -> anyhow::Result<Value> {
    let head = format!("POST {path} HTTP/1.1\r\nhost: etcd\r\ncontent-type: application/json\r\n");
    let length = body.len();
    let request = format!("{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    let answer = exchange(store, &request).await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    Ok(serde_json::from_str(body.trim())?)
}

/// Sends `request` as it is and reads until the peer closes.
///
/// # Errors
///
/// If there is no answer in time.
pub async fn exchange(address: SocketAddr, request: &str) -> anyhow::Result<String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await?
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
    let keys = [("key-file", "pub"), ("signing-key-file", "key")];
    for (flag, suffix) in keys {
        command.arg(format!("--service-account-{flag}"));
        command.arg(at.join("service-accounts").with_extension(suffix));
    }
    command.args(&settings.arguments);
    Process::start("kube-apiserver", &mut command, &at.join("apiserver.log"))
}

fn write_credentials(at: &Path) -> anyhow::Result<()> {
    let key = rcgen::KeyPair::generate()?;
    std::fs::write(at.join("service-accounts.key"), key.serialize_pem())?;
    std::fs::write(at.join("service-accounts.pub"), key.public_key_pem())?;
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
    folder_of("assets")
}

/// The folder that `cargo xtask cluster WHAT` names.
pub(crate) fn folder_of(what: &str) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["xtask", "cluster", what])
        .stderr(std::process::Stdio::inherit());
    let built = command.output().context("cannot start cargo")?;
    ensure!(
        built.status.success(),
        "cargo xtask cluster {what} ended with {}",
        built.status
    );
    let said = String::from_utf8(built.stdout)?;
    let last = said.lines().last().context("it named no folder")?;
    Ok(PathBuf::from(last))
}
