//! Values that nobody means: each is refused where it stands, or taken with an effect that is bounded.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;
use crate::decide::explanation::{Fields, explain};
use crate::decide::ratelimit::{self, Received};
use crate::decide::tests::{Seeded, with_request};
use crate::decide::{Caller, Request, request};
use crate::error::Faults;
use crate::explain::Silent;
use crate::model::entry::{Entry, EntryName};
use crate::snapshot::{DestinationTable, RateLimitTable};
use crate::wire;

/// Every field that these kinds have, each with a value that is good.
const FULL: [&str; 6] = [
    r#"
apiVersion: mesh.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: p, namespace: demo }
spec:
  targetRefs: [{ group: "", kind: Service, name: catalog }]
  timeout: { request: 10s, perTry: 2s, connect: 1s, idle: 5m, streamIdle: 5m, maxStreamDuration: 1h, maxConnectionAge: 1h, propagateDeadline: true }
  retry:
    attempts: 2
    retryOn: { status: ["502-504"], grpc: [UNAVAILABLE], conditions: [ConnectFailure, Reset], responseHeader: x-retry-me }
    methods: [GET, PUT]
    backoff: { base: 25ms, max: 250ms, jitter: Equal, jitterMin: 1ms }
    budget: { percent: 20, minPerSecond: 3, window: 10s }
    retryAfter: Respect
    maxBodyBytes: 65536
  loadBalancing: { algorithm: LeastRequest }
  stickiness: { by: { cookie: { name: canary } }, scope: Backend }
  limits: { connections: 1024, pendingRequests: 1024, requests: 10000, retries: 100, queueTimeout: 1s }
  fault:
  - match: [{ path: { type: PathPrefix, value: /a }, headers: [{ type: RegularExpression, name: x-a, value: "a+" }], queryParams: [{ name: q, value: "1" }], method: GET }]
    delay: { percent: 10, fixed: 200ms }
    abort: { percent: 1, status: 503 }
    bandwidth: { percent: 50, bytesPerSecond: 1000 }
    retry: Allow
  mirror: { compare: [Status, Latency, BodyHash], maxConcurrent: 5, maxBodyBytes: 1024 }
"#,
    r"
apiVersion: mesh.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: p, namespace: demo }
spec:
  targetRefs: [{ kind: Service, name: catalog }]
  loadBalancing:
    algorithm: Maglev
    hashOn: [{ cookie: { name: session, ttl: 1h, path: /, sameSite: Lax, secure: true, issue: WhenAbsent } }, { header: x-user }, { query: u }]
",
    r#"
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: demo, creationTimestamp: "2026-01-01T00:00:00Z" }
spec:
  parentRefs: [{ group: "", kind: Service, name: catalog, port: 80 }]
  rules:
  - name: all
    matches:
    - { path: { type: RegularExpression, value: "/a.*" }, headers: [{ type: Exact, name: x-a, value: b }], queryParams: [{ type: RegularExpression, name: q, value: "a|b" }], method: GET }
    - { path: { type: PathPrefix, value: / } }
    filters:
    - { type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: x-b, value: c }], add: [{ name: x-c, value: d }], remove: [x-d] } }
    - { type: ResponseHeaderModifier, responseHeaderModifier: { set: [{ name: x-b, value: c }] } }
    - { type: URLRewrite, urlRewrite: { hostname: other.example, path: { type: ReplaceFullPath, replaceFullPath: /x } } }
    - { type: RequestMirror, requestMirror: { backendRef: { name: catalog-v1, port: 80 }, fraction: { numerator: 1, denominator: 1000 } } }
    - { type: CORS, cors: { allowOrigins: ["https://a.example"], allowMethods: [GET], allowHeaders: [x-a], exposeHeaders: [x-b], allowCredentials: true, maxAge: 5 } }
    backendRefs: [{ name: catalog-v1, port: 80, weight: 90 }, { name: catalog-v2, port: 80, weight: 10 }]
    timeouts: { request: 10s, backendRequest: 1s }
    retry: { codes: [503], attempts: 2, backoff: 100ms }
