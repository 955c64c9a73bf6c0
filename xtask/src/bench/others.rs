//! Pairs of others: mutual TLS 1.3 on X25519 between the two, P-256 leaves, one route, no telemetry.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::peer::{APP, Lab, Peer, Ports, Start, local};

/// The name in every leaf.
const NAME: &str = "app.bench";
/// The door whose app speaks HTTP/2.
const H2: usize = 3;
/// Connections, and requests at once, that an Envoy may have: the 1,024 of its defaults are fewer than are held.
const LIMIT: u32 = 100_000;
const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";

/// A pair of Envoys: HTTP/1.1 between them as a sidecar of Istio does, HTTP/2, or opaque.
pub(crate) fn envoy(
    lab: &Lab<'_>,
    name: &'static str,
    binary: &Path,
    ports: Ports,
) -> anyhow::Result<Peer> {
    let mut pair = Vec::new();
    for (side, log) in [(Side::Second, "b"), (Side::First, "a")] {
        let mut resources = (Vec::new(), Vec::new());
        for (door, app) in APP.iter().enumerate() {
            let kind = match name {
                "envoy-tcp" => Wire::Opaque,
                "envoy" if door == H2 => Wire::Http2,
                _ if door > 0 => continue,
                "envoy-h2" => Wire::Http2,
                _ => Wire::Http1,
            };
            let (listen, to) = match side {
                Side::First => (ports.first(door), ports.second(door)),
                Side::Second => (ports.second(door), *app),
            };
            resources.0.push(listener(lab, side, kind, listen, door));
            resources.1.push(cluster(lab, side, kind, to, door));
        }
        let all =
            json!({ "static_resources": { "listeners": resources.0, "clusters": resources.1 } });
        let path = file(lab, &format!("{name}-{log}.json"), &all.to_string())?;
        let mut command = Command::new(binary);
        command
            .args(["--concurrency", &lab.workers().to_string()])
            .args(["--log-level", "warning", "--disable-hot-restart", "-c"])
            .arg(path);
        pair.push(Start {
            command,
            log: format!("{name}-{log}"),
        });
    }
    let opaque = name == "envoy-tcp";
    let has = |door| door == 0 || opaque || (name == "envoy" && door == H2);
    let doors = [0, 1, 2, 3].map(|door| has(door).then(|| local(ports.first(door))));
    let peer = Peer::new(lab, name, doors, pair, vec![])?;
    Ok(peer.with_second(local(ports.second(0)), lab.folder.path()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Second,
}

/// What the two speak.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Http1,
    Http2,
    Opaque,
}

fn listener(lab: &Lab<'_>, side: Side, wire: Wire, port: u16, door: usize) -> Value {
    let to = format!("to-{door}");
    let filter = if wire == Wire::Opaque {
        json!({ "name": "tcp", "typed_config": {
            "@type": format!("{FILTERS}.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": "in", "cluster": to } })
    } else {
        let route =
            json!({ "match": { "prefix": "/" }, "route": { "cluster": to, "timeout": "0s" } });
        json!({ "name": "http", "typed_config": {
            "@type": format!("{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "in",
            "codec_type": "AUTO",
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }] },
            "http_filters": [{ "name": "envoy.filters.http.router", "typed_config": {
                "@type": format!("{FILTERS}.http.router.v3.Router") } }] } })
    };
    let mut chain = json!({ "filters": [filter] });
    if let (Side::Second, Value::Object(chain)) = (side, &mut chain) {
        let mut context = common(lab, wire);
        if let Value::Object(context) = &mut context {
            context.insert("require_client_certificate".to_owned(), json!(true));
        }
        chain.insert(
            "transport_socket".to_owned(),
            tls("DownstreamTlsContext", context),
        );
    }
    json!({ "name": format!("in-{door}"), "address": address(port), "filter_chains": [chain] })
}

