//! What ends by time: streams, connections, and requests whose deadline is over.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::harness::{App, Mesh};
use super::upgrade::{ASK, echo};

/// The limit of most tests here.
const LIMIT: Duration = Duration::from_millis(300);
/// What a timer may be late on a machine that does much else.
const LATE: Duration = Duration::from_secs(4);

fn policy(timeouts: &str) -> String {
    format!(
        "
apiVersion: mesh.dev/v1alpha1
kind: TrafficPolicy
metadata: {{ name: catalog, namespace: demo }}
spec: {{ targetRefs: [{{ kind: Service, name: catalog }}], timeout: {{ {timeouts} }} }}
"
    )
}

fn request(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n{fields}\r\n")
}

/// What `ask` returns, which must take [`LIMIT`], `before` that is no time of the limit's.
fn timed<T>(before: Duration, ask: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let answer = ask();
    let took = started.elapsed();
    assert!(took >= LIMIT && took < before + LIMIT + LATE, "{took:?}");
    answer
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        got.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8(got).unwrap()
}

/// An app that sends a head, then `parts` of its content, [`LIMIT`] divided by 3 apart, and then nothing.
fn trickle(parts: u32) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let read = stream.read(&mut [0; 4096]).unwrap();
                assert!(read > 0);
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                for _ in 0..parts {
                    thread::sleep(LIMIT / 3);
                    if stream.write_all(b"x").is_err() {
                        return;
                    }
                }
                drop(stream.read(&mut [0; 1]));
            });
        }
    });
    address
}

#[test]
fn a_stream_that_is_idle_ends() {
    let hangs = App::start(|_| {
        thread::sleep(LATE + LIMIT);
        String::new()
    });
    let limit = format!("streamIdle: {}ms", LIMIT.as_millis());
    let mesh = Mesh::start(&[hangs.address], &policy(&limit));
    let answer = timed(Duration::ZERO, || mesh.ask(&request("")));
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains("reason=idle-timeout"), "{answer}");
    drop(mesh);
    // Nine pauses of a third of the limit do not end it; the silence after them does.
    let mesh = Mesh::start(&[trickle(9)], &policy(&limit));
    let mut stream = mesh.dial();
    stream.write_all(request("").as_bytes()).unwrap();
    let answer = timed(LIMIT * 3, || read_all(&mut stream));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nxxxxxxxxx"), "{answer}");
    mesh.caller
        .await_count("mesh_requests_total", "reason=\"idle-timeout\"", 1);
}

#[test]
fn a_stream_ends_at_its_longest_whatever_became_of_it() {
    let limit = format!("maxStreamDuration: {}ms", LIMIT.as_millis());
    let mesh = Mesh::start(&[trickle(60)], &policy(&limit));
    let mut stream = mesh.dial();
    stream.write_all(request("").as_bytes()).unwrap();
    let answer = timed(Duration::ZERO, || read_all(&mut stream));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(mesh);
    let mesh = Mesh::start(&[echo()], &policy(&limit));
    let mut stream = mesh.dial();
    let read = timed(Duration::ZERO, || {
        stream.write_all(ASK.as_bytes()).unwrap();
        let mut talker = stream.try_clone().unwrap();
        // It is not idle.
        thread::spawn(move || {
            while talker.write_all(b"x").is_ok() {
                thread::sleep(LIMIT / 10);
            }
        });
        read_all(&mut stream)
    });
    assert!(read.starts_with("HTTP/1.1 101 "), "{read}");
    mesh.caller
        .await_count("mesh_requests_total", "reason=\"max-stream-duration\"", 1);
}

#[test]
fn what_was_upgraded_and_is_idle_ends() {
    let limit = format!("streamIdle: {}ms, request: 100ms", LIMIT.as_millis());
    let mesh = Mesh::start(&[echo()], &policy(&limit));
    let mut stream = mesh.dial();
    let read = timed(Duration::ZERO, || {
        stream.write_all(ASK.as_bytes()).unwrap();
        read_all(&mut stream)
    });
    assert!(read.ends_with("hello"), "{read}");
}

#[test]
fn an_opaque_connection_that_is_idle_ends() {
    let hangs = App::start(|_| String::new());
    let limit = format!("idle: {}ms", LIMIT.as_millis());
    let declared = "name: db, appProtocol: tcp";
    let mesh = Mesh::start_speaking(&[hangs.address], declared, &policy(&limit));
    let mut stream = mesh.dial();
    stream.write_all(b"hello").unwrap();
    timed(Duration::ZERO, || read_all(&mut stream));
    let closed = "mesh_tcp_connections_closed_total";
    mesh.caller
        .await_count(closed, "reason=\"idle-timeout\"", 1);
}

