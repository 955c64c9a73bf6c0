//! Routes of gRPC calls: what is refused, and what the rules of the others become.

use super::*;
use crate::model::path::PathMatch;
use crate::model::route::RouteKind;

/// A route `demo/r` at `catalog`'s port 80.
fn route(rules: &str) -> String {
    format!(
        "\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{ name: r, namespace: demo }}\nspec:\n  parentRefs: [{{ group: \"\", kind: Service, name: catalog, port: 80 }}]\n  hostnames: [ignored.example.com]\n  rules: {rules}\n"
    )
}

#[test]
fn rules_become_calls() {
    let catalog = with(&route(
        r#"
  - name: quote
    matches:
    - method: { service: pricing.v1.Pricing, method: Quote }
      headers: [{ name: X-Canary, value: "yes" }]
    - method: { type: RegularExpression, service: "audit\\..*" }
    - method: { method: List }
    filters:
    - { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-a, value: "1" }] } }
    - { type: ResponseHeaderModifier, responseHeaderModifier: { remove: [server] } }
    backendRefs:
    - { name: catalog-v1, port: 80, weight: 3, filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { add: [{ name: x-b, value: "2" }] } }] }
    - { name: gone, port: 80 }
  - {}"#,
    ));
    let seen = seen(&catalog, "demo/catalog:80", "demo");
    assert_eq!(seen.routes[0].kind, RouteKind::Grpc);
    let rules = &seen.routes[0].rules;
    let matches = rules.iter().flat_map(|rule| &rule.matches);
    let texts: Vec<_> = matches
        .map(|conditions| {
            assert!(matches!(conditions.path, PathMatch::Call(_)));
            crate::decide::route::path_text(&conditions.path)
        })
        .collect();
    assert_eq!(
        texts,
        [
            "service exact pricing.v1.Pricing, method exact Quote",
            "service expression audit\\..*",
            "method exact List",
            "any call",
        ]
    );
    assert_eq!(rules[0].matches[0].headers[0].name.as_str(), "x-canary");
    assert_eq!(rules[0].request_headers.set.len(), 1);
    assert_eq!(rules[0].response_headers.remove.len(), 1);
    let Action::Forward { backends, .. } = &rules[0].action else {
        unreachable!()
    };
    assert_eq!(backends[0].request_headers.add.len(), 1);
    assert_eq!(
        targets(&seen),
        ["demo/catalog-v1:80 3", "Service demo/gone not found"]
    );
}

#[test]
fn faults_have_their_paths() {
    let long = "a".repeat(1025);
    for (rules, expected) in [
        (
            "[{ matches: [{ method: {} }] }]",
            "spec.rules[0].matches[0].method: names neither a service nor a method",
        ),
        (
            "[{ matches: [{ method: { service: \"\", method: \"\" } }] }]",
            "spec.rules[0].matches[0].method: names neither",
        ),
        (
            "[{ matches: [{}, { method: { service: a/b } }] }]",
            "spec.rules[0].matches[1].method.service: \"a/b\" is no name of gRPC",
        ),
        (
            "[{ matches: [{ method: { service: a..b } }] }]",
            "spec.rules[0].matches[0].method.service: ",
        ),
        (
            "[{ matches: [{ method: { method: 1a } }] }]",
            "spec.rules[0].matches[0].method.method: ",
        ),
        (
            &format!("[{{ matches: [{{ method: {{ method: {long} }} }}] }}]"),
            "spec.rules[0].matches[0].method.method: is longer than 1024 bytes",
        ),
        (
            "[{ matches: [{ method: { type: RegularExpression, service: \"a)(b\" } }] }]",
            "spec.rules[0].matches[0].method.service: regex parse error",
        ),
        (
            "[{ filters: [{ type: URLRewrite, urlRewrite: {} }] }]",
            "spec.rules[0].filters[0].type: URLRewrite is not a filter of a GRPCRoute",
        ),
        (
            "[{ filters: [{ type: RequestMirror }] }]",
            "spec.rules[0].filters[0].requestMirror: is missing: the filter's type asks for it",
        ),
        (
            "[{ filters: [{ type: CORS, cors: {} }] }]",
            "spec.rules[0].filters[0].type: CORS is not a filter of a GRPCRoute",
        ),
        (
            "[{ sessionPersistence: { type: Header } }]",
            "spec.rules[0].sessionPersistence.type: Header is not supported: the mesh makes cookies; for a header that clients send, use stickiness.by.header of a TrafficPolicy",
        ),
        (
            "[{ name: a }, { name: a }]",
            "spec.rules[1].name: another rule has this name",
        ),
        (
            "[{ backendRefs: [{ name: a }] }]",
            "spec.rules[0].backendRefs[0].port: is missing",
        ),
    ] {
        let read = manifest::read("r.yaml", &route(rules));
        let faults = faults(&read.resources[0].resource);
        let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert!(
            texts.len() == 1 && texts[0].starts_with(expected),
            "{texts:?}, not {expected}"
        );
    }
    for unknown in ["[{ timeouts: {} }]", "[{ matches: [{ path: {} }] }]"] {
        let read = manifest::read("r.yaml", &route(unknown));
        assert!(read.faults[0].to_string().contains("unknown field"));
    }
    let many = format!(
        "[{{ matches: [{}] }}]",
        vec!["{ method: { type: RegularExpression, service: a, method: b } }"; 17].join(", ")
    );
    let read = manifest::read("r.yaml", &route(&many));
    let faults = faults(&read.resources[0].resource);
    assert_eq!(
        faults[0].to_string(),
        "spec.rules: has 34 regular expressions in all rules together; at most 32 are allowed"
    );
}

