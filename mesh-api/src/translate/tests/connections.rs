//! Routes of connections: what is refused, what is in force, and which conflicts are told.

use super::*;
use crate::model::connection::ConnectionRouteKind;

const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1";

/// A route of `namespace/name` at `catalog`, with `spec` after its parent.
fn route(kind: &str, name: &str, parent: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "\n---\n{GATEWAY}\nkind: {kind}\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n  parentRefs: [{{ group: \"\", kind: Service, name: catalog, namespace: demo{parent} }}]\n  {spec}\n"
    )
}

/// As [`route`], created then.
fn dated(created: &str, kind: &str, name: &str, spec: &str) -> String {
    let stamp = format!("creationTimestamp: \"{created}T00:00:00Z\", name:");
    route(kind, name, "", spec).replacen("name:", &stamp, 1)
}

const V1: &str = "rules: [{ name: r, backendRefs: [{ name: catalog-v1, port: 80 }] }]";
const HTTP: &str = "rules: [{ backendRefs: [{ name: catalog-v1, port: 80 }] }]";

/// `kind name: backends` of each route of connections, and of each route of requests.
fn in_force(catalog: &Catalog, name: &str, consumer: &str) -> Vec<String> {
    let seen = seen(catalog, name, consumer);
    let target = |target: &Target| match target {
        Target::Backend(index) => {
            let index = usize::try_from(*index).unwrap();
            seen.backends[index].name.service.name.to_string()
        }
        Target::Broken { reason } => reason.clone(),
    };
    let connections = seen.connection_routes.iter().map(|route| {
        let backends = route.rule.backends.iter();
        let backends: Vec<_> = backends
            .map(|backend| format!("{} {}", target(&backend.target), backend.weight))
            .collect();
        format!(
            "{} {}: {}",
            route.kind.as_str(),
            route.name,
            backends.join(", ")
        )
    });
    let requests = seen
        .routes
        .iter()
        .map(|route| format!("requests {}", route.name));
    connections.chain(requests).collect()
}

/// The conditions of a route other than a plain acceptance.
fn told(catalog: &Catalog, kind: Kind, name: &str) -> Vec<String> {
    let key = ResourceKey::namespaced(kind, name.parse().unwrap());
    let conditions = catalog.verdict(&key).unwrap().conditions;
    let plain = ["Accepted=true Accepted", "ResolvedRefs=true ResolvedRefs"];
    conditions
        .iter()
        .map(ToString::to_string)
        .filter(|text| !plain.contains(&text.as_str()))
        .collect()
}

#[test]
fn a_tcp_route_splits_connections() {
    let catalog = with(&route(
        "TCPRoute",
        "demo/split",
        ", sectionName: admin",
        "rules: [{ backendRefs: [{ name: catalog-v1, port: 80, weight: 9 }, { name: catalog-v2, port: 80, weight: 0 }, { name: gone, port: 80 }, { name: far, namespace: other, port: 80 }] }]",
    ));
    assert_eq!(
        in_force(&catalog, "demo/catalog:81", "demo"),
        [
            "TCPRoute demo/split: catalog-v1 9, catalog-v2 0, Service demo/gone not found 1, Service other/far is in another namespace and no ReferenceGrant permits it 1"
        ]
    );
    assert!(in_force(&catalog, "demo/catalog:80", "demo").is_empty());
    assert_eq!(
        told(&catalog, Kind::TCPRoute, "demo/split"),
        ["ResolvedRefs=false BackendNotFound: Service demo/gone not found"]
    );
}

#[test]
fn a_tls_route_has_server_names() {
    let spec = format!("hostnames: [a.example.com, \"*.example.org\"]\n  {V1}");
    let catalog = with(&route("TLSRoute", "demo/sni", "", &spec));
    let seen = seen(&catalog, "demo/catalog:80", "demo");
    let [sni] = &seen.connection_routes[..] else {
        unreachable!()
    };
    assert_eq!(sni.kind, ConnectionRouteKind::Tls);
    let hostnames: Vec<_> = sni.hostnames.iter().map(ToString::to_string).collect();
    assert_eq!(hostnames, ["a.example.com", "*.example.org"]);
    assert_eq!(sni.rule.name.as_ref().unwrap().as_str(), "r");
    assert_eq!(in_force(&catalog, "demo/catalog:81", "demo").len(), 1);
}

#[test]
fn faults_have_their_paths() {
    for (kind, spec, expected) in [
        ("TCPRoute", "rules: []", "spec.rules: is empty"),
        (
            "TCPRoute",
            "rules: [{ backendRefs: [] }]",
            "spec.rules[0].backendRefs: is empty",
        ),
        (
            "TCPRoute",
            "rules: [{ backendRefs: [{ name: a, port: 1 }] }, { backendRefs: [{ name: a, port: 1 }] }]",
            "spec.rules: has 2 rules; at most 1 are allowed",
        ),
        (
            "TCPRoute",
            "rules: [{ backendRefs: [{ name: a, port: 1, weight: -1 }] }]",
            "spec.rules[0].backendRefs[0].weight: ",
        ),
        (
            "TCPRoute",
            "rules: [{ backendRefs: [{ name: a }] }]",
            "spec.rules[0].backendRefs[0].port: is missing",
        ),
        (
            "TCPRoute",
            "useDefaultGateways: All\n  rules: [{ backendRefs: [{ name: a, port: 1 }] }]",
            "spec.useDefaultGateways: is not supported yet",
        ),
        ("TLSRoute", V1, "spec.hostnames: is empty"),
        (
            "TLSRoute",
            "hostnames: [10.0.0.1]\n  rules: [{ backendRefs: [{ name: a, port: 1 }] }]",
            "spec.hostnames[0]: is an IP address",
        ),
        (
            "TLSRoute",
            "hostnames: [a, \"b.*\"]\n  rules: [{ backendRefs: [{ name: a, port: 1 }] }]",
            "spec.hostnames[1]: ",
        ),
    ] {
        let read = manifest::read("r.yaml", &route(kind, "demo/r", "", spec));
        let faults = faults(&read.resources[0].resource);
        let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert!(
            texts.len() == 1 && texts[0].starts_with(expected),
            "{texts:?}, not {expected}"
        );
    }
    let filters = "rules: [{ backendRefs: [{ name: a, port: 1, filters: [] }] }]";
    let read = manifest::read("r.yaml", &route("TCPRoute", "demo/r", "", filters));
    let fault = read.faults[0].to_string();
    assert!(fault.contains("unknown field \"filters\""), "{fault}");
}

