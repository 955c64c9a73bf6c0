//! Services: what their ports speak, their virtual IPs, and their slices.

use super::*;

/// A Service `demo/x` with these fields of its port and of its spec.
fn service(port: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: x, namespace: demo }}\nspec: {{ ports: [{{ port: 80, {port} }}], {spec} }}\n"
    )
}

#[test]
fn ports_declare_what_they_speak() {
    use Protocol::{Detect, Grpc, Http, Http2, Tcp, Tls};
    for (port, expected) in [
        ("appProtocol: http", Http),
        ("appProtocol: HTTP", Http),
        ("appProtocol: https", Tls),
        ("appProtocol: kubernetes.io/h2c", Http2),
        ("appProtocol: kubernetes.io/ws", Http),
        ("appProtocol: kubernetes.io/wss", Tls),
        ("appProtocol: grpc", Grpc),
        ("appProtocol: tcp", Tcp),
        ("appProtocol: tls", Tls),
        ("appProtocol: mongo", Tcp),
        ("appProtocol: mysql", Tcp),
        ("appProtocol: redis", Tcp),
        ("appProtocol: nats", Tcp),
        ("appProtocol: example.com/own", Detect),
        ("appProtocol: tcp, name: http-web", Tcp),
        ("appProtocol: example.com/own, name: http-web", Http),
        ("name: http", Http),
        ("name: http-web", Http),
        ("name: http2-web", Http2),
        ("name: grpc-quotes", Grpc),
        ("name: grpc-web-quotes", Grpc),
        ("name: https-web", Tls),
        ("name: tls-web", Tls),
        ("name: tcp-ledger", Tcp),
        ("name: mongo-a", Tcp),
        ("name: mysql-a", Tcp),
        ("name: redis-a", Tcp),
        ("name: httpweb", Detect),
        ("name: web", Detect),
        ("targetPort: 8080", Detect),
    ] {
        let catalog = catalog(&service(port, ""));
        assert_eq!(
            seen(&catalog, "demo/x:80", "demo").protocol,
            expected,
            "{port}"
        );
    }
    let read = manifest::read("s.yaml", &service("name: udp-dns", ""));
    let faults = faults(&read.resources[0].resource);
    assert_eq!(
        faults[0].to_string(),
        "spec.ports[0].name: \"udp-dns\" says udp, but the port's protocol is TCP"
    );
    let other = service("name: udp-dns, protocol: UDP", "");
    assert_eq!(catalog(&other).destinations().count(), 0);
}

#[test]
fn virtual_ips_belong_to_the_mesh() {
    let mesh = "\n---\napiVersion: mesh.dev/v1alpha1\nkind: Mesh\nmetadata: { name: default }\nspec: { outbound: { ranges: [10.96.0.0/16] } }\n";
    for (spec, addresses, ranges) in [
        (
            "clusterIP: 10.0.0.9",
            "10.0.0.9",
            "10.96.0.0/16 10.0.0.9/32",
        ),
        ("clusterIP: 10.96.3.4", "10.96.3.4", "10.96.0.0/16"),
        (
            "clusterIP: 10.96.3.4, clusterIPs: [10.96.3.4, \"fd00::7\"]",
            "10.96.3.4 fd00::7",
            "10.96.0.0/16 fd00::7/128",
        ),
        ("clusterIP: None", "", "10.96.0.0/16"),
        ("clusterIP: None, clusterIPs: [None]", "", "10.96.0.0/16"),
        ("selector: { app: x }", "", "10.96.0.0/16"),
    ] {
        let catalog = catalog(&format!("{}{mesh}", service("name: http", spec)));
        let words = |list: Vec<String>| list.join(" ");
        let held = seen(&catalog, "demo/x:80", "demo").addresses;
        assert_eq!(
            words(held.iter().map(ToString::to_string).collect()),
            addresses
        );
        let held = catalog.mesh().ranges;
        assert_eq!(
            words(held.iter().map(ToString::to_string).collect()),
            ranges
        );
    }
    let read = manifest::read("s.yaml", &service("name: http", "clusterIP: ten"));
    let faults = faults(&read.resources[0].resource);
    assert_eq!(
        faults[0].to_string(),
        "spec.clusterIP: \"ten\" is not an IP address"
    );
}

#[test]
fn slices_add_addresses_outside_the_mesh() {
    let slice = r"
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: far-1, namespace: demo, labels: { kubernetes.io/service-name: catalog } }
addressType: IPv4
ports: [{ name: http, port: 7000 }]
endpoints:
- { addresses: [127.0.0.9] }
- { addresses: [127.0.0.8], conditions: { ready: false } }
- { addresses: [127.0.0.2] }
";
    let mut catalog = with(slice);
    catalog.set_stale(&"demo/v1-0".parse().unwrap(), true);
    let endpoints = seen(&catalog, "demo/catalog:80", "demo")
        .backends
        .remove(0)
        .endpoints;
    let texts: Vec<_> = endpoints
        .iter()
        .map(|endpoint| {
            format!(
                "{} {} {}",
                endpoint.address,
                endpoint.tunnel_address().is_some(),
                endpoint.stale
            )
        })
        .collect();
    assert_eq!(
        texts,
        [
            "127.0.0.2:7000 true true",
            "127.0.0.2:8080 true true",
            "127.0.0.3:9090 true false",
            "127.0.0.9:7000 false false"
        ]
    );
}

#[test]
fn a_load_balancers_addresses_lead_to_its_service() {
    let status = |kind: &str| {
        let spec = service("name: http", &format!("clusterIP: 10.0.0.9, type: {kind}"));
        catalog(&format!(
            "{spec}status: {{ loadBalancer: {{ ingress: [{{ ip: 192.0.2.7 }}, \
             {{ ip: 192.0.2.8, ipMode: Proxy }}, {{ hostname: lb.example }}] }} }}\n"
        ))
    };
    let leads = |catalog: &Catalog, address: &str| {
        let found = catalog.address(address.parse().unwrap());
        found.map(|found| found.destination.to_string())
    };
    let balanced = status("LoadBalancer");
    for address in ["10.0.0.9:80", "192.0.2.7:80"] {
        assert_eq!(leads(&balanced, address).as_deref(), Some("demo/x:80"));
    }
    assert_eq!(leads(&balanced, "192.0.2.8:80"), None, "passes through it");
    let plain = status("ClusterIP");
    assert_eq!(leads(&plain, "192.0.2.7:80"), None);
}