#[test]
fn a_grpc_route_stands_before_an_http_route() {
    let catalog = with(
        &[
            CANARY,
            &route("[{ backendRefs: [{ name: catalog-v2, port: 80 }] }]"),
        ]
        .concat(),
    );
    let routes = seen(&catalog, "demo/catalog:80", "demo").routes;
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0].name.to_string(), "demo/r");
    let key = |kind, name: &str| ResourceKey::namespaced(kind, name.parse().unwrap());
    let lost = catalog
        .verdict(&key(Kind::HTTPRoute, "demo/canary"))
        .unwrap();
    assert!(!lost.accepted);
    assert_eq!(
        lost.conditions[0].to_string(),
        "Accepted=false Conflicted: GRPCRoute demo/r decides at demo/catalog:80: a Service's port takes routes of one kind"
    );
    let won = catalog.verdict(&key(Kind::GRPCRoute, "demo/r")).unwrap();
    assert!(won.accepted);
}

#[test]
fn policies_reach_rules_of_calls() {
    let policy = "\n---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: { name: p, namespace: demo }\nspec:\n  targetRefs: [{ group: gateway.networking.k8s.io, kind: GRPCRoute, name: r, sectionName: q }]\n  timeout: { request: 3s, perTry: 1s }\n  retry: { attempts: 4, retryOn: { grpc: [UNAVAILABLE, ABORTED], conditions: [ConnectFailure, RefusedStream] } }\n";
    let catalog = with(&[&route("[{ name: q }, { name: other }]"), policy].concat());
    let seen = seen(&catalog, "demo/catalog:80", "demo");
    let [first, second] = &seen.routes[0].rules[..] else {
        unreachable!()
    };
    let codes: Vec<_> = first
        .retry
        .value
        .grpc_codes
        .iter()
        .map(|c| c.as_str())
        .collect();
    assert_eq!(codes, ["ABORTED", "UNAVAILABLE"]);
    let conditions = first.retry.value.conditions;
    assert!(conditions.refused_stream && !conditions.reset);
    assert_eq!(
        first.timeouts.request.origin.to_string(),
        "TrafficPolicy demo/p spec.timeout.request"
    );
    assert_eq!(second.retry.value.attempts, 2);
    assert!(second.timeouts.request.value.is_none());
    let bad = policy.replace("UNAVAILABLE, ABORTED", "OK, Unavailable");
    let read = manifest::read("p.yaml", &bad);
    let faults = faults(&read.resources[0].resource);
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "spec.retry.retryOn.grpc[0]: \"OK\" is not a gRPC code that means failure (such as UNAVAILABLE)",
            "spec.retry.retryOn.grpc[1]: \"Unavailable\" is not a gRPC code that means failure (such as UNAVAILABLE)",
        ]
    );
}