#[test]
fn one_kind_decides_at_a_port() {
    let tls = format!("hostnames: [a.b]\n  {V1}");
    let catalog = with(
        &[
            route("HTTPRoute", "demo/http", ", port: 80", HTTP),
            route("TLSRoute", "demo/tls", "", &tls),
            route("TCPRoute", "demo/tcp", ", port: 80", V1),
            route(
                "TCPRoute",
                "other/own",
                "",
                "rules: [{ backendRefs: [{ name: far, port: 80 }] }]",
            ),
        ]
        .concat(),
    );
    assert_eq!(
        in_force(&catalog, "demo/catalog:80", "demo"),
        ["requests demo/http"]
    );
    assert_eq!(
        in_force(&catalog, "demo/catalog:81", "demo"),
        ["TLSRoute demo/tls: catalog-v1 1"]
    );
    assert_eq!(
        in_force(&catalog, "demo/catalog:80", "other"),
        ["TCPRoute other/own: far 1"]
    );
    let text =
        "HTTPRoute demo/http decides at demo/catalog:80: a Service's port takes routes of one kind";
    assert_eq!(told(&catalog, Kind::HTTPRoute, "demo/http"), [""; 0]);
    assert_eq!(
        told(&catalog, Kind::TLSRoute, "demo/tls"),
        [format!("Conflicted=true Conflicted: {text}")]
    );
    assert_eq!(
        told(&catalog, Kind::TCPRoute, "demo/tcp"),
        [format!("Accepted=false Conflicted: {text}")]
    );
    assert_eq!(told(&catalog, Kind::TCPRoute, "other/own"), [""; 0]);
}

#[test]
fn the_oldest_tcp_route_takes_every_connection() {
    let mut catalog = with(
        &[
            dated("2026-02-01", "TCPRoute", "demo/a-young", V1),
            dated("2026-01-01", "TCPRoute", "demo/old", V1),
        ]
        .concat(),
    );
    assert_eq!(
        told(&catalog, Kind::TCPRoute, "demo/a-young"),
        [
            "Accepted=false Conflicted: TCPRoute demo/old is older and takes every connection to demo/catalog:80"
        ]
    );
    assert_eq!(told(&catalog, Kind::TCPRoute, "demo/old"), [""; 0]);
    let old = ResourceKey::namespaced(Kind::TCPRoute, "demo/old".parse().unwrap());
    assert!(catalog.delete(&old));
    assert_eq!(told(&catalog, Kind::TCPRoute, "demo/a-young"), [""; 0]);
    assert_eq!(
        in_force(&catalog, "demo/catalog:80", "demo"),
        ["TCPRoute demo/a-young: catalog-v1 1"]
    );
}

#[test]
fn policies_reach_routes_of_connections() {
    let policy = |kind: &str, body: &str| {
        format!(
            "\n---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: p, namespace: demo }}\nspec: {{ targetRefs: [{{ kind: {kind}, name: tcp, sectionName: r }}], {body} }}\n"
        )
    };
    let tcp = route("TCPRoute", "demo/tcp", ", port: 81", V1);
    let catalog = with(&[tcp.clone(), policy("TCPRoute", "retry: { attempts: 5 }")].concat());
    let seen = seen(&catalog, "demo/catalog:81", "demo");
    let retry = &seen.connection_routes[0].rule.retry;
    assert_eq!(retry.value.attempts, 5);
    assert_eq!(retry.origin.to_string(), "TrafficPolicy demo/p spec.retry");
    assert_eq!(seen.retry.value.attempts, 2);
    let other = with(&[tcp, policy("TLSRoute", "retry: { attempts: 5 }")].concat());
    assert_eq!(
        told(&other, Kind::TrafficPolicy, "demo/p"),
        ["Accepted=false TargetNotFound: TLSRoute demo/tcp not found"]
    );
    for (body, expected) in [
        (
            "timeout: { request: 1s, connect: 1s }",
            "spec.timeout.connect: applies to a Service or a Namespace, not to a route; spec.timeout.request: is about requests, which a TCPRoute does not see",
        ),
        (
            "retry: { methods: Any, retryOn: { status: [\"503\"], conditions: [Reset] } }",
            "spec.retry.retryOn.status: is about requests, which a TCPRoute does not see; spec.retry.retryOn.conditions: is about requests, which a TCPRoute does not see; spec.retry.methods: is about requests, which a TCPRoute does not see",
        ),
        ("retry: { retryOn: { conditions: [ConnectFailure] } }", ""),
    ] {
        let read = manifest::read("p.yaml", &policy("TCPRoute", body));
        let faults = faults(&read.resources[0].resource);
        let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(texts.join("; "), expected);
    }
}
