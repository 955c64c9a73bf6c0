//! A change names every entry and verdict that it alters, and few more.

use super::*;
use crate::model::entry::{Entry, EntryName};

const CLUSTER: &str = r"
apiVersion: v1
kind: Service
metadata: { name: web, namespace: demo }
spec: { clusterIP: 10.96.0.7, selector: { app: web }, ports: [{ name: http, port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: back, namespace: demo }
spec: { clusterIP: 10.96.0.8, selector: { app: back }, ports: [{ name: http, port: 80 }] }
---
apiVersion: v1
kind: Service
metadata: { name: other, namespace: demo }
spec: { clusterIP: 10.96.0.9, selector: { app: other }, ports: [{ name: http, port: 80 }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: r, namespace: demo }
spec: { parentRefs: [{ group: '', kind: Service, name: web }], rules: [{ backendRefs: [{ name: back, port: 80 }] }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: back-1, namespace: demo, labels: { kubernetes.io/service-name: back } }
addressType: IPv4
ports: [{ name: http, port: 8080 }]
endpoints: [{ addresses: [10.1.0.1], targetRef: { kind: Pod, name: a } }]
---
apiVersion: v1
kind: Pod
metadata: { name: a, namespace: demo, labels: { app: back, mesh.dev/proxy: sidecar } }
spec: { serviceAccountName: back }
status: { podIP: 10.1.0.1 }
---
apiVersion: v1
kind: Pod
metadata: { name: b, namespace: demo, labels: { app: other, mesh.dev/proxy: sidecar } }
spec: { serviceAccountName: other }
status: { podIP: 10.1.0.2 }
";

/// Every name that a proxy may ask for here.
const NAMES: [&str; 12] = [
    "mesh",
    "destination/demo/web:80",
    "destination/demo/back:80",
    "destination/demo/other:80",
    "destination/demo/10-1-0-1.pod:8080",
    "destination/demo/10-1-0-2.pod:8080",
    "inbound/demo/a",
    "inbound/demo/b",
    "address/10.96.0.7:80",
    "address/10.96.0.10:80",
    "address/10.1.0.1:8080",
    "address/10.1.0.2:8080",
];

fn read(yaml: &str) -> Resource {
    manifest::read("change.yaml", yaml)
        .resources
        .remove(0)
        .resource
}

fn entry(catalog: &Catalog, name: &EntryName) -> Option<Entry> {
    let consumer = "demo".parse().unwrap();
    match name {
        EntryName::Mesh => Some(Entry::Mesh(catalog.mesh())),
        EntryName::Destination(name) => {
            catalog.destination(name, &consumer).map(Entry::Destination)
        }
        EntryName::Inbound(name) => catalog.inbound(name).map(Entry::Inbound),
        EntryName::Address(address) => catalog.address(*address).map(Entry::Address),
    }
}

/// Makes `change`; what it touched of [`NAMES`], having checked that nothing else differs.
fn touched(change: impl FnOnce(&mut Catalog)) -> String {
    let mut catalog = catalog(CLUSTER);
    let names: Vec<EntryName> = NAMES.iter().map(|name| name.parse().unwrap()).collect();
    let entries =
        |catalog: &Catalog| -> Vec<_> { names.iter().map(|name| entry(catalog, name)).collect() };
    let verdicts = |catalog: &Catalog| -> Vec<_> {
        let all = catalog.resources();
        all.map(|(key, _, verdict)| (key.clone(), verdict))
            .collect()
    };
    let (before, judged) = (entries(&catalog), verdicts(&catalog));
    drop(catalog.take_touched());
    change(&mut catalog);
    let touched = catalog.take_touched();
    assert!(catalog.take_touched().is_empty());
    let after = entries(&catalog);
    for ((name, before), after) in names.iter().zip(&before).zip(&after) {
        assert!(
            before == after || touched.concerns(name),
            "{name} changed unseen"
        );
    }
    for (key, verdict) in verdicts(&catalog) {
        let same = judged.contains(&(key.clone(), verdict));
        let told = touched.is_everything() || touched.verdicts().any(|told| *told == key);
        assert!(same || told, "the verdict on {key} changed unseen");
    }
    let told = names.iter().filter(|name| touched.concerns(name));
    let told: Vec<_> = told.map(ToString::to_string).collect();
    told.join(" ")
}

#[test]
fn a_change_touches_what_reads_it() {
    let apply = |yaml: &'static str| move |catalog: &mut Catalog| drop(catalog.apply(read(yaml)));
    let slice = "{ apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: { name: back-2, namespace: demo, labels: { kubernetes.io/service-name: back } }, addressType: IPv4, ports: [{ name: http, port: 8080 }], endpoints: [{ addresses: [10.9.0.1] }] }";
    assert_eq!(
        touched(apply(slice)),
        "destination/demo/web:80 destination/demo/back:80"
    );
    assert_eq!(
        touched(|catalog| assert!(catalog.delete(&key("Pod demo/a")))),
        "mesh destination/demo/web:80 destination/demo/back:80 destination/demo/10-1-0-1.pod:8080 inbound/demo/a address/10.1.0.1:8080"
    );
    let beat = "{ apiVersion: v1, kind: Pod, metadata: { name: b, namespace: demo, resourceVersion: '9', labels: { app: other, mesh.dev/proxy: sidecar } }, spec: { serviceAccountName: other }, status: { podIP: 10.1.0.2, conditions: [{ type: Ready, status: 'True' }] } }";
    assert_eq!(touched(apply(beat)), "", "nothing that is read changed");
    let service = "{ apiVersion: v1, kind: Service, metadata: { name: other, namespace: demo }, spec: { clusterIP: 10.96.0.10, selector: { app: other }, ports: [{ name: grpc, port: 80, targetPort: 8080 }] } }";
    assert_eq!(
        touched(apply(service)),
        "mesh destination/demo/other:80 destination/demo/10-1-0-2.pod:8080 inbound/demo/b address/10.96.0.10:80 address/10.1.0.2:8080"
    );
    let route = "{ apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: { name: g, namespace: demo }, spec: { parentRefs: [{ group: '', kind: Service, name: web }], rules: [{ backendRefs: [{ name: other, port: 80 }] }] } }";
    assert_eq!(touched(apply(route)), "destination/demo/web:80");
    let traffic = "{ apiVersion: mesh.dev/v1alpha1, kind: TrafficPolicy, metadata: { name: p, namespace: demo }, spec: { targetRefs: [{ kind: Service, name: back }], timeout: { request: 1s } } }";
    assert_eq!(
        touched(apply(traffic)),
        "destination/demo/web:80 destination/demo/back:80"
    );
    let mode = "{ apiVersion: mesh.dev/v1alpha1, kind: MutualTLSPolicy, metadata: { name: m, namespace: demo }, spec: { selector: { matchLabels: { app: back } }, mode: Permissive } }";
    assert_eq!(touched(apply(mode)), "inbound/demo/a");
    let limits = "{ apiVersion: mesh.dev/v1alpha1, kind: RateLimitPolicy, metadata: { name: l, namespace: demo }, spec: { selector: { matchLabels: { app: back } }, limits: [{ name: one, requests: 1, per: 1s }] } }";
    assert_eq!(touched(apply(limits)), "inbound/demo/a");
    let mesh = "{ apiVersion: mesh.dev/v1alpha1, kind: Mesh, metadata: { name: default }, spec: { mutualTLS: { mode: Permissive } } }";
    assert_eq!(touched(apply(mesh)), NAMES.join(" "));
    assert_eq!(
        touched(|catalog| assert!(catalog.delete(&key("Service demo/back")))),
        "mesh destination/demo/web:80 destination/demo/back:80 destination/demo/10-1-0-1.pod:8080 inbound/demo/a address/10.1.0.1:8080"
    );
}
