//! Injected faults: which list is in force, how it is told, and what is refused.

use super::check::policy;
use super::*;
use crate::decide::explanation::{Fields, explain};
use crate::decide::{Caller, Request};
use crate::snapshot::DestinationTable;

fn list(name: &str, target: &str, fault: &str) -> String {
    format!(
        "---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: {name}, namespace: demo }}\nspec: {{ targetRefs: [{target}], fault: {fault} }}\n"
    )
}

/// The lines that begin with `fault: ` of what `explain` says.
fn told(yaml: &str, line: &str, fields: &[(&str, &str)]) -> Vec<String> {
    let catalog = catalog(yaml);
    let consumer = "demo".parse().unwrap();
    let entry = catalog.destination(&"demo/catalog:80".parse().unwrap(), &consumer);
    let table = DestinationTable::compile(entry.unwrap(), None).unwrap();
    let (method, path) = line.split_once(' ').unwrap();
    let labels = [("app".to_owned(), "shop".to_owned())].into();
    let request = Request {
        method,
        scheme: "http",
        authority: "catalog",
        port: 80,
        path,
        query: None,
        headers: &Fields(fields),
        caller: Caller {
            namespace: &consumer,
            labels: Some(&labels),
            service_account: None,
            address: None,
        },
    };
    let text = explain(&table, &request, Fields(fields)).to_string();
    let lines = text.lines().filter_map(|line| line.strip_prefix("fault: "));
    lines.map(str::to_owned).collect()
}

