//! The CNI plug-in on each node, in place of an init container in each pod. May use nothing of this
//! crate.

use serde_json::{Value, json};

use super::template::Template;
use super::{NAMESPACE, cluster_metadata, labels, metadata};

/// The name of the DaemonSet and of everything that belongs to it.
pub(crate) const CNI: &str = "mesh-cni";
/// The switch.
const SWITCH: &str = "cni.enabled";

/// Every object of the plug-in.
pub(crate) fn all() -> Vec<Template> {
    [account(), role(), binding(), daemon()]
        .into_iter()
        .map(|body| Template::when(SWITCH, body))
        .collect()
}

fn account() -> Value {
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(CNI, CNI) })
}

/// It sees the pods of its node, and taints or evicts those that started without it.
fn role() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": cluster_metadata(CNI, CNI),
        "rules": [
            { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "patch"] },
            { "apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"] },
        ],
    })
}

fn binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": cluster_metadata(CNI, CNI),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": CNI },
        "subjects": [{ "kind": "ServiceAccount", "name": CNI, "namespace": NAMESPACE }],
    })
}

fn daemon() -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(CNI, CNI),
        "spec": {
            "selector": { "matchLabels": { "app": CNI } },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1 } },
            "template": { "metadata": pod_metadata(), "spec": pod() },
        },
    })
}

fn pod_metadata() -> Value {
    let mut labels = labels(CNI);
    labels["app"] = CNI.into();
    labels["mesh.dev/inject"] = "disabled".into();
    json!({ "labels": labels })
}

fn pod() -> Value {
    json!({
        "serviceAccountName": CNI,
        "priorityClassName": "system-node-critical",
        "hostNetwork": true,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "nodeSelector": { "kubernetes.io/os": "linux" },
        // Every node runs pods of the mesh, whatever its taints.
        "tolerations": [{ "operator": "Exists" }],
        "imagePullSecrets": "${image.pullSecrets}",
        "terminationGracePeriodSeconds": 5,
        "containers": [{
            "name": CNI,
            "image": "${image.registry}/mesh-proxy:${image.tag}",
            "imagePullPolicy": "${image.pullPolicy}",
            "args": ["cni-install"],
            "env": [
                { "name": "MESH_NODE_NAME", "valueFrom": { "fieldRef": {
                    "apiVersion": "v1", "fieldPath": "spec.nodeName",
                } } },
            ],
            "resources": "${cni.resources}",
            "securityContext": { "privileged": true, "runAsUser": 0, "readOnlyRootFilesystem": true },
            "volumeMounts": [
                { "name": "configuration", "mountPath": "/host/etc/cni/net.d" },
                { "name": "programs", "mountPath": "/host/opt/cni/bin" },
                { "name": "namespaces", "mountPath": "/var/run/netns", "mountPropagation": "HostToContainer" },
            ],
        }],
        "volumes": [
            host("configuration", "${cni.configurationDir}"),
            host("programs", "${cni.programDir}"),
            host("namespaces", "/var/run/netns"),
        ],
    })
}

fn host(name: &str, path: &str) -> Value {
    json!({ "name": name, "hostPath": { "path": path, "type": "DirectoryOrCreate" } })
}
