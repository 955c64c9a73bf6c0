use std::io::{Read, Write};
use std::net::TcpStream;

use mesh_api::model::backend::Backend;
use mesh_api::model::destination::{Destination, Protocol};
use mesh_api::model::entry::Entry;
use mesh_api::model::mesh::{MeshFacts, UnknownDestinations};
use mesh_api::model::origin::Sourced;
use mesh_api::model::policy::{BackendSettings, ExchangeTimeouts, RetryPolicy};
use mesh_api::wire;
use mesh_api::wire::generated::{Batch, VersionedEntry};

use super::*;
use crate::bootstrap::JoinTokenSource;
use crate::config::ControlTask;
use crate::identity::{self, fixture::Authority};
use crate::telemetry::Telemetry;
use crate::telemetry::access_log::Sink;

struct Fixture {
    admin: Admin,
    config: Config,
    _task: ControlTask,
    folder: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let workload: mesh_api::name::ObjectName = "demo/shop".parse().unwrap();
    let address = "127.0.0.2".parse().unwrap();
    let account = "shop".parse().unwrap();
    let mut bootstrap = Bootstrap::new(workload.clone(), account, address, folder.path());
    bootstrap.upstreams = vec!["catalog:80=127.0.0.1:1080".parse().unwrap()];
    bootstrap.join_token = Some(JoinTokenSource::new("/does/not/exist"));
    let authority = Authority::new();
    identity::save(
        &bootstrap.identity_dir,
        &authority.credentials("demo", "shop"),
    )
    .unwrap();
    crate::config::save_last_good(&bootstrap, &batch());
    let telemetry = Telemetry::new(workload, &Sink::Off).unwrap();
    let (config, task) = Config::open(&bootstrap, telemetry).unwrap();
    let health: EndpointHealth = Arc::new(|| json!([{ "ejected": true }]));
    Fixture {
        admin: Admin::new(
            config.clone(),
            bootstrap,
            health,
            Arc::new(|| vec!["listeners"]),
        ),
        config,
        _task: task,
        folder,
    }
}

fn batch() -> Batch {
    let name: mesh_api::name::DestinationName = "demo/catalog:80".parse().unwrap();
    let destination = Destination {
        name: name.clone(),
        consumer: "demo".parse().unwrap(),
        protocol: Protocol::Http,
        addresses: vec![],
        routes: vec![],
        connection_routes: Vec::new(),
        backends: vec![Backend {
            name,
            protocol: Protocol::Http,
            settings: BackendSettings::default(),
            endpoints: vec![],
        }],
        timeouts: ExchangeTimeouts::default(),
        retry: Sourced::default_value(RetryPolicy::default()),
        faults: Vec::new(),
        own_faults: None,
        stickiness: None,
    };
    let facts = MeshFacts {
        trust_domain: "mesh.test".parse().unwrap(),
        trust_domain_aliases: vec![],
        cluster_domain: "cluster.local".parse().unwrap(),
        ranges: vec![],
        unknown_destinations: UnknownDestinations::Allow,
    };
    let entry = |entry: Entry| {
        let encoded = wire::encode(&entry);
        VersionedEntry {
            name: encoded.name.to_string(),
            version: encoded.version.to_string(),
            entry: encoded.bytes,
            features: encoded.features,
        }
    };
    Batch {
        nonce: 0,
        upsert: vec![
            entry(Entry::Destination(destination)),
            entry(Entry::Mesh(facts)),
        ],
        remove: vec![],
    }
}

