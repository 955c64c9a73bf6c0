//! Pods: endpoints of slices, receiving sides, and calls to their own addresses.

use super::*;
use crate::model::backend::Endpoint;
use crate::model::backend::Transport;

/// A Service `demo/web` whose port's target is named, and pods by these texts.
fn cluster(slice: &str, pods: &[String]) -> Catalog {
    let service = r"
apiVersion: v1
kind: Service
metadata: { name: web, namespace: demo }
spec:
  clusterIPs: [10.96.0.7, 'fd00:96::7']
  selector: { app: web }
  ports: [{ name: http, port: 80, targetPort: web }]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, namespace: demo, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ name: http, port: 8080 }]
endpoints:
";
    catalog(&format!("{service}{slice}\n{}", pods.concat()))
}

/// A pod `demo/<name>` of service account `web` with this status and labels.
fn pod(name: &str, labels: &str, more: &str, status: &str) -> String {
    format!(
        "---\n{{ apiVersion: v1, kind: Pod, metadata: {{ name: {name}, namespace: demo, labels: {{ {labels} }} {more} }}, \
         spec: {{ serviceAccountName: web, dnsPolicy: ClusterFirst, containers: [{{ name: app, image: x, ports: [{{ name: web, containerPort: 8080 }}, {{ containerPort: 9000 }}, {{ name: dns, containerPort: 53, protocol: UDP }}] }}], \
         initContainers: [{{ name: mesh-proxy, restartPolicy: Always, ports: [{{ name: metrics, containerPort: 15020 }}] }}, {{ name: side, restartPolicy: Always, ports: [{{ name: tcp-side, containerPort: 7000 }}] }}, {{ name: once, ports: [{{ containerPort: 1 }}] }}] }}, \
         status: {{ {status} }} }}\n"
    )
}

const MESHED: &str = "app: web, mesh.dev/proxy: sidecar";

fn meshed(name: &str, address: &str) -> String {
    let status = format!("phase: Running, podIP: {address}, podIPs: [{{ ip: {address} }}]");
    pod(name, MESHED, "", &status)
}

/// An endpoint of the slice that is a pod.
fn of_pod(name: &str, address: &str, conditions: &str) -> String {
    format!(
        "- {{ addresses: [{address}], conditions: {{ {conditions} }}, targetRef: {{ kind: Pod, name: {name}, namespace: demo, uid: u }} }}\n"
    )
}

fn text(endpoint: &Endpoint) -> String {
    let how = match &endpoint.transport {
        Transport::Hbone { identity, port } => format!("{identity} by {port}"),
        Transport::Plain => "plain".to_owned(),
    };
    let workload = endpoint
        .workload
        .as_ref()
        .map_or("-".into(), ToString::to_string);
    format!("{} {workload} {how}", endpoint.address)
}

fn endpoints(catalog: &Catalog) -> Vec<String> {
    let own = seen(catalog, "demo/web:80", "other").backends.remove(0);
    own.endpoints.iter().map(text).collect()
}

#[test]
fn an_endpoint_of_an_injected_pod_is_reached_by_its_tunnel() {
    let identity = "spiffe://cluster.local/ns/demo/sa/web by 15008";
    let plain = pod("b", "app: web", "", "podIP: 10.1.0.2");
    let host = pod("c", MESHED, "", "podIP: 192.0.2.1")
        .replace("dnsPolicy: ClusterFirst", "hostNetwork: true");
    let slice = [
        of_pod("a", "10.1.0.1", ""),
        of_pod("b", "10.1.0.2", "ready: true"),
        of_pod("c", "192.0.2.1", ""),
        "- { addresses: [10.1.0.9] }\n".to_owned(),
    ];
    let catalog = cluster(&slice.concat(), &[meshed("a", "10.1.0.1"), plain, host]);
    assert_eq!(
        endpoints(&catalog),
        [
            format!("10.1.0.1:8080 demo/a {identity}"),
            "10.1.0.2:8080 demo/b plain".to_owned(),
            "10.1.0.9:8080 - plain".to_owned(),
            "192.0.2.1:8080 demo/c plain".to_owned(),
        ]
    );
    // Slices that people write have no targetRef: the address tells.
    let catalog = cluster("- { addresses: [10.1.0.1] }", &[meshed("a", "10.1.0.1")]);
    assert_eq!(
        endpoints(&catalog),
        [format!("10.1.0.1:8080 demo/a {identity}")]
    );
}

