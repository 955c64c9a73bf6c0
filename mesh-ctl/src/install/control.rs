//! The control plane: Deployment, Service, PodDisruptionBudget. May use nothing of this crate.

use serde_json::{Value, json};

use super::config;
use super::template::Template;
use super::{CONTROL, labels, metadata};

/// The user and group it runs as.
const USER: u32 = 15012;

/// Every object of the control plane.
pub(crate) fn all() -> Vec<Template> {
    [service(), disruption(), deployment()]
        .into_iter()
        .map(Template::always)
        .collect()
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(CONTROL, CONTROL),
        "spec": {
            "selector": selector(),
            "ipFamilyPolicy": "PreferDualStack",
            "ports": [
                port("grpc-proxies", 15012, "proxies"),
                port("https-admin", 15014, "admin"),
                port("https-webhook", 443, "webhook"),
                port("http-metrics", 15020, "metrics"),
            ],
        },
    })
}

fn port(name: &str, number: u16, target: &str) -> Value {
    json!({ "name": name, "port": number, "targetPort": target, "protocol": "TCP" })
}

/// At most one replica is taken at a time; with one replica a drain still proceeds.
fn disruption() -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(CONTROL, CONTROL),
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": selector() } },
    })
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(CONTROL, CONTROL),
        "spec": {
            "replicas": "${control.replicas}",
            "selector": { "matchLabels": selector() },
            "revisionHistoryLimit": 3,
            // One by one, and never one less than asked for.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 },
            },
            "template": { "metadata": pod_metadata(), "spec": pod() },
        },
    })
}

fn pod_metadata() -> Value {
    let mut labels = labels(CONTROL);
    labels["app"] = CONTROL.into();
    labels["mesh.dev/inject"] = "disabled".into();
    json!({ "labels": labels })
}

fn pod() -> Value {
    json!({
        "serviceAccountName": CONTROL,
        "priorityClassName": "${control.priorityClass}",
        "nodeSelector": "${control.nodeSelector}",
        "tolerations": "${control.tolerations}",
        "imagePullSecrets": "${image.pullSecrets}",
        "terminationGracePeriodSeconds": 30,
        "affinity": { "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                apart("kubernetes.io/hostname", 100),
                apart("topology.kubernetes.io/zone", 50),
            ],
        } },
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "containers": [container()],
        "volumes": [
            { "name": "config", "configMap": { "name": config::name() } },
            { "name": "state", "emptyDir": { "sizeLimit": "256Mi" } },
            { "name": "run", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
        ],
    })
}

fn container() -> Value {
    json!({
        "name": CONTROL,
        "image": "${image.registry}/mesh-control:${image.tag}",
        "imagePullPolicy": "${image.pullPolicy}",
        "args": ["run", "/etc/mesh/bootstrap.json"],
        "env": [
            { "name": "MESH_LOG", "value": "${control.logLevel}" },
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("POD_IP", "status.podIP"),
        ],
        "ports": [
            { "name": "proxies", "containerPort": 15012, "protocol": "TCP" },
            { "name": "admin", "containerPort": 15014, "protocol": "TCP" },
            { "name": "webhook", "containerPort": 15017, "protocol": "TCP" },
            { "name": "metrics", "containerPort": 15020, "protocol": "TCP" },
        ],
        "resources": "${control.resources}",
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        // A first start on a slow machine; afterwards the other two decide.
        "startupProbe": probe("/live", 1, 120),
        "livenessProbe": probe("/live", 10, 3),
        "readinessProbe": probe("/ready", 2, 2),
        "volumeMounts": [
            { "name": "config", "mountPath": "/etc/mesh", "readOnly": true },
            { "name": "state", "mountPath": "/var/lib/mesh" },
            { "name": "run", "mountPath": "/run/mesh" },
        ],
    })
}

fn field(name: &str, path: &str) -> Value {
    json!({ "name": name, "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": path } } })
}

fn probe(path: &str, period: u32, failures: u32) -> Value {
    json!({
        "httpGet": { "path": path, "port": "metrics", "scheme": "HTTP" },
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    })
}

/// Prefers nodes, or zones, without another replica.
fn apart(topology: &str, weight: u32) -> Value {
    json!({
        "weight": weight,
        "podAffinityTerm": {
            "topologyKey": topology,
            "labelSelector": { "matchLabels": selector() },
        },
    })
}

fn selector() -> Value {
    json!({ "app": CONTROL })
}