const ROUTE: &str = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: r, namespace: demo }\nspec:\n  parentRefs: [{ group: \"\", kind: Service, name: catalog, port: 80 }]\n  rules:\n  - { name: first, matches: [{ path: { value: /a } }], backendRefs: [{ name: catalog-v1, port: 80 }] }\n  - { backendRefs: [{ name: catalog-v2, port: 80 }] }\n  - { matches: [{ path: { value: /moved } }], filters: [{ type: RequestRedirect, requestRedirect: { hostname: b } }] }\n";

#[test]
fn the_most_specific_list_is_in_force_whole() {
    let status = |status: u16| format!("[{{ abort: {{ status: {status}, percent: 1 }} }}]");
    let of_service = list("s", "{ kind: Service, name: catalog }", &status(500));
    let of_rule = list(
        "u",
        "{ kind: HTTPRoute, name: r, sectionName: first }",
        "[]",
    );
    let of_route = list("t", "{ kind: HTTPRoute, name: r }", &status(502));
    let of_namespace = list("n", "{ kind: Namespace, name: demo }", &status(504));
    let by = |object: &str, status: u16| {
        vec![format!(
            "abort {status} of 1 % [TrafficPolicy demo/{object} spec.fault[0]]"
        )]
    };
    let base = |more: &[&str]| format!("{BASE}{ROUTE}{}", more.concat());
    assert_eq!(told(&base(&[]), "GET /", &[]), [""; 0]);
    assert_eq!(told(&base(&[&of_namespace]), "GET /", &[]), by("n", 504));
    let two = base(&[&of_namespace, &of_service]);
    assert_eq!(told(&two, "GET /a", &[]), by("s", 500));
    let all = base(&[&of_namespace, &of_service, &of_route, &of_rule]);
    assert_eq!(told(&all, "GET /", &[]), by("t", 502));
    assert_eq!(
        told(&all, "GET /a", &[]),
        [""; 0],
        "an empty list injects none"
    );
    assert_eq!(
        told(&all, "GET /moved", &[]),
        [""; 0],
        "a redirect is no call"
    );
    let without_routes = format!("{BASE}{of_service}");
    assert_eq!(told(&without_routes, "GET /", &[]), by("s", 500));
    // Rules share the list that they have in common.
    let catalog = catalog(&all);
    let entry = catalog.destination(
        &"demo/catalog:80".parse().unwrap(),
        &"demo".parse().unwrap(),
    );
    assert_eq!(entry.unwrap().faults.len(), 2);
}

#[test]
fn only_faults_that_the_request_meets_are_told() {
    let fault = "[\
        { match: [{ path: { value: /a }, method: POST }, { headers: [{ name: x-chaos, type: RegularExpression, value: \"on|yes\" }] }], \
          delay: { percent: 12.5, range: { min: 10ms, max: 1s } }, bandwidth: { bytesPerSecond: 1000 } }, \
        { match: [{ sourceWorkloads: { matchLabels: { app: shop } } }], abort: { grpc: UNAVAILABLE }, retry: Allow }, \
        { match: [{ sourceNamespaces: [other] }], abort: { reset: true } }, \
        { match: [{ sourceWorkloads: { matchLabels: { app: web } } }], delay: { exponential: { mean: 50ms } } }]";
    let yaml = format!(
        "{BASE}{}",
        list("p", "{ kind: Service, name: catalog }", fault)
    );
    let origin = |at: usize| format!("[TrafficPolicy demo/p spec.fault[{at}]]");
    let shop = format!("abort gRPC UNAVAILABLE of 100 %, retried {}", origin(1));
    let first = format!(
        "delay 10ms to 1s of 12.5 %, 1000 bytes/s of 100 % {}",
        origin(0)
    );
    assert_eq!(told(&yaml, "GET /a", &[]), std::slice::from_ref(&shop));
    assert_eq!(told(&yaml, "POST /a", &[]), [first.clone(), shop.clone()]);
    assert_eq!(told(&yaml, "GET /", &[("x-chaos", "yes")]), [first, shop]);
}

#[test]
fn faults_are_checked_at_their_fields() {
    let path = |at: &str| format!("spec.fault[0].{at}");
    for (fault, at, reason) in [
        ("{}", "", "has none of delay, abort and bandwidth"),
        (
            "{ delay: { percent: 101, fixed: 1s } }",
            "delay.percent",
            "101 is not between 0 and 100",
        ),
        (
            "{ delay: { percent: 0.00001, fixed: 1s } }",
            "delay.percent",
            "0.00001 has more than four decimals",
        ),
        (
            "{ delay: {} }",
            "delay",
            "sets one of fixed, range and exponential",
        ),
        (
            "{ delay: { fixed: 2h } }",
            "delay.fixed",
            "is longer than 1h",
        ),
        (
            "{ delay: { range: { min: 2s, max: 1s } } }",
            "delay.range.max",
            "is shorter than min",
        ),
        (
            "{ delay: { exponential: { mean: 2s, max: 1s } } }",
            "delay.exponential.max",
            "is shorter than the mean",
        ),
        (
            "{ abort: { status: 503, reset: true } }",
            "abort",
            "sets one of status, grpc and reset",
        ),
        (
            "{ abort: { status: 200 } }",
            "abort.status",
            "200 is not between 400 and 599",
        ),
        (
            "{ abort: { grpc: OK } }",
            "abort.grpc",
            "\"OK\" is not a gRPC code that means failure (such as UNAVAILABLE)",
        ),
        (
            "{ bandwidth: { bytesPerSecond: 0 } }",
            "bandwidth.bytesPerSecond",
            "0 is not between 1 and 1073741824",
        ),
        (
            "{ delay: { fixed: 1s }, retry: Allow }",
            "retry",
            "is about an abort, which is not there",
        ),
        (
            "{ match: [{ path: { value: a } }], abort: { reset: true } }",
            "match[0].path.value",
            "must start with /",
        ),
    ] {
        let expected = match at {
            "" => format!("spec.fault[0]: {reason}"),
            at => format!("{}: {reason}", path(at)),
        };
        assert_eq!(policy(&format!("fault: [{fault}]")), [expected], "{fault}");
    }
    let many = vec!["{ abort: { reset: true } }"; 17].join(", ");
    assert_eq!(
        policy(&format!("fault: [{many}]")),
        ["spec.fault: has 17 faults; at most 16 are allowed"]
    );
}
