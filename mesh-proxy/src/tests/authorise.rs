//! An `AuthorizationPolicy` through two sidecars: who is denied is told so, and nothing reaches the app.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::harness::{App, Mesh};

const OPAQUE: &str = "name: db, appProtocol: tcp";
const REFUSED: &str = "mesh_connections_refused_total";

/// A policy of `catalog` whose one Allow takes in the service account `account`.
fn allow(account: &str, enforcement: &str) -> String {
    format!(
        "apiVersion: mesh.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {{ name: callers, namespace: demo }}
spec:
  selector: {{ matchLabels: {{ app: catalog }} }}
  enforcement: {enforcement}
  rules: [{{ from: [{{ identities: ['spiffe://mesh.test/ns/demo/sa/{account}'] }}] }}]
"
    )
}

/// What came until the end, and whether that was a reset.
fn read_out(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut got = Vec::new();
    let ended = stream.read_to_end(&mut got);
    let reset = ended.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
    (got, reset)
}

#[test]
fn a_denied_identity_is_reset_with_its_reason_and_reaches_no_app() {
    let app = App::ok();
    let mesh = Mesh::start_speaking(&[app.address], OPAQUE, &allow("other", "Enforce"));
    let mut stream = mesh.dial();
    // Whichever call comes first is told of the reset.
    let refused_write = stream.write_all(b"bytes").is_err();
    let (got, reset) = read_out(&mut stream);
    assert_eq!((got, refused_write || reset), (vec![], true));
    mesh.servers[0].await_count(REFUSED, "reason=\"denied\"", 1);
    mesh.caller.await_count(REFUSED, "reason=\"denied\"", 1);
    assert_eq!(app.received(), "");
}

#[test]
fn a_denied_request_is_answered_with_403_and_its_reason() {
    let app = App::ok();
    let mesh = Mesh::start(&[app.address], &allow("other", "Enforce"));
    let answer = mesh.ask("GET / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("reason=denied"), "{answer}");
    assert_eq!(app.received(), "");
}

#[test]
fn an_allowed_identity_passes_and_one_in_the_clear_does_not() {
    let app = App::ok();
    let open = "apiVersion: mesh.dev/v1alpha1
kind: MutualTLSPolicy
metadata: { name: open, namespace: demo }
spec: { selector: { matchLabels: { app: catalog } }, mode: Permissive }
---
";
    let both = format!("{open}{}", allow("shop", "Enforce"));
    let mesh = Mesh::start(&[app.address], &both);
    let request = "GET / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n\r\n";
    let answer = mesh.ask(request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    app.forget();
    // It says who it is by nothing, so no Allow of an identity takes it in.
    let server = &mesh.servers[0];
    let mut stream = TcpStream::connect((server.bootstrap.address, app.address.port())).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    // It may be reset before it is written.
    drop(stream.write_all(request.as_bytes()));
    let (got, _) = read_out(&mut stream);
    assert!(!String::from_utf8_lossy(&got).starts_with("HTTP/1.1 200"));
    server.await_count(REFUSED, "reason=\"denied\"", 1);
    assert_eq!(app.received(), "");
}

#[test]
fn a_policy_that_audits_counts_and_lets_pass() {
    let app = App::ok();
    let mesh = Mesh::start(&[app.address], &allow("other", "Audit"));
    let answer = mesh.ask("GET / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    mesh.servers[0].await_count("mesh_authorization_audited_total", "demo/callers", 1);
}
