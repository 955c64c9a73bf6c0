//! Where workloads are, and which of them callers prefer.

use super::*;
use crate::model::backend::Backend;

/// Two workloads by their locality, and a policy of `catalog` with this `loadBalancing`.
fn own(balancing: &str, more: &str) -> Backend {
    let manifests = format!(
        "---\napiVersion: mesh.dev/v1alpha1\nkind: Workload\n\
         metadata: {{ name: v1-0, namespace: demo, labels: {{ app: catalog }} }}\n\
         spec: {{ address: 127.0.0.2, locality: {{ region: eu-1, zone: a }} }}\n\
         ---\napiVersion: mesh.dev/v1alpha1\nkind: Workload\n\
         metadata: {{ name: v2-0, namespace: demo, labels: {{ app: catalog, topology.kubernetes.io/region: eu-2 }} }}\n\
         spec: {{ address: 127.0.0.3 }}\n\
         ---\napiVersion: mesh.dev/v1alpha1\nkind: TrafficPolicy\n\
         metadata: {{ name: p, namespace: demo }}\n\
         spec: {{ targetRefs: [{{ kind: Service, name: catalog }}], loadBalancing: {{ {balancing} }} }}\n{more}"
    );
    let services = BASE.split("---\napiVersion: mesh.dev").next().unwrap();
    let catalog = catalog(&format!("{services}{manifests}"));
    seen(&catalog, "demo/catalog:80", "demo").backends.remove(0)
}

#[test]
fn a_workload_says_where_it_runs_or_its_labels_do() {
    let own = own("algorithm: PeakEwma", "").endpoints;
    let own = own.iter().map(|endpoint| endpoint.locality.as_ref());
    let texts: Vec<String> = own.map(|found| found.unwrap().to_string()).collect();
    assert_eq!(texts, ["eu-1/a", "eu-2"]);
}

#[test]
fn an_endpoint_of_a_slice_is_in_its_zone_unless_its_workload_says_where_it_is() {
    let slice = "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: { name: far-1, namespace: demo, labels: { kubernetes.io/service-name: catalog } }\n\
         addressType: IPv4\nports: [{ name: http, port: 8080 }]\n\
         endpoints: [{ addresses: [127.0.0.9], zone: c }, { addresses: [127.0.0.2], zone: d }]\n";
    let own = own("algorithm: PeakEwma", slice).endpoints;
    let own = own.iter().map(|endpoint| {
        let place = endpoint.locality.as_ref().unwrap();
        format!("{} {}|{}", endpoint.address, place.region, place.zone)
    });
    let texts: Vec<String> = own.collect();
    let expected = [
        "127.0.0.2:8080 eu-1|a",
        "127.0.0.3:8080 eu-2|",
        "127.0.0.9:8080 |c",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn what_is_preferred_has_its_field() {
    let mesh = "---\napiVersion: mesh.dev/v1alpha1\nkind: Mesh\nmetadata: { name: default }\n\
                spec: { localities: { failover: [{ from: eu-1, to: eu-2 }] } }\n";
    for (balancing, expected) in [
        ("locality: {}", None),
        ("locality: { mode: Disabled }", None),
        (
            "locality: { mode: PreferLocal }",
            Some("zone, region, others; eu-1 fails over to eu-2"),
        ),
        (
            "locality: { mode: PreferLocal, failover: [] }",
            Some("zone, region, others"),
        ),
        (
            "locality: { weights: [{ from: eu-1, to: { eu-1/a: 90, eu-2: 10 } }] }",
            Some("from eu-1: eu-1/a 90, eu-2 10"),
        ),
    ] {
        let found = own(balancing, mesh).settings.locality;
        let text = found.value.as_ref().map(ToString::to_string);
        assert_eq!(text.as_deref(), expected, "{balancing}");
        if expected.is_some() {
            let origin = "TrafficPolicy demo/p spec.loadBalancing.locality";
            assert_eq!(found.origin.to_string(), origin);
        }
    }
}