#[test]
fn an_endpoint_of_a_pod_that_is_not_there_is_nobodys() {
    let slice = of_pod("a", "10.1.0.1", "");
    assert!(endpoints(&cluster(&slice, &[])).is_empty(), "comes later");
    let moved = cluster(&slice, &[meshed("a", "10.1.0.2")]);
    assert!(endpoints(&moved).is_empty(), "has another address by now");
    let mut catalog = cluster(&slice, &[meshed("a", "10.1.0.1")]);
    assert_eq!(endpoints(&catalog).len(), 1);
    catalog.delete(&key("Pod demo/a"));
    assert!(endpoints(&catalog).is_empty());
}

#[test]
fn what_ends_serves_only_where_nothing_else_does() {
    let ready = "ready: true, serving: true, terminating: false";
    let ending = "ready: false, serving: true, terminating: true";
    let ended = "ready: false, serving: false, terminating: true";
    let deleted = ", deletionTimestamp: '2026-01-01T00:00:00Z'";
    for (a, b, a_meta, expected) in [
        (ready, ready, "", "10.1.0.1 10.1.0.2"),
        (ready, ending, "", "10.1.0.1"),
        (ending, ending, "", "10.1.0.1 10.1.0.2"),
        (ended, ending, "", "10.1.0.2"),
        (ended, ended, "", ""),
        ("", ready, "", "10.1.0.1 10.1.0.2"),
        ("ready: false", ready, "", "10.1.0.2"),
        ("ready: false", "ready: false", "", ""),
        ("ready: false, terminating: true", "ready: false", "", ""),
        // The slice lags behind its pod.
        (ready, ready, deleted, "10.1.0.2"),
        (ready, ended, deleted, "10.1.0.1"),
    ] {
        let slice = of_pod("a", "10.1.0.1", a) + &of_pod("b", "10.1.0.2", b);
        let first = pod("a", MESHED, a_meta, "podIP: 10.1.0.1");
        let catalog = cluster(&slice, &[first, meshed("b", "10.1.0.2")]);
        let own = seen(&catalog, "demo/web:80", "demo").backends.remove(0);
        let found: Vec<_> = own.endpoints.iter().map(|e| e.ip().to_string()).collect();
        assert_eq!(found.join(" "), expected, "{a} / {b} {a_meta}");
    }
}

#[test]
fn a_pod_has_a_receiving_side() {
    let both = "podIP: 10.1.0.1, podIPs: [{ ip: 10.1.0.1 }, { ip: 'fd00::1' }]";
    let catalog = cluster(
        "  []",
        &[pod("a", MESHED, "", both), pod("b", "app: web", "", "")],
    );
    let inbound = catalog.inbound(&"demo/a".parse().unwrap()).unwrap();
    let addresses: Vec<_> = inbound.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.1.0.1", "fd00::1"]);
    assert_eq!(
        (
            inbound.identity.to_string().as_str(),
            inbound.tunnel_port.number()
        ),
        ("spiffe://cluster.local/ns/demo/sa/web", 15008)
    );
    let ports: Vec<_> = inbound
        .ports
        .iter()
        .map(|port| (port.port.number(), port.protocol, port.services.len()))
        .collect();
    assert_eq!(
        ports,
        [
            (7000, Protocol::Tcp, 0),
            (8080, Protocol::Http, 1),
            (9000, Protocol::Detect, 0)
        ]
    );
    assert!(
        catalog.inbound(&"demo/b".parse().unwrap()).is_none(),
        "is outside the mesh"
    );
    assert_eq!(catalog.workloads().count(), 2);
}

