//! One example per finding: `cases/<name>.yaml` holds objects and, under `expect`, what is found.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::source::json::{list, text};

/// A reading of objects.
type Look = fn(&Objects) -> Vec<Breakage>;

const CASES: [(&str, Look); 6] = [
    ("entries", entries),
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
    }
}
