#![expect(clippy::unwrap_used, reason = "fixtures are right")]

use super::*;
use crate::fixture::catalog;
use crate::manifest;
use crate::model::destination::{Destination, Protocol};
use crate::model::policy::{Algorithm, MutualTls};
use crate::model::route::{Action, Target};
use crate::resource::{Kind, ResourceKey};

mod address;
mod calls;
mod check;
mod connections;
mod extensions;
mod faults;
mod hostile;
mod limits;
mod localities;
mod mirrors;
mod parents;
mod pods;
mod ratelimits;
mod services;
mod sessions;
mod touched;

/// Services `catalog`, `catalog-v1`, `catalog-v2` with a workload each for v1 and v2, and `shop`.
const BASE: &str = r"
apiVersion: v1
kind: Service
metadata: { name: catalog, namespace: demo }
spec:
  clusterIP: 10.0.0.1
  selector: { app: catalog }
  ports: [{ name: http, port: 80, targetPort: 8080 }, { name: admin, port: 81, targetPort: 8081, appProtocol: tcp }]
---
apiVersion: v1
kind: Service
metadata: { name: catalog-v1, namespace: demo }
spec: { selector: { app: catalog, version: v1 }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: catalog-v2, namespace: demo }
spec: { selector: { app: catalog, version: v2 }, ports: [{ name: http, port: 80, targetPort: 8080 }] }
---
apiVersion: v1
kind: Service
metadata: { name: far, namespace: other }
spec: { ports: [{ port: 80 }] }
---
apiVersion: mesh.dev/v1alpha1
kind: Workload
metadata: { name: v1-0, namespace: demo, labels: { app: catalog, version: v1 } }
spec: { address: 127.0.0.2, serviceAccount: catalog }
---
apiVersion: mesh.dev/v1alpha1
kind: Workload
metadata: { name: v2-0, namespace: demo, labels: { app: catalog, version: v2 } }
spec: { address: 127.0.0.3, ports: { http: 9090 }, serviceAccount: catalog }
";

const CANARY: &str = r#"
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: canary, namespace: demo }
spec:
  parentRefs: [{ group: "", kind: Service, name: catalog, port: 80 }]
  rules:
  - name: split
    backendRefs:
    - { name: catalog-v1, port: 80, weight: 90 }
    - { name: catalog-v2, port: 80, weight: 10 }
"#;

fn with(more: &str) -> Catalog {
    catalog(&format!("{BASE}{more}"))
}

fn seen(catalog: &Catalog, name: &str, consumer: &str) -> Destination {
    catalog
        .destination(&name.parse().unwrap(), &consumer.parse().unwrap())
        .unwrap()
}

/// `backend weight` of each backend of each rule, or why it is broken.
fn targets(destination: &Destination) -> Vec<String> {
    let mut texts = Vec::new();
    for rule in destination.routes.iter().flat_map(|route| &route.rules) {
        let Action::Forward { backends, .. } = &rule.action else {
            texts.push("redirect".to_owned());
            continue;
        };
        for backend in backends {
            texts.push(match &backend.target {
                Target::Backend(place) => {
                    let place = usize::try_from(*place).unwrap();
                    format!("{} {}", destination.backends[place].name, backend.weight)
                }
                Target::Broken { reason } => reason.clone(),
            });
        }
    }
    texts
}

fn key(text: &str) -> ResourceKey {
    let (kind, object) = text.split_once(' ').unwrap();
    ResourceKey::namespaced(kind.parse().unwrap(), object.parse().unwrap())
}