fn ask(admin: &Admin, path: &str, body: &str) -> (u16, Value) {
    let answer = admin.handle(path, body.as_bytes());
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

#[test]
fn a_proxy_serves_and_tells_its_last_good_without_a_control_plane() {
    let fixture = fixture();
    let admin = &fixture.admin;
    let (status, config) = ask(admin, "/config", "");
    assert_eq!(status, 200);
    assert_eq!(config["destinations"][0]["name"], "demo/catalog:80");
    assert_eq!(config["status"]["fromDisk"], true);
    assert_eq!(
        config["status"]["entries"]["inbound/demo/shop"]["state"],
        "pending"
    );
    assert_eq!(config["status"]["entries"]["mesh"]["state"], "held");
    assert_eq!(config["mesh"]["trustDomain"], "mesh.test");
    let (status, ready) = ask(admin, "/ready", "");
    assert_eq!(
        (status, &ready["waitingFor"]),
        (503, &json!(["listeners", "inbound"]))
    );
    let (_, certificates) = ask(admin, "/certificates", "");
    assert_eq!(
        certificates["identity"],
        "spiffe://mesh.test/ns/demo/sa/shop"
    );
    assert!(!certificates.to_string().to_lowercase().contains("key"));
    let leaf = &certificates["chain"][0];
    assert_eq!(leaf["serial"], certificates["serial"]);
    assert_eq!(leaf["notAfter"], certificates["notAfter"]);
    let listeners = config["listeners"].as_array().unwrap();
    let kinds: Vec<&str> = listeners
        .iter()
        .filter_map(|l| l["kind"].as_str())
        .collect();
    assert_eq!(kinds, ["outbound", "tunnel", "admin"]);
    assert_eq!(listeners[0]["origin"], "bootstrap upstreams[0]");
    assert_eq!(ask(admin, "/endpoints", "").1[0]["ejected"], true);
    assert_eq!(ask(admin, "/nope", "").0, 404);
    let metrics = admin.handle("/metrics", b"").body;
    assert!(
        String::from_utf8(metrics)
            .unwrap()
            .contains("mesh_config_generation 1")
    );
    assert!(fixture.config.snapshot().mesh.is_some());
}

#[test]
fn requests_are_explained_by_the_live_snapshot() {
    let fixture = fixture();
    let cases: &[(&str, u16, &str, Value)] = &[
        (
            r#"{"host": "catalog"}"#,
            200,
            "/destination",
            json!("demo/catalog:80"),
        ),
        (
            r#"{"host": "catalog.demo.svc:80", "path": "/a?b=1", "headers": {"x": "y"}}"#,
            200,
            "/destination",
            json!("demo/catalog:80"),
        ),
        (
            r#"{"host": "example.com.org.net"}"#,
            200,
            "/outside",
            json!(true),
        ),
        (
            r#"{"host": "catalog", "path": "/../x"}"#,
            400,
            "/error",
            json!("path: the path climbs above the root"),
        ),
        (
            r#"{"host": "other"}"#,
            409,
            "/error",
            json!("demo/other:80 was not held here; it is asked for now, so try again"),
        ),
        (r#"{"host": 5}"#, 400, "", Value::Null),
        ("", 400, "", Value::Null),
    ];
    for (body, status, pointer, expected) in cases {
        let (got, value) = ask(&fixture.admin, "/explain", body);
        assert_eq!(got, *status, "{body}: {value}");
        if !pointer.is_empty() {
            assert_eq!(value.pointer(pointer), Some(expected), "{body}");
        }
    }
    let status = fixture.config.status();
    assert!(
        status.entries.contains_key("destination/demo/other:80"),
        "asked for"
    );
}

#[tokio::test]
async fn the_socket_is_private_and_replaces_a_stale_one() {
    let fixture = fixture();
    let path = fixture.folder.path().join("a.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let socket = AdminSocket::bind(&path).unwrap();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(
        AdminSocket::bind(&path),
        Err(ServeError::Taken(_))
    ));
    let file = fixture.folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(matches!(
        AdminSocket::bind(&file),
        Err(ServeError::NotASocket(_))
    ));
    let served = socket.serve(fixture.admin.clone());
    let asked = tokio::task::spawn_blocking({
        let path = path.clone();
        move || {
            let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
            exchange(&mut stream, "/version")
        }
    });
    tokio::select! {
        () = served => unreachable!("it serves for ever"),
        text = asked => assert!(text.unwrap().contains(env!("CARGO_PKG_VERSION"))),
    }
    assert!(!path.exists(), "removed at the end");
}

#[test]
fn the_observe_door_shows_metrics_and_readiness_alone() {
    let fixture = fixture();
    let observe = Observe::start("127.0.0.1:0".parse().unwrap(), fixture.admin.clone()).unwrap();
    let get = |path| exchange(&mut TcpStream::connect(observe.address()).unwrap(), path);
    assert!(get("/metrics").contains("mesh_config_connected 0"));
    assert!(get("/ready").starts_with("HTTP/1.1 503"));
    for hidden in ["/config", "/certificates", "/"] {
        assert!(get(hidden).starts_with("HTTP/1.1 404"), "{hidden}");
    }
}

fn exchange(stream: &mut (impl Read + Write), path: &str) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