fn cluster(lab: &Lab<'_>, side: Side, wire: Wire, port: u16, door: usize) -> Value {
    let name = format!("to-{door}");
    let endpoint = json!({ "endpoint": { "address": address(port) } });
    let mut cluster = json!({
        "name": name,
        "connect_timeout": "1s",
        "circuit_breakers": { "thresholds": [{
            "max_connections": LIMIT, "max_pending_requests": LIMIT, "max_requests": LIMIT,
        }] },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [endpoint] }] },
    });
    let Value::Object(fields) = &mut cluster else {
        return cluster;
    };
    if side == Side::First {
        let mut context = common(lab, wire);
        if let Value::Object(context) = &mut context {
            context.insert("sni".to_owned(), json!(NAME));
        }
        fields.insert(
            "transport_socket".to_owned(),
            tls("UpstreamTlsContext", context),
        );
    }
    // The app of the last door takes nothing but HTTP/2.
    if wire == Wire::Http2 && (side == Side::First || door == H2) {
        let options = json!({ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} } } });
        fields.insert("typed_extension_protocol_options".to_owned(), options);
    }
    cluster
}

fn common(lab: &Lab<'_>, wire: Wire) -> Value {
    let path = |name: &str| json!({ "filename": lab.folder.path().join(name) });
    let alpn = match wire {
        Wire::Http1 => vec!["http/1.1"],
        Wire::Http2 => vec!["h2"],
        Wire::Opaque => vec![],
    };
    json!({ "common_tls_context": {
        "alpn_protocols": alpn,
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": ["X25519"] },
        "tls_certificates": [{ "certificate_chain": path("leaf.pem"), "private_key": path("leaf.key") }],
        "validation_context": { "trusted_ca": path("ca.pem"), "match_typed_subject_alt_names": [
            { "san_type": "DNS", "matcher": { "exact": NAME } }] } } })
}

fn tls(kind: &str, mut context: Value) -> Value {
    let of = format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}");
    if let Value::Object(context) = &mut context {
        context.insert("@type".to_owned(), json!(of));
    }
    json!({ "name": "tls", "typed_config": context })
}

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

/// Two of `haproxy`, for HTTP and opaque bytes.
pub(crate) fn haproxy(lab: &Lab<'_>, binary: &Path, ports: Ports) -> anyhow::Result<Peer> {
    let at = lab.folder.path().display().to_string();
    let mut pair = Vec::new();
    for (side, log) in [(Side::Second, "b"), (Side::First, "a")] {
        let mut text = format!(
            "global\n  nbthread {}\n  maxconn 9500\n  \
             ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256\n  \
             ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256\n\
             defaults\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  \
             http-reuse always\n",
            lab.workers()
        );
        for (door, app) in APP.iter().enumerate() {
            let mode = if matches!(door, 0 | H2) {
                "http"
            } else {
                "tcp"
            };
            let (clear, secure) = if door == H2 {
                (" proto h2", " alpn h2")
            } else {
                ("", "")
            };
            let (first, second) = (ports.first(door), ports.second(door));
            let (bind, server) = match side {
                Side::First => (
                    format!("127.0.0.1:{first}{clear}"),
                    format!(
                        "127.0.0.1:{second} ssl verify required ca-file {at}/ca.pem \
                         crt {at}/both.pem sni str({NAME}) verifyhost {NAME}{secure}"
                    ),
                ),
                Side::Second => (
                    format!(
                        "127.0.0.1:{second} ssl crt {at}/both.pem ca-file {at}/ca.pem \
                         verify required ssl-min-ver TLSv1.3 curves X25519{secure}"
                    ),
                    format!("127.0.0.1:{app}{clear}"),
                ),
            };
            writeln!(
                text,
                "listen door{door}\n  mode {mode}\n  bind {bind}\n  server to {server}"
            )?;
        }
        let path = file(lab, &format!("haproxy-{log}.cfg"), &text)?;
        let mut command = Command::new(binary);
        command.args(["-db", "-f"]).arg(path);
        pair.push(Start {
            command,
            log: format!("haproxy-{log}"),
        });
    }
    let doors = [0, 1, 2, 3].map(|door| Some(local(ports.first(door))));
    let peer = Peer::new(lab, "haproxy", doors, pair, vec![])?;
    Ok(peer.with_second(local(ports.second(0)), lab.folder.path()))
}

