//! The demo as objects of a cluster. Pure.

use anyhow::Context;
use serde_json::{Value, json};

use crate::demo::mesh::MANIFESTS;
use crate::install::object::Object;

/// The namespace of everything here.
pub(super) const NAMESPACE: &str = "demo";
/// The label of a namespace that a demo made.
pub(super) const MARK: &str = "mesh.dev/demo";
/// Where apps listen.
pub(super) const PORT: u16 = 8080;
/// Where the ledger listens without saying what it speaks.
const RAW_PORT: u16 = 8081;

/// One app.
struct App {
    name: &'static str,
    account: &'static str,
    replicas: u32,
    labels: Value,
    /// Names of its ports: what Services lead to.
    ports: &'static [(&'static str, u16)],
    arguments: Vec<String>,
}

/// Everything, in the order to apply it.
pub(super) fn all(image: &str) -> anyhow::Result<Vec<Object>> {
    let mut bodies = vec![namespace()];
    let apps = apps();
    for app in &apps {
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": app.account, "namespace": NAMESPACE },
        });
        if !bodies.contains(&account) {
            bodies.push(account);
        }
    }
    bodies.extend(manifests()?);
    bodies.extend(apps.iter().map(|app| deployment(app, image)));
    Ok(bodies.into_iter().map(Object::new).collect())
}

/// The namespace that everything else is in.
pub(super) fn namespace() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": NAMESPACE, "labels": { MARK: "true", "mesh.dev/inject": "enabled" } },
    })
}

/// Services and routes, as the demo on one machine has them; what is the whole mesh's stays out.
fn manifests() -> anyhow::Result<Vec<Value>> {
    let mut bodies = Vec::new();
    for (file, manifest) in MANIFESTS {
        for document in manifest.split("\n---\n") {
            let mut body: Value = serde_saphyr::from_str(document).context(file)?;
            if body["kind"] == "Mesh" || body["kind"] == "Namespace" {
                continue;
            }
            // Services lead to ports by name; a cluster wants that spelled out.
            let ports = body
                .pointer_mut("/spec/ports")
                .and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten() {
                port["targetPort"] = port["name"].clone();
            }
            bodies.push(body);
        }
    }
    Ok(bodies)
}

fn apps() -> Vec<App> {
    let at = |service: &str| {
        let name = service.to_uppercase().replace('-', "_");
        // The kubelet puts in the address of a Service that is there before the pod.
        format!("$({name}_SERVICE_HOST):$({name}_SERVICE_PORT)")
    };
    let app = |name, words: &[&str]| App {
        name,
        account: name,
        replicas: 1,
        labels: json!({ "app": name }),
        ports: &[("http", PORT)],
        arguments: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    let catalog = |name, version: &str, replicas| App {
        account: "catalog",
        replicas,
        labels: json!({ "app": "catalog", "version": version }),
        ..app(
            name,
            &["catalog", "--version", version, "--stock", &at("stock")],
        )
    };
    let shop = [
        "shop",
        "--catalog",
        &at("catalog"),
        "--pricing",
        &at("pricing"),
        "--feed",
        &at("feed"),
        "--ledger",
        &at("ledger"),
    ];
    vec![
        app("stock", &["stock"]),
        App {
            ports: &[("grpc", PORT)],
            ..app("pricing", &["pricing"])
        },
        app("feed", &["feed"]),
        App {
            ports: &[("line", PORT), ("raw", RAW_PORT)],
            ..app("ledger", &["ledger", "--raw-port", &RAW_PORT.to_string()])
        },
        catalog("catalog-v1", "v1", 2),
        catalog("catalog-v2", "v2", 1),
        app("shop", &shop),
    ]
}

fn deployment(app: &App, image: &str) -> Value {
    let mut arguments = vec!["demo-app".to_owned(), "--stay".to_owned()];
    arguments.extend(app.arguments.iter().cloned());
    let ports: Vec<Value> = app
        .ports
        .iter()
        .map(|(name, port)| json!({ "name": name, "containerPort": port }))
        .collect();
    let first = app.ports.first().map_or("http", |(name, _)| name);
    let mut labels = app.labels.clone();
    labels["part-of"] = "mesh-demo".into();
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": app.name, "namespace": NAMESPACE, "labels": app.labels },
        "spec": {
            "replicas": app.replicas,
            "selector": { "matchLabels": app.labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "serviceAccountName": app.account,
                    "securityContext": {
                        "runAsNonRoot": true,
                        "runAsUser": 1000,
                        "seccompProfile": { "type": "RuntimeDefault" },
                    },
                    "containers": [{
                        "name": "app",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": arguments,
                        "env": [
                            { "name": "PORT", "value": PORT.to_string() },
                            { "name": "MESH_DEMO_HOST", "value": "0.0.0.0" },
                        ],
                        "ports": ports,
                        "readinessProbe": { "tcpSocket": { "port": first }, "periodSeconds": 1 },
                        "resources": { "requests": { "cpu": "5m", "memory": "16Mi" } },
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": { "drop": ["ALL"] },
                        },
                    }],
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_server_gets_no_field_that_is_null() {
        for object in all("image").unwrap() {
            let text = serde_json::to_string(&object).unwrap();
            assert!(!text.contains(":null"), "{text}");
        }
    }

    #[test]
    fn every_service_leads_to_a_port_of_an_app() {
        let objects = all("image").unwrap();
        let of_kind = |kind: &'static str| objects.iter().filter(move |one| one.kind() == kind);
        assert_eq!(objects[0].name(), NAMESPACE);
        assert_eq!(of_kind("Mesh").count(), 0, "the mesh is the cluster's own");
        assert!(of_kind("HTTPRoute").count() >= 2);
        for service in of_kind("Service") {
            let spec = &service.body()["spec"];
            for port in spec["ports"].as_array().unwrap() {
                let leads = of_kind("Deployment").any(|one| {
                    let template = &one.body()["spec"]["template"];
                    let labels = template["metadata"]["labels"].as_object().unwrap();
                    let selector = spec["selector"].as_object().unwrap();
                    let ports = &template["spec"]["containers"][0]["ports"];
                    selector
                        .iter()
                        .all(|(key, value)| labels.get(key) == Some(value))
                        && ports
                            .as_array()
                            .unwrap()
                            .iter()
                            .any(|one| one["name"] == port["targetPort"])
                });
                assert!(leads, "{service}: {port}");
            }
        }
    }
}
