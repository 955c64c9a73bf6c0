//! Copies of requests through two sidecars: marked, whole, compared, and never at the request's cost.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;

use super::harness::{App, Mesh};

const COPIES: &str = "mesh_mirrors_total";
const COMPARED: &str = "mesh_mirror_comparisons_total";

/// A route of `catalog` with a mirror to `shadow`, whose app is at `address` without a sidecar.
fn mirrored(address: SocketAddr, section: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "apiVersion: v1
kind: Service
metadata: {{ name: shadow, namespace: demo }}
spec: {{ selector: {{ app: shadow }}, ports: [{{ name: http, port: 80, targetPort: {port}, appProtocol: http }}] }}
---
apiVersion: mesh.dev/v1alpha1
kind: Workload
metadata: {{ name: shadow-0, namespace: demo, labels: {{ app: shadow }} }}
spec: {{ address: {ip}, protocol: None }}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: r, namespace: demo }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: catalog, port: 80 }}]
  rules:
  - filters: [{{ type: RequestMirror, requestMirror: {{ backendRef: {{ name: shadow, port: 80 }} }} }}]
    backendRefs: [{{ name: catalog, port: 80 }}]
---
apiVersion: mesh.dev/v1alpha1
kind: TrafficPolicy
metadata: {{ name: copies, namespace: demo }}
spec: {{ targetRefs: [{{ kind: Service, name: catalog }}], mirror: {{ {section} }} }}
"
    )
}

fn post(body: &str) -> String {
    format!(
        "POST /items HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\nmesh-mirror: forged\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An app that reads one request to the end of `content`, tells it, and answers `answer`.
fn reading(content: &'static str, answer: &'static str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut got = Vec::new();
            let mut buffer = [0; 4096];
            while !got.ends_with(content.as_bytes())
                && let Ok(read @ 1..) = stream.read(&mut buffer)
            {
                got.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            tell.send(String::from_utf8(got).unwrap()).unwrap();
        }
    });
    (address, told)
}

#[test]
fn a_copy_is_marked_whole_and_compared() {
    let app = App::ok();
    let content = "content of a request";
    let (shadow, told) = reading(content, "HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nok");
    let section = "compare: [Status, Latency, BodyHash]";
    let mesh = Mesh::start(&[app.address], &mirrored(shadow, section));
    let answer = mesh.ask(&post(content));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    mesh.caller.await_count(COPIES, "outcome=\"answered\"", 1);
    let copy = told.recv().unwrap();
    assert!(
        copy.starts_with("POST /items HTTP/1.1\r\nhost: catalog-shadow\r\n"),
        "{copy}"
    );
    assert!(
        copy.contains("mesh-mirror: demo/catalog:80\r\n") && !copy.contains("forged"),
        "{copy}"
    );
    assert!(copy.ends_with("\r\n\r\ncontent of a request"), "{copy}");
    assert!(!app.received().contains("-shadow"), "{}", app.received());
    for (part, result) in [("status", "different"), ("body", "equal")] {
        let labels = format!("compared=\"{part}\",result=\"{result}\"");
        mesh.caller.await_count(COMPARED, &labels, 1);
    }
    mesh.caller.await_count(COMPARED, "compared=\"latency\"", 1);
}

#[test]
fn a_dead_mirror_costs_the_request_nothing() {
    let app = App::ok();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let mesh = Mesh::start(&[app.address], &mirrored(address, ""));
    for _ in 0..20 {
        let answer = mesh.ask(&post("x"));
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ok"),
            "{answer}"
        );
    }
    mesh.caller.await_count(COPIES, "outcome=\"failed\"", 20);
}

/// Takes connections and never reads.
fn stuck() -> (TcpListener, SocketAddr) {
    let stuck = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stuck.local_addr().unwrap();
    (stuck, address)
}

#[test]
fn a_copy_whose_content_waits_beyond_its_bound_is_given_up() {
    let app = App::ok();
    let (_stuck, address) = stuck();
    // Not even one part may wait.
    let section = "maxBodyBytes: 1, timeout: 20s";
    let mesh = Mesh::start(&[app.address], &mirrored(address, section));
    let answer = mesh.ask(&post("content"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    mesh.caller.await_count(COPIES, "outcome=\"lost\"", 1);
}

#[test]
fn no_more_copies_are_made_than_may_be_at_a_time() {
    let app = App::ok();
    let (_stuck, address) = stuck();
    let section = "maxConcurrent: 2, timeout: 20s";
    let mesh = Mesh::start(&[app.address], &mirrored(address, section));
    // Each copy holds its place before its request is answered, and none of them is.
    let get = "GET / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n\r\n";
    for _ in 0..5 {
        let answer = mesh.ask(get);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    mesh.caller.await_count(COPIES, "outcome=\"over-limit\"", 3);
}
