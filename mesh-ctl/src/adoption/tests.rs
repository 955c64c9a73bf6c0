//! One example per finding: `cases/<name>.yaml` holds objects and, under `expect`, what is found.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::source::json::{list, text};

/// A reading of objects.
type Look = fn(&Objects) -> Vec<Breakage>;

const CASES: [(&str, Look); 7] = [
    ("entries", entries),
    ("outsiders", outsiders),
    ("scrapes", scrapes),
    ("webhooks", webhooks),
    ("network-policies", network_policies),
    ("host-network", host_network),
    ("started-before", started_before),
];

#[test]
fn every_example_is_found_with_its_fix() {
    for (name, look) in CASES {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/adoption/cases")
            .join(format!("{name}.yaml"));
        let case: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let found = look(&objects(&case));
        let expected = list(&case, "expect");
        assert_eq!(found.len(), expected.len(), "{name}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.what, text(expected, "what"), "{name}");
            for part in list(expected, "fix") {
                let part = part.as_str().unwrap();
                assert!(
                    found.fix.contains(part),
                    "{name}: {part:?} in {:?}",
                    found.fix
                );
            }
        }
        let nothing = Objects::default();
        assert_eq!(look(&nothing), [], "{name}");
    }
}

fn objects(case: &Value) -> Objects {
    let of = |field: &str| list(case, field).to_vec();
    Objects {
        namespaces: of("namespaces"),
        pods: of("pods"),
        services: of("services"),
        ingresses: of("ingresses"),
        routes: of("routes"),
        policies: of("policies"),
        callers: of("callers"),
        monitors: of("monitors"),
        exceptions: of("exceptions"),
        adopted: Vec::new(),
    }
}

#[test]
fn a_namespace_is_looked_at_as_if_it_had_opted_in() {
    let mut objects = objects(&json!({
        "namespaces": [{"metadata": {"name": "demo"}}],
        "pods": [{"metadata": {"name": "shop-1", "namespace": "demo", "labels": {"app": "shop"}}}],
        "services": [{
            "metadata": {"name": "shop", "namespace": "demo"},
            "spec": {"type": "NodePort", "selector": {"app": "shop"}, "ports": [{"port": 80}]},
        }],
    }));
    assert_eq!(outsiders(&objects), []);
    assert!(!objects.adopt("dmeo"));
    assert!(objects.adopt("demo"));
    assert_eq!(outsiders(&objects).len(), 1);
    // Nobody forgot to restart what never joined.
    assert_eq!(started_before(&objects), []);
}

#[test]
fn what_makes_pods_counts_as_its_pod() {
    for (kind, pointer) in HOLDERS {
        let mut holder =
            json!({"kind": kind, "metadata": {"name": "a", "labels": {"app": "holder"}}});
        let template = json!({
            "metadata": {
                "labels": {"app": "a", "mesh.dev/proxy": "sidecar"},
                "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9100"},
            },
            "spec": {"containers": []},
        });
        match pointer {
            "" => holder["metadata"] = merged(&holder["metadata"], &template["metadata"]),
            "/spec/template" => holder["spec"]["template"] = template,
            _ => holder["spec"]["jobTemplate"]["spec"]["template"] = template,
        }
        let found = scrapes(&Objects::declared([&holder], "shop"));
        assert_eq!(found.len(), 1, "{kind}");
        assert!(
            found[0].what.contains(&format!("of {kind} shop/a ")),
            "{}",
            found[0].what
        );
    }
}

fn merged(first: &Value, second: &Value) -> Value {
    let fields = [first, second].map(|one| one.as_object().cloned().unwrap_or_default());
    fields.into_iter().flatten().collect()
}
