//! Our filters of routes and CORS through two sidecars.

use super::harness::{App, Mesh};

/// A route of `catalog` with one rule.
fn route(rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: r, namespace: demo }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: catalog, port: 80 }}]
  rules: [{rules}]
---
apiVersion: mesh.dev/v1alpha1
kind: DirectResponse
metadata: {{ name: closed, namespace: demo }}
spec: {{ status: 503, body: closed for maintenance, contentType: text/x-notice }}
---
apiVersion: mesh.dev/v1alpha1
kind: RouteMatch
metadata: {{ name: beta, namespace: demo }}
spec: {{ cookie: {{ name: beta, value: '1' }} }}
---
apiVersion: mesh.dev/v1alpha1
kind: RouteMatch
metadata: {{ name: shop, namespace: demo }}
spec: {{ sourceWorkloads: {{ matchLabels: {{ app: shop }} }} }}
---
apiVersion: mesh.dev/v1alpha1
kind: Workload
metadata: {{ name: shop, namespace: demo, labels: {{ app: shop }} }}
spec: {{ address: 127.0.0.99 }}
"
    )
}

const TO_APP: &str = "backendRefs: [{ name: catalog, port: 80 }]";

fn filter(kind: &str, name: &str) -> String {
    format!(
        "{{ type: ExtensionRef, extensionRef: {{ group: mesh.dev, kind: {kind}, name: {name} }} }}"
    )
}

fn request(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n{fields}\r\n")
}

#[test]
fn a_cookie_and_the_callers_labels_choose_the_rule() {
    let app = App::ok();
    let rules = format!(
        "{{ matches: [{{ path: {{ value: /a }} }}], filters: [{}, {}] }}, {{ matches: [{{ path: {{ value: /b }} }}], filters: [{}, {}] }}, {{ {TO_APP} }}",
        filter("RouteMatch", "beta"),
        filter("DirectResponse", "closed"),
        filter("RouteMatch", "shop"),
        filter("DirectResponse", "closed"),
    );
    let mesh = Mesh::start(&[app.address], &route(&rules));
    let answer = mesh.ask(&request("GET /a", "cookie: beta=1\r\n"));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    for part in [
        "content-type: text/x-notice\r\n",
        "\r\n\r\nclosed for maintenance",
    ] {
        assert!(answer.contains(part), "{answer}");
    }
    assert!(
        !answer.contains("mesh-error"),
        "a user asked for it: {answer}"
    );
    let answer = mesh.ask(&request("GET /a", "cookie: beta=2\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = mesh.ask(&request("GET /b", ""));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let answer = mesh.ask(&request("HEAD /b", ""));
    assert!(
        answer.contains("content-length: 22\r\n") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

#[test]
fn a_filter_that_is_missing_fails_its_rule_with_its_reason() {
    let app = App::ok();
    let rules = format!(
        "{{ filters: [{}], {TO_APP} }}",
        filter("RouteMatch", "gone")
    );
    let mesh = Mesh::start(&[app.address], &route(&rules));
    let answer = mesh.ask(&request("GET /", ""));
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.contains("reason=broken-filter"), "{answer}");
    assert_eq!(app.received(), "");
}

#[test]
fn cors_answers_preflights_and_speaks_for_the_app() {
    let app = App::start(|_| {
        "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\nvary: accept\r\ncontent-length: 2\r\n\r\nok"
            .into()
    });
    let rules = format!(
        "{{ filters: [{{ type: CORS, cors: {{ allowOrigins: ['https://*.example'], allowMethods: [PUT], allowCredentials: true }} }}], {TO_APP} }}"
    );
    let mesh = Mesh::start(&[app.address], &route(&rules));
    let asks = "access-control-request-method: PUT\r\n";
    let preflight = format!("origin: https://a.example\r\n{asks}");
    let answer = mesh.ask(&request("OPTIONS /", &preflight));
    for part in [
        "HTTP/1.1 200 ",
        "access-control-allow-origin: https://a.example\r\n",
        "access-control-allow-methods: PUT\r\n",
        "access-control-allow-credentials: true\r\n",
    ] {
        assert!(answer.contains(part), "{answer}");
    }
    let answer = mesh.ask(&request(
        "OPTIONS /",
        &format!("origin: https://evil\r\n{asks}"),
    ));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.contains("access-control-allow-origin"), "{answer}");
    assert_eq!(app.received(), "", "a preflight reached the app");
    let answer = mesh.ask(&request(
        "PUT /",
        "origin: https://a.example\r\ncontent-length: 0\r\n",
    ));
    let origins = answer.matches("access-control-allow-origin: ").count();
    assert_eq!(origins, 1, "{answer}");
    assert!(answer.contains("vary: accept\r\n") && answer.contains("vary: Origin\r\n"));
    let answer = mesh.ask(&request("GET /", "origin: https://evil\r\n"));
    assert!(
        answer.ends_with("ok") && !answer.contains("access-control-allow-origin"),
        "{answer}"
    );
}
