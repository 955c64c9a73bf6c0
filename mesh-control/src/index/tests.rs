use mesh_api::model::destination::Destination;
use mesh_api::wire::generated as wire;

use super::*;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: { name: catalog, namespace: demo }
spec:
  selector: { app: catalog }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
";

fn workload(name: &str, address: &str) -> String {
    format!(
        "
apiVersion: mesh.dev/v1alpha1
kind: Workload
metadata: {{ name: {name}, namespace: demo, labels: {{ app: catalog }} }}
spec: {{ address: {address}, ports: {{ http: 8080 }}, serviceAccount: catalog }}
"
    )
}

fn files(changed: &[(&str, &str)], removed: &[&str]) -> Scan {
    Scan {
        changed: changed
            .iter()
            .map(|(file, text)| ((*file).to_owned(), Ok((*text).to_owned())))
            .collect(),
        removed: removed.iter().map(|file| (*file).to_owned()).collect(),
        unsettled: false,
    }
}

fn destination(index: &Index) -> Option<Destination> {
    let name = "destination/demo/catalog:80".parse().unwrap();
    match index.entry(&name, Some(&"demo".parse().unwrap()))? {
        Entry::Destination(destination) => Some(destination),
        _ => panic!("not a destination"),
    }
}

fn endpoints(index: &Index) -> Vec<String> {
    let destination = destination(index).unwrap();
    let endpoints = &destination.backends[0].endpoints;
    endpoints
        .iter()
        .map(|at| format!("{}{}", at.address, if at.stale { " stale" } else { "" }))
        .collect()
}

fn registration(name: &str, address: &str) -> Registration {
    let request = wire::RegisterRequest {
        name: name.into(),
        address: address.into(),
        labels: vec![wire::Label {
            key: "app".into(),
            value: "catalog".into(),
        }],
        ports: vec![wire::NamedPort {
            name: "http".into(),
            port: 8080,
        }],
        tunnel_port: 15008,
        weight: 100,
    };
    let caller = "spiffe://cluster.local/ns/demo/sa/catalog".parse().unwrap();
    Registration::check(request, &caller).unwrap()
}

fn refused(index: &Index) -> Vec<String> {
    let statuses = index.statuses();
    let bad = statuses
        .iter()
        .filter(|status| status.conditions[0].status == "False");
    bad.map(|status| {
        format!(
            "{}:{} {} {}{}",
            status.file.as_deref().unwrap_or("-"),
            status.line,
            status.kind,
            status.name,
            if status.stale { " stale" } else { "" }
        )
    })
    .collect()
}

