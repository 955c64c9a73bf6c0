//! Virtual IPs.

use super::*;

#[test]
fn a_virtual_ip_belongs_to_the_oldest_service_that_claims_it() {
    let at = |catalog: &Catalog, text: &str| {
        let found = catalog.address(text.parse().unwrap());
        found.map(|known| known.destination.to_string())
    };
    let mut catalog = with("");
    let own = at(&catalog, "10.0.0.1:80");
    assert_eq!(own.as_deref(), Some("demo/catalog:80"));
    assert_eq!(at(&catalog, "10.0.0.1:9"), None, "no such port");
    assert_eq!(at(&catalog, "10.0.0.9:80"), None, "nobody's");
    let read = |yaml: &str| {
        manifest::read("more.yaml", yaml)
            .resources
            .remove(0)
            .resource
    };
    let rival = read(
        "{ apiVersion: v1, kind: Service, metadata: { name: a, namespace: demo, \
         creationTimestamp: '2039-01-01T00:00:00Z' }, \
         spec: { clusterIPs: [10.0.0.1, 'fd00::1'], ports: [{ port: 80 }] } }",
    );
    let key = rival.key().unwrap();
    assert!(catalog.apply(rival).faults.is_empty());
    assert_eq!(at(&catalog, "10.0.0.1:80"), own, "the older one keeps it");
    let second = at(&catalog, "[fd00::1]:80");
    assert_eq!(second.as_deref(), Some("demo/a:80"));
    catalog.delete(&key);
    assert_eq!(at(&catalog, "[fd00::1]:80"), None);
    assert_eq!(at(&catalog, "10.0.0.1:80"), own);
}
