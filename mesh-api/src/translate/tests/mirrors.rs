//! Copies of requests: where they go, how they are told, and what is refused.

use super::check::{policy, route};
use super::*;
use crate::decide::explanation::{Fields, explain};
use crate::decide::tests::Seeded;
use crate::decide::{Caller, Decision, Request, Step, request};
use crate::explain::Silent;
use crate::snapshot::DestinationTable;

const MIRRORED: &str = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: r, namespace: demo }\nspec:\n  parentRefs: [{ group: \"\", kind: Service, name: catalog, port: 80 }]\n  rules:\n  - filters:\n    - { type: RequestMirror, requestMirror: { backendRef: { name: catalog-v1, port: 80 }, percent: 25 } }\n    - { type: RequestMirror, requestMirror: { backendRef: { name: catalog-v2, port: 80 }, fraction: { numerator: 1, denominator: 1000 } } }\n    - { type: RequestMirror, requestMirror: { backendRef: { name: gone, port: 80 } } }\n    backendRefs: [{ name: catalog, port: 80 }]\n";

const COMPARED: &str = "---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: { name: p, namespace: demo }\nspec: { targetRefs: [{ kind: Service, name: catalog }], mirror: { compare: [Status, BodyHash], maxConcurrent: 5 } }\n";

fn with_table<T>(yaml: &str, look: impl FnOnce(&DestinationTable, &Request<'_>) -> T) -> T {
    let catalog = catalog(yaml);
    let consumer = "demo".parse().unwrap();
    let entry = catalog.destination(&"demo/catalog:80".parse().unwrap(), &consumer);
    let table = DestinationTable::compile(entry.unwrap(), None).unwrap();
    let request = Request {
        method: "GET",
        scheme: "http",
        authority: "catalog",
        port: 80,
        path: "/",
        query: None,
        headers: &Fields(&[]),
        caller: Caller {
            namespace: &consumer,
            labels: None,
            service_account: None,
            address: None,
        },
    };
    look(&table, &request)
}

#[test]
fn mirrors_are_told_with_their_shares() {
    let text = with_table(&format!("{BASE}{MIRRORED}{COMPARED}"), |table, request| {
        explain(table, request, Fields(&[])).to_string()
    });
    let of = "[TrafficPolicy demo/p spec.mirror]";
    for (to, share) in [
        ("demo/catalog-v1:80", "25 %"),
        ("demo/catalog-v2:80", "0.1 %"),
        ("Service demo/gone not found", "100 %"),
    ] {
        let line = format!(
            "mirror: {to} of {share}, at most 5 at a time, compares status and body {of}\n"
        );
        assert!(text.contains(&line), "{line} {text}");
    }
}

#[test]
fn copies_are_drawn_each_by_itself_and_a_missing_backend_gets_none() {
    let catalog = catalog(&format!("{BASE}{MIRRORED}"));
    let key = ResourceKey::namespaced(Kind::HTTPRoute, "demo/r".parse().unwrap());
    let missing = "BackendNotFound: Service demo/gone not found";
    let verdict = catalog.verdict(&key).unwrap();
    assert_eq!(verdict.resolved_refs, Err(missing.to_owned()));
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    with_table(&format!("{BASE}{MIRRORED}"), |table, asked| {
        let mut random = Seeded(5);
        for _ in 0..10_000 {
            let Step::Done(decision) = request(table, asked, &mut random, &mut Silent);
            let Decision::Forward(forward) = decision else {
                panic!("{decision:?}");
            };
            assert_eq!(forward.backend.name.to_string(), "demo/catalog:80");
            for backend in &forward.mirrors.backends {
                *counts.entry(backend.name.to_string()).or_default() += 1;
            }
        }
    });
    // A quarter of 10,000 within five standard deviations of 43, and a thousandth.
    assert!(
        (2283..=2717).contains(&counts["demo/catalog-v1:80"]),
        "{counts:?}"
    );
    assert!(
        (1..=30).contains(&counts["demo/catalog-v2:80"]),
        "{counts:?}"
    );
    assert_eq!(counts.len(), 2);
}

#[test]
fn mirrors_are_checked_at_their_fields() {
    let of = |rest: &str| {
        route(&format!(
            "filters: [{{ type: RequestMirror, requestMirror: {{ backendRef: {{ name: a, port: 80 }}{rest} }} }}]"
        ))
    };
    for (rest, expected) in [
        ("", None),
        (", percent: 0", None),
        (
            ", percent: 101",
            Some("percent: 101 is not between 0 and 100"),
        ),
        (
            ", percent: 1, fraction: { numerator: 1 }",
            Some(": sets one of percent and fraction"),
        ),
        (
            ", fraction: { numerator: 101 }",
            Some("fraction: is more than the whole"),
        ),
        (
            ", fraction: { numerator: 1, denominator: 0 }",
            Some("fraction.denominator: 0 is not between 1 and 2147483647"),
        ),
    ] {
        let expected: Vec<String> = expected
            .map(|text| {
                let dot = if text.starts_with(':') { "" } else { "." };
                format!("filters[0].requestMirror{dot}{text}")
            })
            .into_iter()
            .collect();
        assert_eq!(of(rest), expected, "{rest}");
    }
    for (section, expected) in [
        (
            "maxConcurrent: 0",
            "maxConcurrent: 0 is not between 1 and 10000",
        ),
        (
            "maxBodyBytes: 99999999",
            "maxBodyBytes: 99999999 is not between 1 and 16777216",
        ),
        ("timeout: 0s", "timeout: must be longer than 0s"),
    ] {
        let got = policy(&format!("mirror: {{ {section} }}"));
        assert_eq!(got, [format!("spec.mirror.{expected}")]);
    }
}