fn since_epoch() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_millis()
}

/// The field that the app got last.
fn told(app: &App) -> Option<String> {
    let received = app.received();
    app.forget();
    let mut lines = received.lines();
    let value = lines.find_map(|line| line.strip_prefix("mesh-deadline: "));
    value.map(str::to_owned)
}

#[test]
fn an_app_is_told_when_its_caller_stops_waiting() {
    let app = App::ok();
    let mesh = Mesh::start(&[app.address], "");
    assert!(mesh.ask(&request("")).starts_with("HTTP/1.1 200 "));
    assert_eq!(told(&app), None);
    let at = since_epoch() + 5000;
    for given in ["5S".to_owned(), at.to_string()] {
        let before = since_epoch();
        let answer = mesh.ask(&request(&format!("mesh-deadline: {given}\r\n")));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let told: u128 = told(&app).unwrap().parse().unwrap();
        let latest = (since_epoch() + 5000).max(at);
        assert!((before.min(at)..=latest).contains(&told), "{given}: {told}");
    }
    // What is no deadline limits nothing, and is the app's to judge.
    for given in ["soon", "-5S", "9999999999999999", "5S 5S"] {
        let answer = mesh.ask(&request(&format!("mesh-deadline: {given}\r\n")));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(told(&app).as_deref(), Some(given));
    }
    // One beyond all time is as good as none, and bounded.
    mesh.ask(&request("mesh-deadline: 99999999H\r\n"));
    assert!(told(&app).unwrap().len() <= 15);
}

#[test]
fn no_work_starts_after_a_deadline() {
    let app = App::ok();
    let mesh = Mesh::start(&[app.address], "");
    for given in ["0m", "0", "1764347000123"] {
        let answer = mesh.ask(&request(&format!("mesh-deadline: {given}\r\n")));
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        let said = "mesh-error: origin=outbound; reason=deadline-passed";
        assert!(answer.contains(said), "{answer}");
    }
    assert_eq!(app.received(), "");
}

#[test]
fn a_policys_timeout_is_told_where_it_says_so() {
    let app = App::ok();
    let mesh = Mesh::start(&[app.address], &policy("request: 60s"));
    mesh.ask(&request(""));
    assert_eq!(told(&app), None);
    drop(mesh);
    let telling = "request: 60s, propagateDeadline: true";
    let mesh = Mesh::start(&[app.address], &policy(telling));
    let before = since_epoch();
    mesh.ask(&request(""));
    let told: u128 = told(&app).unwrap().parse().unwrap();
    let expected = before..=since_epoch() + 60_000;
    assert!(expected.contains(&told), "{told}");
}

#[test]
fn old_connections_carry_no_more() {
    let app = App::ok();
    let port = app.address.port();
    let outside = format!(
        "apiVersion: v1
kind: Service
metadata: {{ name: outside, namespace: demo }}
spec: {{ ports: [{{ name: http, port: 80, appProtocol: http }}] }}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{ name: outside-1, namespace: demo, labels: {{ kubernetes.io/service-name: outside }} }}
addressType: IPv4
ports: [{{ name: http, port: {port} }}]
endpoints: [{{ addresses: [127.0.0.1] }}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: catalog, namespace: demo }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: catalog, port: 80 }}]
  rules: [{{ backendRefs: [{{ name: outside, port: 80 }}] }}]
---
apiVersion: mesh.dev/v1alpha1
kind: TrafficPolicy
metadata: {{ name: outside, namespace: demo }}
spec: {{ targetRefs: [{{ kind: Service, name: outside }}], timeout: {{ maxConnectionAge: 200ms }} }}
"
    );
    let mesh = Mesh::start(&[app.address], &outside);
    let mut stream = mesh.dial();
    let started = Instant::now();
    let mut requests = 0;
    while started.elapsed() < Duration::from_secs(2) {
        let ask = b"GET / HTTP/1.1\r\nhost: catalog\r\n\r\n";
        stream.write_all(ask).unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !answer.ends_with(b"\r\n\r\nok") {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
        requests += 1;
        thread::sleep(Duration::from_millis(5));
    }
    let connections = app.connections();
    // At least 180 ms each: at most 12 in two seconds; and those of 20 requests or more.
    assert!((2..=12).contains(&connections), "{connections}");
    assert!(requests > connections, "{requests} on {connections}");
}
