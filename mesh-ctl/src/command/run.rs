//! `meshctl run`: a process as a workload of the mesh, with its sidecar.
//!
//! Supervises two children. The app starts once its sidecar can carry its calls. The sidecar is
//! started again if it dies; when the app ends, or on a signal, the sidecar drains and deregisters
//! first. Children hold the read end of a pipe that closes with this process, however it ends.

mod bootstrap;
mod capture;
mod output;
mod ready;
mod supervise;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::Args;
use mesh_api::name::{Name, Namespace, ObjectName};
use mesh_proxy::bootstrap::UpstreamListener;

use crate::command::{signal, token};
use crate::source::address::{Ports, TUNNEL_PORT, free_port, own_address};
use crate::source::state::{StateArg, StateFolder, write_private};

pub(crate) use supervise::guard;

/// Arguments of `meshctl run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Name of the workload.
    #[arg(value_name = "NAME")]
    name: Name,
    /// Service account: with the namespace, the workload's identity.
    #[arg(long, value_name = "SA")]
    service_account: Name,
    /// Namespace of the workload.
    #[arg(short, long, value_name = "NS", default_value = "default")]
    namespace: Namespace,
    /// Label, by which Services select it; repeatable.
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Pair<String>>,
    /// Port of the app on 127.0.0.1 by the Service's port name; 0 takes a free one. Repeatable.
    #[arg(long = "port", value_name = "NAME=PORT")]
    ports: Vec<Pair<u16>>,
    /// Address of the workload [default: one of its own in 127/8].
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// Outbound listener: calls to ADDR go to the Service's port. Repeatable.
    #[arg(long = "upstream", value_name = "SERVICE:PORT=ADDR")]
    upstreams: Vec<UpstreamListener>,
    /// HTTP forward proxy for the app (set as its `http_proxy`).
    #[arg(long, value_name = "ADDR")]
    forward_proxy: Option<SocketAddr>,
    /// Join token, `-` for standard input [default: asked from the control plane of --state].
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Address of the control plane [default: the token's].
    #[arg(long, value_name = "ADDR")]
    control: Option<SocketAddr>,
    #[command(flatten)]
    capture: capture::CaptureArgs,
    /// Access log [default: access.log in the workload's folder].
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// End when standard input closes: for parents that must leave no process behind.
    #[arg(long)]
    exit_with_parent: bool,
    /// The app and its arguments; none: the workload only calls others.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// `KEY=VALUE`, split at the last `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair<V> {
    key: String,
    value: V,
}

impl<V: FromStr> FromStr for Pair<V>
where
    V::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text
            .rsplit_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("{text:?} has no `=` between its two parts"))?;
        let value = value
            .parse()
            .map_err(|error| format!("{value:?} after `=`: {error}"))?;
        Ok(Self {
            key: key.to_owned(),
            value,
        })
    }
}

/// A workload with every choice made.
struct Settled {
    name: ObjectName,
    service_account: Name,
    labels: BTreeMap<String, String>,
    ports: BTreeMap<String, u16>,
    address: IpAddr,
    tunnel_port: u16,
    upstreams: Vec<UpstreamListener>,
    forward_proxy: Option<SocketAddr>,
    token: String,
    control: Option<SocketAddr>,
    capture: Option<capture::Capture>,
    access_log: PathBuf,
    /// The state folder.
    root: PathBuf,
    folder: PathBuf,
    /// What the sidecar writes.
    own: PathBuf,
    memory: PathBuf,
}