"#,
    r"
apiVersion: mesh.dev/v1alpha1
kind: RouteMatch
metadata: { name: beta, namespace: demo }
spec: { cookie: { name: beta, type: RegularExpression, value: '1|yes' }, sourceWorkloads: { matchLabels: { app: shop } }, sourceNamespaces: [demo], port: 8080 }
",
    r"
apiVersion: mesh.dev/v1alpha1
kind: DirectResponse
metadata: { name: closed, namespace: demo }
spec: { status: 503, body: closed, contentType: text/plain }
",
    r"
apiVersion: mesh.dev/v1alpha1
kind: RateLimitPolicy
metadata: { name: l, namespace: demo }
spec:
  targetRefs: [{ kind: HTTPRoute, name: r, sectionName: all }, { kind: Service, name: catalog, port: 80 }]
  limits:
  - name: few
    requests: 10
    per: 1s
    burst: 5
    by: [{ header: x-tenant }, { identity: {} }]
    match: [{ path: { type: RegularExpression, value: '/a.*' }, sourceNamespaces: [demo] }]
    scope: Local
    onExceeded: { status: 503 }
",
];

/// What is put in the place of each value.
fn extremes() -> Vec<Value> {
    let mut nested = json!(1);
    for _ in 0..60 {
        nested = json!([nested]);
    }
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(4_294_967_295_u64),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(0.000_001),
        json!(1e308),
        json!(""),
        json!("0s"),
        json!("999999999h"),
        json!("a\r\nb: \u{0}"),
        json!("(a{1000}){1000}"),
        json!("x".repeat(5000)),
        json!([]),
        json!({}),
        json!(vec![json!("a"); 300]),
        nested,
    ]
}

/// The places of every value of `value`, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                places(inner, &at, found);
                found.push(at);
            }
        }
        Value::Array(items) => {
            for (place, inner) in items.iter().enumerate() {
                let at = format!("{at}/{place}");
                places(inner, &at, found);
                found.push(at);
            }
        }
        _ => {}
    }
}

/// Decides on requests that a workload receives, as its proxy would after the entry came over the wire.
fn is_received(catalog: &Catalog) {
    let inbound = catalog.inbound(&"demo/v1-0".parse().unwrap()).unwrap();
    let name = EntryName::Inbound(inbound.workload.clone());
    let entry = Entry::Inbound(inbound.clone());
    let read = wire::decode(&name, &wire::encode(&entry).bytes).unwrap();
    assert_eq!(read, entry);
    let mut faults = Faults::default();
    let table = RateLimitTable::compile(&inbound, &mut faults);
    assert!(faults.is_empty());
    let Some(table) = table else { return };
    with_request("GET /a", &[], |request, _| {
        let received = Received {
            request: *request,
            port: "8080".parse().unwrap(),
            peer: None,
            address: [127, 0, 0, 1].into(),
        };
        let told = ratelimit::explain(&inbound, &table, Some(&received), received.port);
        assert!(told.len() <= 32);
    });
}

/// Decides on requests to `demo/catalog:80`, as the proxy would after the entry came over the wire.
fn is_served(catalog: &Catalog) {
    let consumer = "demo".parse().unwrap();
    let name = "demo/catalog:80".parse().unwrap();
    let destination = catalog.destination(&name, &consumer).unwrap();
    let entry = Entry::Destination(destination.clone());
    let bytes = wire::encode(&entry).bytes;
    let read = wire::decode(&EntryName::Destination(name), &bytes).unwrap();
    assert_eq!(read, entry);
    let table = DestinationTable::compile(destination, None).unwrap();
    for path in ["/", "/a", "/zzz"] {
        let fields = Fields(&[("cookie", "beta=1"), ("x-a", "b"), ("origin", "https://a")]);
        let asked = Request {
            method: "GET",
            scheme: "http",
            authority: "catalog",
            port: 80,
            path,
            query: Some("q=a"),
            headers: &fields,
            caller: Caller {
                namespace: &consumer,
                labels: None,
                service_account: None,
                address: None,
            },
        };
        let _ = request(&table, &asked, &mut Seeded(1), &mut Silent);
        let told = explain(&table, &asked, Fields(&[])).to_string();
        assert!(told.len() < 2_000_000, "{} bytes are told", told.len());
    }
    is_received(catalog);
}

