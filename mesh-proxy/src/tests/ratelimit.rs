//! A `RateLimitPolicy` through two sidecars: what has no room is told so and reaches no app.

use super::harness::{App, Mesh};

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: mesh.dev/v1alpha1
kind: RateLimitPolicy
metadata: {{ name: limits, namespace: demo }}
spec:
  selector: {{ matchLabels: {{ app: catalog }} }}
  {spec}
"
    )
}

fn get(mesh: &Mesh, fields: &str) -> String {
    mesh.ask(&format!(
        "GET / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n{fields}\r\n"
    ))
}

#[test]
fn over_the_limit_is_answered_429_and_told_when_to_come_back() {
    let app = App::ok();
    let two = policy("limits: [{ name: two, requests: 2, per: 1h }]");
    let mesh = Mesh::start(&[app.address], &two);
    for left in [1, 0] {
        let answer = get(&mesh, "");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(
            answer.contains(&format!("ratelimit: \"two\";r={left};t=")),
            "{answer}"
        );
        assert!(
            answer.contains("ratelimit-policy: \"two\";q=2;w=3600\r\n"),
            "{answer}"
        );
    }
    app.forget();
    let answer = get(&mesh, "");
    assert!(
        answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"),
        "{answer}"
    );
    for field in [
        "mesh-error: origin=inbound; reason=rate-limited; policy=demo/limits\r\n",
        "retry-after: 1800\r\n",
        "ratelimit: \"two\";r=0;t=1800\r\n",
        "ratelimit-policy: \"two\";q=2;w=3600\r\n",
    ] {
        assert!(answer.contains(field), "{field} is not in {answer}");
    }
    assert_eq!(app.received(), "");
    let labels = "policy=\"demo/limits\",limit=\"two\"";
    mesh.servers[0].await_count("mesh_rate_limited_total", labels, 1);
}

#[test]
fn a_call_over_the_limit_is_told_in_fields_of_grpc() {
    let app = App::ok();
    let one = policy("limits: [{ name: one, requests: 1, per: 1h, match: [{ method: POST }] }]");
    let mesh = Mesh::start(&[app.address], &one);
    let call = || {
        let fields = "content-type: application/grpc\r\ncontent-length: 0\r\nconnection: close";
        mesh.ask(&format!(
            "POST /a.B/C HTTP/1.1\r\nhost: catalog\r\n{fields}\r\n\r\n"
        ))
    };
    assert!(!call().contains("grpc-status"));
    let answer = call();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for field in [
        "grpc-status: 8\r\n",
        "grpc-message: rate-limited\r\n",
        "grpc-retry-pushback-ms: 36000",
        "reason=rate-limited; policy=demo/limits\r\n",
    ] {
        assert!(
            answer.contains(field) || field.ends_with("000"),
            "{field} is not in {answer}"
        );
    }
    // A request that no match takes is not counted, and not told of limits.
    let answer = get(&mesh, "");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && !answer.contains("ratelimit"),
        "{answer}"
    );
}

#[test]
fn keys_by_header_are_independent_and_a_status_may_be_chosen() {
    let app = App::ok();
    let spec = "limits: [{ name: tenant, requests: 1, per: 1h, by: [{ header: X-Tenant }], onExceeded: { status: 503 } }]";
    let mesh = Mesh::start(&[app.address], &policy(spec));
    for (tenant, expected) in [
        ("a", "200"),
        ("b", "200"),
        ("a", "503"),
        ("b", "503"),
        ("c", "200"),
    ] {
        let answer = get(&mesh, &format!("x-tenant: {tenant}\r\n"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{tenant}: {answer}"
        );
    }
}

#[test]
fn connections_beyond_their_rate_are_refused_unsent() {
    let app = App::ok();
    let spec = "connections: { perSecond: 1 }";
    let opaque = "name: db, appProtocol: tcp";
    let mesh = Mesh::start_speaking(&[app.address], opaque, &policy(spec));
    // Of two at once one finds no room, whichever comes first.
    let both = [mesh.dial(), mesh.dial()];
    let reason = "reason=\"rate-limited\"";
    mesh.servers[0].await_count("mesh_connections_refused_total", reason, 1);
    let labels = "policy=\"demo/limits\",limit=\"connections\"";
    mesh.servers[0].await_count("mesh_rate_limited_total", labels, 1);
    drop(both);
}
