//! What is accepted fits into an entry: the limits here are never above those of the wire.

use super::{seen, with};
use crate::manifest;
use crate::model::entry::Entry;
use crate::wire;

fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    let items: Vec<String> = (0..count).map(item).collect();
    items.join(", ")
}

fn route(codes: usize, expressions: usize) -> String {
    let codes = list(codes, |at| (400 + at).to_string());
    // Three expressions in the first matches, as each part of a match may hold one.
    let matches = list(expressions.div_ceil(3), |at| {
        let mut parts = vec![format!(
            "path: {{ type: RegularExpression, value: \"/a{at}.*\" }}"
        )];
        if expressions - at * 3 > 1 {
            parts.push("headers: [{ type: RegularExpression, name: x, value: a.* }]".to_owned());
        }
        if expressions - at * 3 > 2 {
            parts
                .push("queryParams: [{ type: RegularExpression, name: x, value: a.* }]".to_owned());
        }
        format!("{{ {} }}", parts.join(", "))
    });
    format!(
        "\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{ name: r, namespace: demo }}\nspec:\n  parentRefs: [{{ group: \"\", kind: Service, name: catalog, port: 80 }}]\n  rules: [{{ matches: [{matches}], retry: {{ codes: [{codes}] }}, backendRefs: [{{ name: catalog-v1, port: 80 }}] }}]\n"
    )
}

fn policy(statuses: usize, methods: usize) -> String {
    let statuses = list(statuses, |at| format!("\"{}\"", 400 + at));
    let letter = |at: usize| char::from(b'A' + u8::try_from(at % 26).unwrap());
    let methods = list(methods, |at| format!("M{}{}", letter(at / 26), letter(at)));
    format!(
        "\n---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{ name: p, namespace: demo }}\nspec: {{ targetRefs: [{{ kind: Service, name: catalog }}], retry: {{ retryOn: {{ status: [{statuses}] }}, methods: [{methods}] }} }}\n"
    )
}

#[test]
fn what_is_accepted_can_be_decoded() {
    for (resource, yaml, refused) in [
        ("HTTPRoute demo/r", route(64, 32), ""),
        (
            "HTTPRoute demo/r",
            route(65, 1),
            "spec.rules[0].retry.codes",
        ),
        ("HTTPRoute demo/r", route(1, 33), "spec.rules"),
        ("TrafficPolicy demo/p", policy(64, 64), ""),
        (
            "TrafficPolicy demo/p",
            policy(65, 1),
            "spec.retry.retryOn.status",
        ),
        ("TrafficPolicy demo/p", policy(1, 65), "spec.retry.methods"),
    ] {
        let mut catalog = with("");
        let read = manifest::read("limits.yaml", &yaml);
        assert!(read.faults.is_empty(), "{}", read.faults[0]);
        let verdict = catalog.apply(read.resources[0].resource.clone());
        let paths: Vec<&str> = verdict.faults.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths.concat(), refused, "{resource}");
        let destination = seen(&catalog, "demo/catalog:80", "demo");
        let name = "destination/demo/catalog:80".parse().unwrap();
        let entry = Entry::Destination(destination);
        let decoded = wire::decode(&name, &wire::encode(&entry).bytes);
        assert_eq!(decoded, Ok(entry), "{resource}");
    }
}
