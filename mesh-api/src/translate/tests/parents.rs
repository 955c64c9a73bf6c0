//! Parents of routes: ours one by one, and those of others.

use super::*;

#[test]
fn each_parent_has_a_verdict_of_its_own() {
    let catalog = with(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: { name: r, namespace: demo }\n\
         spec: { parentRefs: [{ name: edge }, { group: '', kind: Service, name: catalog }, \
         { group: '', kind: Service, name: gone }] }\n",
    );
    let key = ResourceKey::namespaced(Kind::HTTPRoute, "demo/r".parse().unwrap());
    let verdict = catalog.verdict(&key).unwrap();
    assert!(!verdict.accepted, "one parent is missing");
    let said = |place: usize| verdict.parents[&place][0].to_string();
    assert_eq!(verdict.parents.len(), 2, "the Gateway is not ours");
    assert_eq!(said(1), "Accepted=true Accepted");
    assert_eq!(
        said(2),
        "Accepted=false NoMatchingParent: Service demo/gone not found"
    );
}

#[test]
fn a_route_of_gateways_alone_is_not_judged() {
    let catalog = with(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: { name: r, namespace: demo }\nspec: { parentRefs: [{ name: edge }] }\n",
    );
    let key = ResourceKey::namespaced(Kind::HTTPRoute, "demo/r".parse().unwrap());
    let verdict = catalog.verdict(&key).unwrap();
    assert!(verdict.accepted);
    assert_eq!(verdict.conditions, []);
    assert_eq!(verdict.parents.len(), 0);
}
