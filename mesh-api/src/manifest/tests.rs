use super::*;

const GOOD: &str = "apiVersion: v1\nkind: Service\nmetadata: { name: a, namespace: demo }\nspec: { ports: [{ port: 80 }] }\n";

/// The first line of each fault, and how many documents were good.
fn read_all(text: &str) -> (usize, Vec<String>) {
    let manifest = read("demo.yaml", text);
    let lines = manifest
        .faults
        .iter()
        .map(|fault| fault.to_string().lines().next().unwrap().to_owned());
    (manifest.resources.len(), lines.collect())
}

#[test]
fn a_bad_document_loses_only_itself() {
    let bad = "apiVersion: v1\nkind: Service\n  metadata: {\n";
    let (good, faults) = read_all(&format!("{GOOD}---\n{bad}---\n# nothing\n---\n{GOOD}"));
    assert_eq!(good, 2);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("demo.yaml:8:"), "{faults:?}");
    assert!(faults[0].contains("not YAML"), "{faults:?}");
}

#[test]
fn faults_name_line_object_field_and_reason() {
    let route = |rule: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: r\n  namespace: demo\nspec:\n  parentRefs: []\n  rules:\n  - {rule}\n"
        )
    };
    for (text, expected) in [
        (
            route("backendRef: []"),
            "demo.yaml:10:5: HTTPRoute demo/r: spec.rules[0].backendRef: unknown field \"backendRef\"; did you mean \"backendRefs\"?",
        ),
        (
            route("matches: [{ method: GETS }]"),
            "demo.yaml:10:25: HTTPRoute demo/r: spec.rules[0].matches[0].method: unknown value \"GETS\"; did you mean \"GET\"?",
        ),
        (
            route("backendRefs: [{ name: a, port: eighty }]"),
            "demo.yaml:10:",
        ),
        (
            "apiVersion: v1\nkind: Servce\nmetadata: { name: a }\n".to_owned(),
            "demo.yaml:2:1: Servce default/a: kind: kind \"Servce\" is not known; did you mean \"Service\"?",
        ),
        (
            "apiVersion: mesh.dev/v1alpha1\nkind: Telemetry\n".to_owned(),
            "demo.yaml:2:1: kind: kind Telemetry is not supported yet",
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {}\n".to_owned(),
            "demo.yaml:3:1: metadata.name: is missing",
        ),
    ] {
        let (good, faults) = read_all(&text);
        assert_eq!((good, faults.len()), (0, 1), "{faults:?}");
        assert!(faults[0].starts_with(expected), "{}\n{expected}", faults[0]);
    }
}

#[test]
fn fields_are_found_or_their_nearest_ancestor() {
    let manifest = read("demo.yaml", &format!("# first\n---\n{GOOD}"));
    let located = &manifest.resources[0];
    assert_eq!(located.locate("metadata.name"), Some((5, 13)));
    assert_eq!(located.locate("spec.ports[0].port"), Some((6, 19)));
    assert_eq!(located.locate("spec.ports[0].targetPort"), Some((6, 17)));
    assert_eq!(located.locate("status.conditions[3]"), Some((3, 1)));
    let text = located.render(&Invalid::new("spec.ports[0].port", "is bad"));
    assert_eq!(
        text,
        "demo.yaml:6:19: Service demo/a: spec.ports[0].port: is bad\n  |\n6 | spec: { ports: [{ port: 80 }] }\n  |                   ^"
    );
}

#[test]
fn excess_is_refused() {
    let (_, faults) = read_all(&"x".repeat(MAX_FILE_BYTES + 1));
    assert!(faults[0].contains("over 1048576 bytes"));
    let (_, faults) = read_all(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: a }}\nspec: {}{}\n",
        "[".repeat(70),
        "]".repeat(70)
    ));
    assert!(faults[0].contains("nested too deep"), "{faults:?}");
    let bomb = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n  annotations: &a { x: y }\n  labels: *a\n";
    assert_eq!(read_all(bomb).0, 1);
}
