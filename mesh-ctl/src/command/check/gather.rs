//! Gathers the facts. What cannot be had is missing, never an error: checks say what that means.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::facts::{Authority, Certificate, Control, Facts, Proxy, Run, State, Supervisor};
use super::gather_cluster;
use crate::command::signal;
use crate::render::time;
use crate::source::admin::Admin;
use crate::source::cluster::Cluster;
use crate::source::json::{items, list, text};
use crate::source::origin::Mesh;
use crate::source::proxy;
use crate::source::state::StateFolder;

/// Proxies asked about themselves; of a larger mesh, the first by name.
const MAX_ASKED: usize = 200;
/// Time to connect to where the control plane listens.
const CONNECT: Duration = Duration::from_secs(1);

/// Everything there is to know about a mesh.
pub(super) async fn facts(mesh: &Mesh) -> anyhow::Result<Facts> {
    let mut control = control(&mesh.admin()).await;
    if let (Mesh::Folder(_), Ok(control)) = (mesh, &mut control) {
        control.takes = Some(connect(&control.listen).await);
    }
    let mut facts = Facts {
        now: time::now(),
        build: mesh_api::version().to_owned(),
        state: None,
        authority: Authority::default(),
        control: control.map_err(|error| reason(&error)),
        cluster: None,
    };
    match mesh {
        Mesh::Folder(state) => {
            facts.state = Some(folder(state));
            facts.authority = authority(&state.control());
        }
        Mesh::Cluster(remote) => {
            facts.cluster = Some(gather_cluster::facts(remote.cluster(), false).await?);
        }
    }
    Ok(facts)
}

/// What there is to know about a cluster before an installation.
pub(super) async fn before(cluster: &Cluster) -> anyhow::Result<Facts> {
    Ok(Facts {
        now: time::now(),
        build: mesh_api::version().to_owned(),
        state: None,
        authority: Authority::default(),
        control: Err("no mesh is installed yet".to_owned()),
        cluster: Some(gather_cluster::facts(cluster, true).await?),
    })
}

/// Why there is no control plane: the causes below the advice, which the check gives itself.
fn reason(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    if causes.is_empty() {
        error.to_string()
    } else {
        causes.join(": ")
    }
}

async fn control(admin: &Admin) -> anyhow::Result<Control> {
    let ready = admin.get("/ready").await?;
    let rows = async |target: &str| anyhow::Ok(items(&admin.get(target).await?).to_vec());
    let proxies = rows("/proxies").await?;
    let listen = text(&ready, "listen").to_owned();
    Ok(Control {
        build: text(&admin.get("/version").await?, "version").to_owned(),
        clock: admin.clock().await?,
        takes: None,
        listen,
        resources: rows("/resources?objects").await?,
        services: rows("/services").await?,
        workloads: rows("/workloads").await?,
        asked: ask(admin, &proxies).await,
        proxies,
    })
}

async fn connect(listen: &str) -> Result<(), String> {
    match timeout(CONNECT, TcpStream::connect(listen)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {CONNECT:?}")),
    }
}

/// Asks every connected proxy, all at once: one that hangs holds up no other.
async fn ask(admin: &Admin, proxies: &[Value]) -> Vec<Proxy> {
    let mut asking = JoinSet::new();
    let connected = proxies.iter().filter(|row| row["state"] != "DISCONNECTED");
    for row in connected.take(MAX_ASKED) {
        let (admin, workload) = (admin.clone(), text(row, "workload").to_owned());
        asking.spawn(async move { ask_one(&admin, workload).await });
    }
    let mut asked = asking.join_all().await;
    asked.sort_by(|one, other| one.workload.cmp(&other.workload));
    asked
}

async fn ask_one(admin: &Admin, workload: String) -> Proxy {
    let Ok(name) = workload.parse() else {
        return Proxy {
            workload,
            ..Proxy::default()
        };
    };
    let page = async |page| proxy::page(admin, &name, page).await.unwrap_or_default();
    // A proxy that hangs is not asked more than once.
    let (ready, config) = match proxy::page(admin, &name, "config").await {
        Ok(config) => (page("ready").await, config),
        Err(_) => {
            return Proxy {
                workload,
                ..Proxy::default()
            };
        }
    };
    Proxy {
        certificates: page("certificates").await,
        ready,
        listeners: list(&config, "listeners").to_vec(),
        workload,
    }
}

fn folder(state: &StateFolder) -> State {
    let workloads = state.workloads().into_iter().map(|workload| {
        let supervisor = state.pids(&workload).ok().map(|pids| Supervisor {
            process: pids.run,
            is_alive: signal::is_alive(pids.run),
            has_sidecar: pids.proxy != 0 && signal::is_alive(pids.proxy),
        });
        let bootstrap = fs::read(state.workload(&workload).join("bootstrap.json"));
        let bootstrap: Value =
            serde_json::from_slice(&bootstrap.unwrap_or_default()).unwrap_or_default();
        let mut listeners: Vec<String> = list(&bootstrap, "upstreams")
            .iter()
            .map(|upstream| text(upstream, "listen").to_owned())
            .collect();
        listeners.extend(bootstrap["forwardProxy"].as_str().map(str::to_owned));
        Run {
            workload: workload.to_string(),
            supervisor,
            listeners,
        }
    });
    State {
        root: state.root().to_owned(),
        exists: state.root().is_dir(),
        workloads: workloads.collect(),
        loose: loose(state),
    }
}

/// Private files that their group or others may use.
fn loose(state: &StateFolder) -> Vec<(PathBuf, u32)> {
    let control = state.control();
    let mut files = vec![
        state.admin_socket(),
        control.join("root").join("root.key"),
        control.join("ca").join("intermediate.key"),
        control.join("ca").join("token.key"),
    ];
    files.extend(within(&state.root().join("tokens")));
    for workload in state.workloads() {
        let folder = state.workload(&workload);
        files.extend([folder.join("bootstrap.json"), folder.join("admin.sock")]);
        files.extend(within(&state.memory(&workload).join("identity")));
    }
    let mode = |file: PathBuf| {
        let mode = fs::symlink_metadata(&file).ok()?.mode() & 0o777;
        (mode & 0o077 != 0).then_some((file, mode))
    };
    files.into_iter().filter_map(mode).collect()
}

fn within(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort_unstable();
    files
}

fn authority(control: &Path) -> Authority {
    let pem = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "pem");
    let roots = within(&control.join("roots"));
    Authority {
        root: certificate(&control.join("ca").join("root.pem")),
        intermediate: certificate(&control.join("ca").join("intermediate.pem")),
        roots: roots
            .iter()
            .filter(|path| pem(path))
            .filter_map(|path| certificate(path))
            .collect(),
    }
}

/// A certificate's file; `None` if there is none. One that cannot be read has no hash and no life.
fn certificate(path: &Path) -> Option<Certificate> {
    let pem = fs::read(path).ok()?;
    let mut found = Certificate {
        file: path.display().to_string(),
        ..Certificate::default()
    };
    if let Ok(der) = CertificateDer::from_pem_slice(&pem)
        && let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&der)
    {
        let digest = Sha256::digest(&*der);
        let hex: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        found.sha256 = hex.concat();
        found.not_before = parsed.validity().not_before.timestamp();
        found.not_after = parsed.validity().not_after.timestamp();
    }
    Some(found)
}