#[test]
fn a_canary_has_both_versions_in_its_closure() {
    let catalog = with(CANARY);
    let destination = seen(&catalog, "demo/catalog:80", "demo");
    assert_eq!(
        targets(&destination),
        ["demo/catalog-v1:80 90", "demo/catalog-v2:80 10"]
    );
    let backends: Vec<_> = destination
        .backends
        .iter()
        .map(|backend| {
            (
                backend.name.to_string(),
                backend
                    .endpoints
                    .iter()
                    .map(|endpoint| endpoint.address.to_string())
                    .collect::<Vec<_>>()
                    .join(" "),
            )
        })
        .collect();
    let expected = [
        ("demo/catalog:80", "127.0.0.2:8080 127.0.0.3:9090"),
        ("demo/catalog-v1:80", "127.0.0.2:8080"),
        ("demo/catalog-v2:80", "127.0.0.3:9090"),
    ];
    assert_eq!(
        backends,
        expected.map(|(name, addresses)| (name.to_owned(), addresses.to_owned()))
    );
    assert_eq!(destination.protocol, Protocol::Http);
    assert!(
        seen(&catalog, "demo/catalog:81", "demo").routes.is_empty(),
        "the parent is scoped to a port"
    );
    assert!(
        catalog
            .destination(&"demo/none:80".parse().unwrap(), &"demo".parse().unwrap())
            .is_none()
    );
    assert!(
        catalog
            .destination(
                &"demo/catalog:82".parse().unwrap(),
                &"demo".parse().unwrap()
            )
            .is_none()
    );
}

#[test]
fn consumer_routes_replace_producer_routes_for_their_namespace() {
    let consumer = r#"
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: mine, namespace: other }
spec:
  parentRefs: [{ group: "", kind: Service, name: catalog, namespace: demo }]
  rules:
  - backendRefs: [{ name: catalog, namespace: demo, port: 80 }, { name: catalog-v2, namespace: demo, port: 80 }]
"#;
    let catalog = with(&format!("{CANARY}{consumer}"));
    assert_eq!(targets(&seen(&catalog, "demo/catalog:80", "demo")).len(), 2);
    assert_eq!(
        targets(&seen(&catalog, "demo/catalog:80", "third")),
        ["demo/catalog-v1:80 90", "demo/catalog-v2:80 10"]
    );
    assert_eq!(
        targets(&seen(&catalog, "demo/catalog:80", "other")),
        [
            "demo/catalog:80 1",
            "Service demo/catalog-v2 is in another namespace and no ReferenceGrant permits it"
        ]
    );
    let verdict = catalog.verdict(&key("HTTPRoute other/mine")).unwrap();
    assert!(
        verdict.accepted
            && verdict
                .resolved_refs
                .unwrap_err()
                .starts_with("RefNotPermitted")
    );
}

#[test]
fn broken_references_fail_alone() {
    for (reference, expected) in [
        ("{ name: none, port: 80 }", "Service demo/none not found"),
        (
            "{ name: catalog-v1, port: 99 }",
            "Service demo/catalog-v1 has no port 99",
        ),
        (
            "{ name: far, namespace: other, port: 80 }",
            "Service other/far is in another namespace and no ReferenceGrant permits it",
        ),
        (
            "{ group: example.com, kind: Bucket, name: b }",
            "a backend of kind example.com/Bucket is not supported",
        ),
    ] {
        let route = CANARY.replace("{ name: catalog-v1, port: 80, weight: 90 }", reference);
        let catalog = with(&route);
        assert_eq!(
            targets(&seen(&catalog, "demo/catalog:80", "demo")),
            [expected, "demo/catalog-v2:80 10"]
        );
    }
}

#[test]
fn a_refused_resource_keeps_its_last_good_version() {
    let mut catalog = with(CANARY);
    let bad = manifest::read("bad.yaml", &CANARY.replace("weight: 90", "weight: -1"));
    let verdict = catalog.apply(bad.resources[0].resource.clone());
    assert!(!verdict.accepted && verdict.keeps_last_good);
    assert_eq!(
        verdict.faults[0].path,
        "spec.rules[0].backendRefs[0].weight"
    );
    assert_eq!(targets(&seen(&catalog, "demo/catalog:80", "demo")).len(), 2);
    assert!(catalog.delete(&key("HTTPRoute demo/canary")));
    assert!(seen(&catalog, "demo/catalog:80", "demo").routes.is_empty());
}

