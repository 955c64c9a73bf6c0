//! Retries through two sidecars: on which endpoint, with which number, and when not.

use std::net::SocketAddr;

use super::harness::{App, Mesh};

/// Apps on one port of several addresses, that answer with what `answer` makes of each head.
fn apps(count: u8, answer: fn(&str) -> String) -> Vec<App> {
    let first = App::start_on(SocketAddr::from(([127, 79, 0, 1], 0)), answer);
    let port = first.address.port();
    let others = (2..=count).map(|last| App::start_on(([127, 79, 0, last], port).into(), answer));
    std::iter::once(first).chain(others).collect()
}

fn start(apps: &[App], retry: &str) -> Mesh {
    let addresses: Vec<_> = apps.iter().map(|app| app.address).collect();
    let policy = format!(
        "
apiVersion: mesh.dev/v1alpha1
kind: TrafficPolicy
metadata: {{ name: catalog, namespace: demo }}
spec:
  targetRefs: [{{ kind: Service, name: catalog }}]
  retry: {{ backoff: {{ base: 1ms, max: 50ms }}, {retry} }}
"
    );
    Mesh::start(&addresses, &policy)
}

fn request(method: &str, fields: &str) -> String {
    format!("{method} / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n{fields}\r\n")
}

/// The number that each request said it is, sorted; 1 where it said none.
fn numbers(apps: &[App]) -> Vec<u32> {
    let mut numbers: Vec<u32> = apps
        .iter()
        .flat_map(|app| {
            let received = app.received();
            app.forget();
            let heads = received.split("\r\n\r\n").filter(|head| !head.is_empty());
            let number = |head: &str| {
                let mut lines = head.lines();
                let value = lines.find_map(|line| line.strip_prefix("x-envoy-attempt-count: "));
                value.map_or(1, |value| value.parse().unwrap())
            };
            heads.map(number).collect::<Vec<_>>()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

fn unavailable(_: &str) -> String {
    "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".into()
}

#[test]
fn every_try_goes_to_another_endpoint_and_says_its_number() {
    let apps = apps(3, unavailable);
    let mesh = start(&apps, "retryOn: { status: [\"503\"] }");
    for (fields, expected) in [
        ("", [1, 2, 3]),
        ("x-envoy-attempt-count: 4\r\n", [4, 5, 6]),
        ("grpc-previous-rpc-attempts: 1\r\n", [1, 3, 4]),
        ("x-envoy-attempt-count: 99999\r\n", [2, 3, 99_999]),
    ] {
        let answer = mesh.ask(&request("GET", fields));
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let each: Vec<usize> = apps.iter().map(heads).collect();
        assert_eq!(each, [1, 1, 1], "an endpoint was tried twice");
        assert_eq!(numbers(&apps), expected, "{fields}");
    }
}

fn heads(app: &App) -> usize {
    app.received().matches("\r\n\r\n").count()
}

#[test]
fn what_an_answer_says_of_another_try_is_heeded() {
    let answer = |head: &str| {
        let wanted = head
            .lines()
            .find_map(|line| line.strip_prefix("x-answer: "));
        let field = wanted.unwrap_or_default();
        format!("HTTP/1.1 503 Service Unavailable\r\n{field}\r\ncontent-length: 0\r\n\r\n")
    };
    let apps = apps(2, answer);
    let mesh = start(&apps, "attempts: 1, retryOn: { status: [\"503\"] }");
    for (said, tries) in [
        ("retry-after: 0", 2),
        ("retry-after: 1", 1),
        ("retry-after: Sun, 06 Nov 1994 08:49:37 GMT", 2),
        ("retry-after: Sun, 06 Nov 2094 08:49:37 GMT", 1),
        ("retry-after: soon", 2),
        ("grpc-retry-pushback-ms: 5", 2),
        ("grpc-retry-pushback-ms: 51", 1),
        ("grpc-retry-pushback-ms: -1", 1),
        ("grpc-retry-pushback-ms: x", 1),
    ] {
        mesh.ask(&request("GET", &format!("x-answer: {said}\r\n")));
        assert_eq!(numbers(&apps).len(), tries, "{said}");
    }
    let stopped = |reason: &str, count| {
        let labels = format!("backend=\"demo/catalog:80\",reason=\"{reason}\"");
        let metric = "mesh_retries_stopped_total";
        mesh.caller.await_count(metric, &labels, count);
    };
    stopped("pushback", 5);
    // Each other had its one more.
    stopped("attempts", 4);
    mesh.ask(&request(
        "POST",
        "content-length: 0\r\nx-answer: x-a: 1\r\n",
    ));
    stopped("method", 1);
    assert_eq!(numbers(&apps), [1]);
    let ignoring = "attempts: 1, retryAfter: Ignore, retryOn: { status: [\"503\"] }";
    drop(mesh);
    let mesh = start(&apps, ignoring);
    mesh.ask(&request("GET", "x-answer: retry-after: 1\r\n"));
    assert_eq!(numbers(&apps).len(), 2);
}

#[test]
fn an_app_asks_for_another_try_of_any_method() {
    let answer = |head: &str| {
        let field = if head.contains("x-envoy-attempt-count") {
            "x-done: 1"
        } else {
            "x-retry-me: 1"
        };
        format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: 0\r\n\r\n")
    };
    let apps = apps(2, answer);
    let mesh = start(&apps, "retryOn: { responseHeader: x-retry-me }");
    let post = mesh.ask(&request("POST", "content-length: 0\r\n"));
    assert!(post.contains("x-done: 1"), "{post}");
    assert_eq!(numbers(&apps), [1, 2]);
}

#[test]
fn requests_that_repeat_others_leave_less_for_our_own() {
    let apps = apps(2, unavailable);
    let budget = "attempts: 1, retryOn: { status: [\"503\"] }, budget: { percent: 0, minPerSecond: 1, window: 20s }";
    let mesh = start(&apps, budget);
    // 20 in the window: each that repeats another takes two, and one more for its try here while one is left.
    for _ in 0..15 {
        mesh.ask(&request(
            "GET",
            "x-envoy-attempt-count: 2\r\nidempotency-key: a\r\n",
        ));
    }
    let repeated = numbers(&apps).len();
    for _ in 0..10 {
        mesh.ask(&request("GET", ""));
    }
    let own = numbers(&apps).len();
    // Six of them take all.
    assert_eq!((repeated, own), (21, 10));
}