/// Applies `document`, and says what is wrong with it.
fn apply(catalog: &mut Catalog, document: &Value, at: &str) -> Vec<String> {
    let read = manifest::read("hostile.yaml", &document.to_string());
    let mut faults: Vec<_> = read.faults.iter().map(ToString::to_string).collect();
    for located in &read.resources {
        let verdict = catalog.apply(located.resource.clone());
        faults.extend(verdict.faults.iter().map(|fault| located.render(fault)));
    }
    for fault in &faults {
        assert!(fault.starts_with("hostile.yaml:"), "{at}: {fault}");
        assert!(fault.len() < 2000, "{at}: a fault of {} bytes", fault.len());
    }
    faults
}

#[test]
fn every_value_may_be_any_other() {
    let mut catalog = with("");
    let (mut taken, mut refused) = (0, 0);
    for text in FULL {
        let good: Value = serde_saphyr::from_str(text).unwrap();
        assert_eq!(apply(&mut catalog, &good, "as it is"), [""; 0]);
        is_served(&catalog);
        let mut all = Vec::new();
        places(good.get("spec").unwrap(), "/spec", &mut all);
        for at in all {
            for extreme in extremes() {
                let mut document = good.clone();
                *document.pointer_mut(&at).unwrap() = extreme;
                if apply(&mut catalog, &document, &at).is_empty() {
                    taken += 1;
                    is_served(&catalog);
                } else {
                    refused += 1;
                }
            }
        }
        assert_eq!(apply(&mut catalog, &good, "as it was"), [""; 0]);
    }
    assert!(taken > 400 && refused > 3000, "{taken} {refused}");
}

/// The base and `count` routes of sixteen rules each.
fn routes(count: usize, kind: &str) -> Catalog {
    let mut catalog = with("");
    for route in 0..count {
        let mut text = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: r{route}, namespace: demo }}\nspec:\n  parentRefs: [{{ group: \"\", kind: Service, name: catalog, port: 80 }}]\n  rules:\n"
        );
        for rule in 0..16 {
            writeln!(
                text,
                "  - matches: [{{ path: {{ type: {kind}, value: \"/of/{route}/{rule}\" }} }}]\n    backendRefs: [{{ name: catalog-v1, port: 80 }}]"
            )
            .unwrap();
        }
        let read = manifest::read("many.yaml", &text);
        let resource = read.resources[0].resource.clone();
        assert_eq!(catalog.apply(resource).faults, []);
    }
    catalog
}

#[test]
fn ten_thousand_rules_are_served_and_too_many_expressions_refused() {
    let many = routes(625, "PathPrefix");
    is_served(&many);
    let table = |catalog: &Catalog| {
        let found = seen(catalog, "demo/catalog:80", "demo");
        DestinationTable::compile(found, None)
    };
    assert_eq!(table(&many).unwrap().routing.matches.len(), 10_000);

    // Each alone is good; the destination's entry with all of them is not taken by a proxy.
    let expressions = routes(625, "RegularExpression");
    let consumer = "demo".parse().unwrap();
    let name = "demo/catalog:80".parse().unwrap();
    let entry = Entry::Destination(expressions.destination(&name, &consumer).unwrap());
    let bytes = wire::encode(&entry).bytes;
    let faults = wire::decode(&EntryName::Destination(name), &bytes).unwrap_err();
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert!(
        told[0].contains("regular expressions, more than"),
        "{told:?}"
    );
}
