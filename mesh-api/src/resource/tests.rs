use super::*;

fn read(kind: &str, api_version: &str) -> String {
    Kind::of(api_version, kind).map_or_else(|fault| fault.to_string(), |kind| kind.to_string())
}

#[test]
fn kinds_are_known_refused_or_suggested() {
    for kind in Kind::ALL {
        assert_eq!(Kind::of(kind.api_version(), kind.as_str()), Ok(kind));
    }
    for (kind, version, expected) in [
        (
            "UDPRoute",
            GATEWAY_API_VERSION,
            "kind: kind UDPRoute is not supported yet",
        ),
        (
            "HttpRoutes",
            GATEWAY_API_VERSION,
            "kind: kind \"HttpRoutes\" is not known; did you mean \"HTTPRoute\"?",
        ),
        (
            "Servic",
            "v1",
            "kind: kind \"Servic\" is not known; did you mean \"Service\"?",
        ),
        (
            "HTTPRoute",
            "gateway.networking.k8s.io/v1beta1",
            "apiVersion: \"gateway.networking.k8s.io/v1beta1\" is not known; HTTPRoute is of \"gateway.networking.k8s.io/v1\"",
        ),
        ("", "v1", "kind: is missing"),
    ] {
        assert_eq!(read(kind, version), expected);
    }
    assert!(read("Zebra", "v1").contains("known are Mesh"));
}

#[test]
fn unknown_fields_are_refused_with_a_suggestion() {
    let value = serde_json::json!({
        "apiVersion": GATEWAY_API_VERSION, "kind": "HTTPRoute", "metadata": { "name": "a" },
        "spec": { "rules": [{ "backendRef": [] }] }
    });
    let fault = Resource::from_value(value).unwrap_err();
    assert!(
        fault.reason.contains("did you mean `backendRefs`"),
        "{fault}"
    );
}

#[test]
fn a_key_has_a_default_namespace() {
    let value =
        serde_json::json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "a" } });
    let resource = Resource::from_value(value).unwrap();
    assert_eq!(resource.key().unwrap().to_string(), "Service default/a");
    assert_eq!(resource.created(), 0);
    let nameless = serde_json::json!({ "apiVersion": "v1", "kind": "Service", "metadata": {} });
    assert_eq!(
        Resource::from_value(nameless)
            .unwrap()
            .key()
            .unwrap_err()
            .path,
        "metadata.name"
    );
}

#[test]
fn every_kind_of_ours_has_a_schema() {
    let schema = serde_json::to_value(schemars::schema_for!(HTTPRoute)).unwrap();
    assert!(schema["properties"]["spec"].is_object());
    assert!(serde_json::to_value(schemars::schema_for!(TrafficPolicy)).unwrap()["$defs"]["RetrySection"].is_object());
}