#[test]
fn a_mesh_of_another_name_takes_nothing_along() {
    let mesh = |name: &str, domain: &str| {
        format!(
            "\n---\napiVersion: mesh.dev/v1alpha1\nkind: Mesh\nmetadata: {{ name: {name} }}\nspec: {{ trustDomain: {domain} }}\n"
        )
    };
    let mut catalog = with(&mesh("default", "shop.example"));
    let other = manifest::read("other.yaml", &mesh("other", "other.example"));
    let resource = other.resources[0].resource.clone();
    let key = resource.key().unwrap();
    assert!(!catalog.apply(resource).accepted);
    assert!(catalog.delete(&key));
    assert_eq!(catalog.mesh().trust_domain.as_str(), "shop.example");
}

fn policy(name: &str, created: &str, target: &str, sections: &str) -> String {
    format!(
        "\n---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: {name}, namespace: demo, creationTimestamp: \"{created}\" }}\nspec:\n  targetRefs: [{target}]\n  {sections}\n"
    )
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of levels")]
fn the_most_specific_section_wins_whole() {
    let mesh = "\n---\napiVersion: mesh.dev/v1alpha1\nkind: Mesh\nmetadata: { name: default }\nspec: { traffic: { timeout: { request: 9s, perTry: 8s, connect: 7s, idle: 6s }, loadBalancing: { algorithm: RoundRobin } } }\n";
    let age = "2026-01-01T00:00:00Z";
    let levels = [
        (String::new(), "default", None),
        (
            mesh.to_owned(),
            "Mesh mesh/default spec.traffic.timeout.request",
            Some(9),
        ),
        (
            policy(
                "a",
                age,
                "{ kind: Namespace, name: demo }",
                "timeout: { request: 1s }",
            ),
            "TrafficPolicy demo/a spec.timeout.request",
            Some(1),
        ),
        (
            policy(
                "b",
                age,
                "{ kind: Service, name: catalog }",
                "timeout: { request: 2s }",
            ),
            "TrafficPolicy demo/b spec.timeout.request",
            Some(2),
        ),
        (
            policy(
                "c",
                age,
                "{ kind: Service, name: catalog, port: 80 }",
                "timeout: { request: 3s, connect: 250ms }",
            ),
            "TrafficPolicy demo/c spec.timeout.request",
            Some(3),
        ),
        (
            policy(
                "d",
                age,
                "{ group: gateway.networking.k8s.io, kind: HTTPRoute, name: canary }",
                "timeout: { request: 4s }",
            ),
            "TrafficPolicy demo/d spec.timeout.request",
            Some(4),
        ),
        (
            policy(
                "e",
                age,
                "{ kind: HTTPRoute, name: canary, sectionName: split }",
                "timeout: { request: 5s }",
            ),
            "TrafficPolicy demo/e spec.timeout.request",
            Some(5),
        ),
    ];
    let mut text = CANARY.to_owned();
    for (more, origin, seconds) in levels {
        text.push_str(&more);
        let destination = seen(&with(&text), "demo/catalog:80", "demo");
        let request = &destination.routes[0].rules[0].timeouts.request;
        assert_eq!(
            (
                request.origin.to_string().as_str(),
                request.value.map(|value| value.as_secs())
            ),
            (origin, seconds)
        );
    }
    let destination = seen(&with(&text), "demo/catalog:80", "demo");
    let settings = &destination.backends[0].settings;
    assert_eq!(settings.connect_timeout.value.as_millis(), 250);
    assert_eq!(
        settings.pool_idle.origin.to_string(),
        "default",
        "the section is replaced whole"
    );
    assert_eq!(settings.algorithm.value, Algorithm::RoundRobin);
    assert_eq!(
        destination.backends[1]
            .settings
            .connect_timeout
            .origin
            .to_string(),
        "default",
        "the namespace's section has no connect"
    );
    let field = text.replace("- name: split", "- name: split\n    timeouts: { request: 0s }\n    retry: { attempts: 5, codes: [503], backoff: 100ms }");
    let rule = seen(&with(&field), "demo/catalog:80", "demo").routes[0].rules[0].clone();
    assert_eq!(
        (
            rule.timeouts.request.value,
            rule.timeouts.request.origin.to_string().as_str()
        ),
        (None, "HTTPRoute demo/canary spec.rules[0].timeouts.request")
    );
    assert_eq!(
        (rule.retry.value.attempts, rule.retry.value.statuses[0].from),
        (5, 503)
    );
    assert_eq!(
        rule.retry.origin.to_string(),
        "HTTPRoute demo/canary spec.rules[0].retry"
    );
}

#[test]
fn of_two_policies_at_one_level_the_older_wins() {
    let target = "{ kind: Service, name: catalog }";
    let text = policy(
        "young",
        "2026-02-01T00:00:00Z",
        target,
        "timeout: { request: 1s }",
    ) + &policy(
        "old",
        "2026-01-01T00:00:00Z",
        target,
        "timeout: { request: 2s }",
    );
    let catalog = with(&text);
    assert_eq!(
        seen(&catalog, "demo/catalog:80", "demo")
            .timeouts
            .request
            .value
            .unwrap()
            .as_secs(),
        2
    );
    let conditions = |name: &str| catalog.verdict(&key(name)).unwrap().conditions;
    assert!(
        conditions("TrafficPolicy demo/young")
            .iter()
            .any(|condition| condition.kind == "Conflicted"
                && condition.message.contains("demo/old"))
    );
    assert!(
        !conditions("TrafficPolicy demo/old")
            .iter()
            .any(|condition| condition.kind == "Conflicted")
    );
}

#[test]
fn an_inbound_side_has_its_ports_protocols_and_modes() {
    let mtls = r#"
---
apiVersion: mesh.dev/v1alpha1
kind: MutualTLSPolicy
metadata: { name: all, namespace: demo }
spec: { targetRefs: [{ kind: Namespace, name: demo }], mode: Permissive }
---
apiVersion: mesh.dev/v1alpha1
kind: MutualTLSPolicy
metadata: { name: v2, namespace: demo }
spec: { selector: { matchLabels: { version: v2 } }, mode: Disabled, ports: { "8081": { mode: Strict } } }
---
apiVersion: mesh.dev/v1alpha1
kind: MutualTLSPolicy
metadata: { name: v2-tie, namespace: demo }
spec: { selector: { matchLabels: { version: v2 } }, mode: Permissive }
"#;
    let sides = |catalog: &Catalog, name: &str| -> Vec<(u16, Protocol, MutualTls)> {
        let inbound = catalog.inbound(&name.parse().unwrap()).unwrap();
        inbound
            .ports
            .iter()
            .map(|port| (port.port.number(), port.protocol, port.mutual_tls.value))
            .collect()
    };
    let plain = with("");
    assert_eq!(
        sides(&plain, "demo/v1-0"),
        [
            (8080, Protocol::Http, MutualTls::Strict),
            (8081, Protocol::Tcp, MutualTls::Strict)
        ]
    );
    let inbound = plain.inbound(&"demo/v1-0".parse().unwrap()).unwrap();
    assert_eq!(
        inbound.identity.to_string(),
        "spiffe://cluster.local/ns/demo/sa/catalog"
    );
    assert_eq!(
        inbound.ports[0]
            .services
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["demo/catalog", "demo/catalog-v1"]
    );
    let catalog = with(mtls);
    assert_eq!(sides(&catalog, "demo/v1-0")[0].2, MutualTls::Permissive);
    assert_eq!(
        sides(&catalog, "demo/v2-0"),
        [
            (8081, Protocol::Tcp, MutualTls::Strict),
            (9090, Protocol::Http, MutualTls::Permissive)
        ]
    );
}
