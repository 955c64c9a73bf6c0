//! Injected faults through two sidecars: what the caller sees, and that nothing reaches the app.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::harness::{App, Mesh};

const GET: &str = "GET / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n\r\n";
const INJECTED: &str = "mesh_faults_injected_total";

/// A policy of `catalog` with one fault, and more of its sections.
fn policy(fault: &str, more: &str) -> String {
    format!(
        "apiVersion: mesh.dev/v1alpha1
kind: TrafficPolicy
metadata: {{ name: chaos, namespace: demo }}
spec: {{ targetRefs: [{{ kind: Service, name: catalog }}], fault: [{{ {fault} }}]{more} }}
"
    )
}

#[test]
fn an_abort_says_who_injected_it_and_reaches_no_app() {
    let app = App::ok();
    let mesh = Mesh::start(&[app.address], &policy("abort: { status: 418 }", ""));
    let answer = mesh.ask(GET);
    assert!(answer.starts_with("HTTP/1.1 418 "), "{answer}");
    let expected = "mesh-error: origin=outbound; reason=fault; policy=demo/chaos\r\n";
    assert!(answer.contains(expected), "{answer}");
    let call = "POST /a.B/C HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";
    let answer = mesh.ask(call);
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("grpc-status: "),
        "{answer}"
    );
    assert_eq!(app.received(), "");
    mesh.caller.await_count(INJECTED, "fault=\"abort\"", 2);
    mesh.caller
        .await_count("mesh_requests_total", "reason=\"fault\"", 2);
}

#[test]
fn a_code_is_answered_to_calls_and_others_pass() {
    let app = App::ok();
    let mesh = Mesh::start(&[app.address], &policy("abort: { grpc: ABORTED }", ""));
    assert!(mesh.ask(GET).starts_with("HTTP/1.1 200 "));
    let call = "POST /a.B/C HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";
    let answer = mesh.ask(call);
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("grpc-status: 10\r\n"),
        "{answer}"
    );
}

#[test]
fn a_reset_cuts_the_connection_without_an_answer() {
    let app = App::ok();
    let mesh = Mesh::start(&[app.address], &policy("abort: { reset: true }", ""));
    let mut stream = mesh.dial();
    stream.write_all(GET.as_bytes()).unwrap();
    let mut got = Vec::new();
    let ended = stream.read_to_end(&mut got);
    assert!(ended.is_err() && got.is_empty(), "{ended:?} {got:?}");
    assert_eq!(app.received(), "");
}

#[test]
fn a_delay_counts_towards_the_requests_timeout() {
    let app = App::ok();
    let delay = "delay: { fixed: 300ms }";
    let mesh = Mesh::start(&[app.address], &policy(delay, ""));
    let begun = Instant::now();
    assert!(mesh.ask(GET).starts_with("HTTP/1.1 200 "));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    drop(mesh);
    app.forget();
    let mesh = Mesh::start(
        &[app.address],
        &policy(delay, ", timeout: { request: 50ms }"),
    );
    let answer = mesh.ask(GET);
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains("reason=request-timeout"), "{answer}");
    assert_eq!(app.received(), "");
}

#[test]
fn an_abort_is_retried_by_the_same_proxy_only_if_asked() {
    let app = App::ok();
    let retry = ", retry: { attempts: 9, retryOn: { status: [\"503\"] } }";
    let mesh = Mesh::start(
        &[app.address],
        &policy("abort: { percent: 50, status: 503 }", retry),
    );
    let failed = |mesh: &Mesh| {
        let answers = (0..40).map(|_| mesh.ask(GET));
        answers
            .filter(|answer| answer.starts_with("HTTP/1.1 503 "))
            .count()
    };
    // Of 40 at one half: outside of these once in 10^6.
    let count = failed(&mesh);
    assert!((5..=35).contains(&count), "{count}");
    drop(mesh);
    let asked = policy("abort: { percent: 50, status: 503 }, retry: Allow", retry);
    let mesh = Mesh::start(&[app.address], &asked);
    // All of ten tries fail once in 1,024: more than 3 of 40 once in 10^6.
    assert!(failed(&mesh) <= 3);
}

#[test]
fn a_slow_response_takes_its_time_and_is_whole() {
    let body = "x".repeat(2_000);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n{body}");
    let app = App::start(move |_| answer.clone());
    let slow = policy("bandwidth: { bytesPerSecond: 4000 }", "");
    let mesh = Mesh::start(&[app.address], &slow);
    let begun = Instant::now();
    let got = mesh.ask(GET);
    let took = begun.elapsed();
    assert!(got.ends_with(&body), "{got}");
    // The last slice goes when the others had their time, and is waited for too.
    assert!(took >= Duration::from_millis(450), "{took:?}");
}
