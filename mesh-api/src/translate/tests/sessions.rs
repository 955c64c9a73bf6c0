//! Session persistence of rules.

use super::*;
use crate::model::affinity::{Cookie, KeySource, Scope};
use std::time::Duration;

fn route(kind: &str, persistence: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{ name: r, namespace: demo }}\nspec:\n  \
         parentRefs: [{{ group: \"\", kind: Service, name: catalog, port: 80 }}]\n  \
         rules: [{{ sessionPersistence: {persistence}, backendRefs: [{{ name: catalog-v1, port: 80 }}] }}]\n"
    )
}

#[test]
fn a_rule_keeps_clients_by_a_cookie_whatever_the_policy() {
    let policy = "---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: { name: p, namespace: demo }\n\
                  spec: { targetRefs: [{ kind: Service, name: catalog }], stickiness: { by: { header: x-user } } }\n";
    for (kind, persistence, name, ttl) in [
        ("HTTPRoute", "{}", "mesh-session", None),
        ("GRPCRoute", "{ sessionName: s, type: Cookie }", "s", None),
        (
            "HTTPRoute",
            "{ absoluteTimeout: 1h, cookieConfig: { lifetimeType: Permanent } }",
            "mesh-session",
            Some(Duration::from_hours(1)),
        ),
    ] {
        let catalog = with(&(route(kind, persistence) + policy));
        let found = seen(&catalog, "demo/catalog:80", "demo");
        let sticky = found.routes[0].rules[0].stickiness.clone().unwrap();
        let origin = format!("{kind} demo/r spec.rules[0].sessionPersistence");
        assert_eq!(sticky.origin.to_string(), origin);
        assert_eq!(sticky.value.scope, Scope::Endpoint);
        let KeySource::Cookie(Cookie {
            name: cookie,
            issue: Some(terms),
        }) = sticky.value.by
        else {
            panic!("{:?}", sticky.value.by);
        };
        assert_eq!((cookie.to_string().as_str(), terms.ttl), (name, ttl));
    }
}

#[test]
fn what_no_cookie_can_keep_is_refused() {
    for (persistence, fault) in [
        (
            "{ absoluteTimeout: 1h }",
            "absoluteTimeout: needs cookieConfig.lifetimeType Permanent: nothing but the cookie's Max-Age ends a session",
        ),
        (
            "{ cookieConfig: { lifetimeType: Permanent } }",
            "absoluteTimeout: is needed with lifetimeType Permanent",
        ),
        (
            "{ absoluteTimeout: 1500ms, cookieConfig: { lifetimeType: Permanent } }",
            "absoluteTimeout: is not in whole seconds",
        ),
        (
            "{ sessionName: \"a b\" }",
            "sessionName: \"a b\" is not a cookie's name (letters, digits and !#$%&'*+-.^_`|~, at most 64)",
        ),
    ] {
        let read = manifest::read("case.yaml", &route("HTTPRoute", persistence));
        let resource = read.resources[0].resource.clone();
        let faults = Catalog::default().apply(resource).faults;
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(texts, [format!("spec.rules[0].sessionPersistence.{fault}")]);
    }
}