/// Two of nginx, for HTTP: one process each, so in pinned mode only.
pub(crate) fn nginx(lab: &Lab<'_>, binary: &Path, ports: Ports) -> anyhow::Result<Peer> {
    let at = lab.folder.path().display().to_string();
    let mut pair = Vec::new();
    for (side, log) in [(Side::Second, "b"), (Side::First, "a")] {
        let (listen, to, scheme) = match side {
            Side::First => (format!("{}", ports.first(0)), ports.second(0), "https"),
            Side::Second => (format!("{} ssl", ports.second(0)), APP[0], "http"),
        };
        let text = format!(
            "daemon off; master_process off; pid {at}/nginx-{log}.pid;\n\
             events {{ worker_connections 20000; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;\n\
             upstream to {{ server 127.0.0.1:{to}; keepalive 512; keepalive_requests 1000000000; }}\n\
             server {{ listen 127.0.0.1:{listen};\n\
             ssl_certificate {at}/leaf.pem; ssl_certificate_key {at}/leaf.key;\n\
             ssl_protocols TLSv1.3; ssl_ecdh_curve X25519;\n\
             ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;\n\
             {verify}\n\
             location / {{ proxy_pass {scheme}://to; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_max_temp_file_size 0;\n\
             proxy_ssl_certificate {at}/leaf.pem; proxy_ssl_certificate_key {at}/leaf.key;\n\
             proxy_ssl_trusted_certificate {at}/ca.pem; proxy_ssl_verify on;\n\
             proxy_ssl_protocols TLSv1.3; proxy_ssl_name {NAME}; proxy_ssl_server_name on;\n\
             }} }} }}\n",
            verify = match side {
                Side::First => String::new(),
                Side::Second =>
                    format!("ssl_client_certificate {at}/ca.pem; ssl_verify_client on;"),
            }
        );
        let path = file(lab, &format!("nginx-{log}.conf"), &text)?;
        let mut command = Command::new(binary);
        command.args(["-e", "stderr", "-p", &at, "-c"]).arg(path);
        pair.push(Start {
            command,
            log: format!("nginx-{log}"),
        });
    }
    let doors = [Some(local(ports.first(0))), None, None, None];
    let peer = Peer::new(lab, "nginx", doors, pair, vec![])?;
    Ok(peer.with_second(local(ports.second(0)), lab.folder.path()))
}

/// A pair of our own forwarders, which read no request: over mutual TLS, or plain.
pub(crate) fn forward(lab: &Lab<'_>, name: &'static str, ports: Ports) -> anyhow::Result<Peer> {
    let mut pair = Vec::new();
    for (side, log) in [(Side::Second, "b"), (Side::First, "a")] {
        let mut command = Command::new(&lab.tools.bench);
        command.arg("forward");
        for (door, app) in APP.iter().enumerate() {
            let (listen, to) = match side {
                Side::First => (ports.first(door), ports.second(door)),
                Side::Second => (ports.second(door), *app),
            };
            command.args(["--via", &format!("{}={}", local(listen), local(to))]);
        }
        if name == "ref-tls" {
            let of = if side == Side::First {
                "--tls-out"
            } else {
                "--tls-in"
            };
            command.arg(of).arg(lab.folder.path());
        }
        pair.push(Start {
            command,
            log: format!("{name}-{log}"),
        });
    }
    let doors = [0, 1, 2, 3].map(|door| Some(local(ports.first(door))));
    let peer = Peer::new(lab, name, doors, pair, vec![])?;
    if name == "ref-copy" {
        return Ok(peer);
    }
    Ok(peer.with_second(local(ports.second(0)), lab.folder.path()))
}

fn file(lab: &Lab<'_>, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let path = lab.folder.path().join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}