/// Runs the workload to its end; the app's exit code is ours.
pub(crate) async fn run(run: Run, state: &StateArg) -> anyhow::Result<u8> {
    let state = state.folder()?;
    let command = run.command.clone();
    let with_parent = run.exit_with_parent;
    let settled = settle(run, &state).await?;
    let file = settled.folder.join("bootstrap.json");
    let bootstrap = bootstrap::of(&settled);
    bootstrap.check()?;
    write_private(&file, &serde_json::to_vec_pretty(&bootstrap)?)?;
    if settled.capture.is_some() {
        // One left behind by a kill is another user's by now.
        std::fs::remove_dir_all(&settled.memory).ok();
    }
    state.create_guarded(&settled.memory)?;
    if let Some(capture) = &settled.capture {
        capture.hand_over(&settled, &file)?;
    }
    let files = supervise::Files {
        bootstrap: &file,
        admin_socket: &bootstrap.admin_socket,
    };
    let ended = supervise::run(&settled, &files, &command, with_parent).await;
    if settled.capture.is_some() {
        capture::end().await?;
    }
    // The key leaves memory with the workload; what is left of a failed removal dies at a reboot.
    std::fs::remove_dir_all(&settled.memory).ok();
    ended
}

async fn settle(run: Run, state: &StateFolder) -> anyhow::Result<Settled> {
    let name = ObjectName::new(run.namespace, run.name);
    let folder = state.workload(&name);
    state.create(&folder)?;
    if let Ok(pids) = state.pids(&name)
        && signal::is_alive(pids.run)
    {
        bail!(
            "{name} runs already as process {}; end that first",
            pids.run
        );
    }
    let mut taken = Ports::default();
    let listeners = run.upstreams.iter().map(|upstream| upstream.listen);
    for listener in listeners.chain(run.forward_proxy) {
        taken.note(listener.port());
    }
    let ports = settle_ports(run.ports, taken)?;
    let address = if let Some(address) = run.address {
        address
    } else {
        let mut needed: Vec<u16> = ports.values().copied().collect();
        needed.push(TUNNEL_PORT);
        own_address(&format!("{} {name}", state.root().display()), &needed)?
    };
    let tunnel_port = if cfg!(target_os = "linux") {
        TUNNEL_PORT
    } else {
        free_port(address)?
    };
    let token = match run.token {
        Some(path) => read_token(&path)?,
        None => token::for_identity(state, &name.namespace, &run.service_account).await?,
    };
    let capture = run.capture.settle(tunnel_port)?;
    // A sidecar of another user gets a folder of its own: root writes beside it, not in it.
    let own = match &capture {
        Some(_) => folder.join("proxy"),
        None => folder.clone(),
    };
    state.create(&own)?;
    Ok(Settled {
        access_log: run.access_log.unwrap_or_else(|| own.join("access.log")),
        capture,
        root: state.root().to_owned(),
        own,
        labels: run
            .labels
            .into_iter()
            .map(|pair| (pair.key, pair.value))
            .collect(),
        service_account: run.service_account,
        upstreams: run.upstreams,
        forward_proxy: run.forward_proxy,
        control: run.control,
        memory: state.memory(&name),
        name,
        ports,
        address,
        tunnel_port,
        token,
        folder,
    })
}

/// The app's ports; those it leaves open are none of its own others, and none of `taken`.
fn settle_ports(wanted: Vec<Pair<u16>>, mut taken: Ports) -> anyhow::Result<BTreeMap<String, u16>> {
    for pair in &wanted {
        taken.note(pair.value);
    }
    let mut ports = BTreeMap::new();
    for Pair { key, value } in wanted {
        let port = match value {
            0 => taken.local()?.port(),
            port => port,
        };
        if ports.insert(key.clone(), port).is_some() {
            bail!("--port {key}=... is given twice");
        }
    }
    Ok(ports)
}

fn read_token(path: &std::path::Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the token {}", path.display()))?;
    }
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_split_at_the_last_equals_sign() {
        let pair: Pair<u16> = "http=8080".parse().unwrap();
        assert_eq!((pair.key.as_str(), pair.value), ("http", 8080));
        assert_eq!("a=b=1".parse::<Pair<u16>>().unwrap().key, "a=b");
        for bad in ["", "=1", "http", "http=", "http=x", "http=70000"] {
            assert!(bad.parse::<Pair<u16>>().is_err(), "{bad}");
        }
    }
}