#[test]
fn files_and_registrations_are_one_world() {
    let mut index = Index::new(None);
    assert!(destination(&index).is_none());
    index.apply_files(files(
        &[("a.yaml", SERVICE), ("b.yaml", &workload("c1", "10.0.0.1"))],
        &[],
    ));
    assert_eq!(endpoints(&index), ["10.0.0.1:8080"]);
    index.apply_leases(&[Change::Upsert(registration("c2", "10.0.0.2"))]);
    assert_eq!(endpoints(&index), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    let c2: ObjectName = "demo/c2".parse().unwrap();
    assert_eq!(index.service_account(&c2).unwrap().as_str(), "catalog");
    index.apply_leases(&[Change::SetStale(c2.clone(), true)]);
    assert_eq!(endpoints(&index), ["10.0.0.1:8080", "10.0.0.2:8080 stale"]);
    assert!(index.services()[0].stale);

    // A file of the same name beats the registration, which is back when the file goes.
    index.apply_leases(&[Change::SetStale(c2.clone(), false)]);
    index.apply_files(files(&[("c.yaml", &workload("c2", "10.0.0.3"))], &[]));
    assert!(index.has_written_workload(&c2));
    assert_eq!(endpoints(&index), ["10.0.0.1:8080", "10.0.0.3:8080"]);
    index.apply_files(files(&[], &["c.yaml", "b.yaml"]));
    assert_eq!(endpoints(&index), ["10.0.0.2:8080"]);
    index.apply_leases(&[Change::Delete(c2)]);
    assert!(endpoints(&index).is_empty());
    index.apply_files(files(&[], &["a.yaml"]));
    assert!(destination(&index).is_none());
}

#[test]
fn what_is_bad_is_refused_alone_and_keeps_its_last_good() {
    let mut index = Index::new(None);
    let good = format!("{SERVICE}---{}", workload("c1", "10.0.0.1"));
    index.apply_files(files(&[("a.yaml", &good)], &[]));
    let field = good.replace("address: 10.0.0.1", "address: nowhere");
    index.apply_files(files(
        &[("a.yaml", &field), ("b.yaml", &workload("c2", "10.0.0.2"))],
        &[],
    ));
    assert_eq!(endpoints(&index), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    assert_eq!(refused(&index).len(), 1, "{:?}", refused(&index));
    let statuses = index.statuses();
    let bad = statuses.iter().find(|status| status.stale).unwrap();
    assert_eq!(bad.faults[0].path, "spec.address");
    let place = usize::try_from(bad.faults[0].line).unwrap();
    assert!(field.lines().nth(place - 1).unwrap().contains("nowhere"));

    index.apply_files(files(&[("a.yaml", "kind: [")], &[]));
    assert_eq!(endpoints(&index), ["10.0.0.1:8080", "10.0.0.2:8080"]);
    let statuses = refused(&index);
    assert!(
        statuses.iter().any(|status| status.starts_with("a.yaml:")),
        "{statuses:?}"
    );

    index.apply_files(files(&[("a.yaml", SERVICE)], &[]));
    assert_eq!(
        endpoints(&index),
        ["10.0.0.2:8080"],
        "a deleted document is gone"
    );
    assert!(refused(&index).is_empty(), "{:?}", refused(&index));
}

#[test]
fn the_first_file_by_name_wins() {
    let mut index = Index::new(None);
    index.apply_files(files(
        &[
            ("z.yaml", &workload("c1", "10.0.0.9")),
            ("a.yaml", SERVICE),
            ("b.yaml", &workload("c1", "10.0.0.1")),
        ],
        &[],
    ));
    assert_eq!(endpoints(&index), ["10.0.0.1:8080"]);
    let statuses = index.statuses();
    let loser = statuses
        .iter()
        .find(|status| status.file.as_deref() == Some("z.yaml"))
        .unwrap();
    assert_eq!(loser.conditions[1].kind, "Conflicted");
    assert!(loser.conditions[1].message.contains("b.yaml:"));
    assert!(loser.conditions[1].message.contains("z.yaml:"));
    index.apply_files(files(&[], &["b.yaml"]));
    assert_eq!(endpoints(&index), ["10.0.0.9:8080"]);
}

#[test]
fn the_bootstrap_names_a_trust_domain_until_a_mesh_does() {
    let mut index = Index::new(Some("here.example".parse().unwrap()));
    index.apply_files(Scan::default());
    assert_eq!(index.facts().trust_domain.as_str(), "here.example");
    let mesh = "
apiVersion: mesh.dev/v1alpha1
kind: Mesh
metadata: { name: default }
spec: { trustDomain: there.example }
";
    index.apply_files(files(&[("m.yaml", mesh)], &[]));
    assert_eq!(index.facts().trust_domain.as_str(), "there.example");
    let silent = mesh.replace("trustDomain: there.example", "");
    index.apply_files(files(&[("m.yaml", &silent)], &[]));
    assert_eq!(index.facts().trust_domain.as_str(), "here.example");
    index.apply_files(files(&[], &["m.yaml"]));
    assert_eq!(index.facts().trust_domain.as_str(), "here.example");
}

#[test]
fn routes_of_every_kind_are_read() {
    let route = |kind: &str, rule: &str| {
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: {kind}
metadata: {{ name: r, namespace: demo }}
spec: {{ parentRefs: [{{ group: \"\", kind: Service, name: catalog }}], {rule} }}
"
        )
    };
    let plain = "rules: [{ backendRefs: [{ name: catalog, port: 80 }] }]";
    let mut index = Index::new(None);
    index.apply_files(files(
        &[("s.yaml", SERVICE), ("tcp.yaml", &route("TCPRoute", plain))],
        &[],
    ));
    assert_eq!(destination(&index).unwrap().connection_routes.len(), 1);
    let tls = format!("hostnames: [a.b], {plain}");
    index.apply_files(files(&[("tls.yaml", &route("TLSRoute", &tls))], &[]));
    index.apply_files(files(&[("grpc.yaml", &route("GRPCRoute", plain))], &[]));
    let now = destination(&index).unwrap();
    assert_eq!((now.routes.len(), now.connection_routes.len()), (1, 0));
    assert_eq!(
        refused(&index),
        ["tls.yaml:2 TLSRoute r", "tcp.yaml:2 TCPRoute r"]
    );
    let statuses = index.statuses();
    let conflicted = statuses.iter().filter(|status| {
        let accepted = &status.conditions[0];
        accepted.reason == "Conflicted" && accepted.message.starts_with("GRPCRoute demo/r decides")
    });
    assert_eq!(conflicted.count(), 2);
    index.apply_files(files(&[], &["grpc.yaml", "tls.yaml"]));
    assert_eq!(destination(&index).unwrap().connection_routes.len(), 1);
    assert!(refused(&index).is_empty());
}