#[test]
fn a_call_to_a_pods_address_goes_to_the_pod_alone() {
    let route = "---\n{ apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: { name: r, namespace: demo }, \
        spec: { parentRefs: [{ group: '', kind: Service, name: web }], rules: [{ filters: [{ type: RequestRedirect, requestRedirect: { hostname: x.example } }] }] } }\n";
    let policy = "---\n{ apiVersion: mesh.dev/v1alpha1, kind: TrafficPolicy, metadata: { name: p, namespace: demo }, \
        spec: { targetRefs: [{ kind: Namespace, name: demo }], timeout: { request: 3s } } }\n";
    let both = "podIPs: [{ ip: 10.1.0.1 }, { ip: 'fd00::1' }]";
    let gone = "podIP: 10.1.0.3, phase: Succeeded";
    let pods = [
        pod("a", MESHED, "", both),
        pod("b", "app: web", "", "podIP: 10.1.0.2"),
        pod("c", MESHED, "", gone),
        route.to_owned(),
        policy.to_owned(),
    ];
    let catalog = cluster(&of_pod("a", "10.1.0.1", ""), &pods);
    let at = |address: &str| {
        let found = catalog.address(address.parse().unwrap())?;
        Some(found.destination.to_string())
    };
    assert_eq!(at("10.96.0.7:80").as_deref(), Some("demo/web:80"));
    assert_eq!(at("[fd00:96::7]:80").as_deref(), Some("demo/web:80"));
    assert_eq!(at("10.1.0.3:8080"), None, "ended");
    assert_eq!(at("10.1.0.4:8080"), None, "nobody's");
    let meshed = "spiffe://cluster.local/ns/demo/sa/web by 15008";
    for (address, name, protocol, expected) in [
        (
            "10.1.0.1:8080",
            "demo/10-1-0-1.pod:8080",
            Protocol::Http,
            format!("10.1.0.1:8080 demo/a {meshed}"),
        ),
        (
            "[fd00::1]:9",
            "demo/fd00-0-0-0-0-0-0-1.pod:9",
            Protocol::Detect,
            format!("[fd00::1]:9 demo/a {meshed}"),
        ),
        (
            "10.1.0.2:7000",
            "demo/10-1-0-2.pod:7000",
            Protocol::Tcp,
            "10.1.0.2:7000 demo/b plain".to_owned(),
        ),
    ] {
        assert_eq!(at(address).as_deref(), Some(name));
        let found = seen(&catalog, name, "other");
        assert_eq!(found.protocol, protocol, "{name}");
        assert!(found.routes.is_empty(), "no routes of a Service");
        assert_eq!(
            found.timeouts.request.value.map(|time| time.as_secs()),
            Some(3)
        );
        let own: Vec<_> = found.backends[0].endpoints.iter().map(text).collect();
        assert_eq!(own, [expected]);
    }
    for name in [
        "demo/10-1-0-4.pod:80",
        "demo/10-1-0-3.pod:80",
        "other/10-1-0-1.pod:80",
    ] {
        let found = catalog.destination(&name.parse().unwrap(), &"demo".parse().unwrap());
        assert!(found.is_none(), "{name}");
    }
}

#[test]
fn addresses_of_meshed_pods_belong_to_the_mesh() {
    let pods = [
        meshed("a", "10.1.0.1"),
        pod("b", "app: web", "", "podIP: 10.2.0.2"),
    ];
    let mut catalog = cluster("  []", &pods);
    let ranges = |catalog: &Catalog| {
        let ranges = catalog.mesh().ranges;
        ranges.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        ranges(&catalog),
        ["10.1.0.1/32", "10.96.0.7/32", "fd00:96::7/128"]
    );
    drop(catalog.take_touched());
    let named = ["10.96.0.0/12", "10.1.0.0/16", "fd00:96::/112"];
    catalog.set_ranges(named.map(|range| range.parse().unwrap()).to_vec());
    assert_eq!(
        ranges(&catalog),
        ["10.1.0.0/16", "10.96.0.0/12", "fd00:96::/112"]
    );
    assert!(catalog.take_touched().concerns(&"mesh".parse().unwrap()));
}
