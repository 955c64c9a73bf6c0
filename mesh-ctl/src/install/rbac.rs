//! Who may do what: the control plane, administrators of the mesh, and its users by the roles
//! `view` and `edit` that clusters have. May use nothing of this crate.

use serde_json::{Value, json};

use super::template::Template;
use super::{CONTROL, NAMESPACE, cluster_metadata, metadata};

/// The ServiceAccount whose tokens open the remote admin port.
pub(crate) const ADMIN: &str = "mesh-admin";

/// Every account, role and binding.
pub(crate) fn all() -> Vec<Template> {
    let objects = [
        account(CONTROL),
        account(ADMIN),
        role("mesh-control", CONTROL, &control()),
        binding("mesh-control", CONTROL),
        local_role(),
        local_binding(),
        role("mesh-admin", ADMIN, &admin()),
        binding("mesh-admin", ADMIN),
        aggregated("mesh-view", "view", &["get", "list", "watch"]),
        aggregated(
            "mesh-edit",
            "edit",
            &["create", "update", "patch", "delete", "deletecollection"],
        ),
    ];
    objects.into_iter().map(Template::always).collect()
}

fn account(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(name, name),
        // The control plane names its token in its volumes; nothing uses the administrators'.
        "automountServiceAccountToken": name == CONTROL,
    })
}

/// What the control plane reads and writes in the whole cluster, as the top of
/// `mesh-control/src/kubernetes.rs` lists it.
fn control() -> Vec<Value> {
    let routes = ["httproutes", "grpcroutes", "tlsroutes", "tcproutes"];
    let statuses = routes.map(|route| format!("{route}/status"));
    let statuses = statuses.each_ref().map(String::as_str);
    let gateway = "gateway.networking.k8s.io";
    let read = &["get", "list", "watch"];
    let report = &["get", "patch", "update"];
    let mut rules = vec![
        rule("", &["services", "namespaces", "pods", "nodes"], read),
        rule("discovery.k8s.io", &["endpointslices"], read),
        rule("networking.k8s.io", &["servicecidrs"], read),
        rule("apiextensions.k8s.io", &["customresourcedefinitions"], read),
        rule(gateway, &routes, read),
        rule(gateway, &statuses, report),
        rule("mesh.dev", &["*"], read),
        rule("mesh.dev", &["*/status"], report),
        rule("authentication.k8s.io", &["tokenreviews"], &["create"]),
        rule(
            "authorization.k8s.io",
            &["subjectaccessreviews"],
            &["create"],
        ),
    ];
    for (resource, name) in [
        ("mutatingwebhookconfigurations", super::webhook::INJECTOR),
        ("validatingwebhookconfigurations", super::webhook::VALIDATOR),
    ] {
        let group = "admissionregistration.k8s.io";
        rules.push(named(group, resource, &[name], &["get", "patch"]));
    }
    rules
}

/// What it keeps in its own namespace: keys, roots, the Lease of the replica that writes. Who
/// creates has no name yet, so creation has rules of its own.
fn local_role() -> Value {
    let lease = "coordination.k8s.io";
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata("mesh-control", CONTROL),
        "rules": [
            rule("", &["secrets", "configmaps"], &["create"]),
            named("", "secrets", &["mesh-ca-root", "mesh-ca-intermediate"], &["get", "update"]),
            named("", "configmaps", &["mesh-ca-roots"], &["get", "update"]),
            rule(lease, &["leases"], &["create"]),
            named(lease, "leases", &["mesh-control"], &["get", "patch", "update"]),
        ],
    })
}

fn local_binding() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata("mesh-control", CONTROL),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mesh-control" },
        "subjects": [{ "kind": "ServiceAccount", "name": CONTROL, "namespace": NAMESPACE }],
    })
}

/// What the remote admin port asks a SubjectAccessReview for.
fn admin() -> Vec<Value> {
    vec![rule("admin.mesh.dev", &["control", "proxies"], &["get"])]
}

fn role(name: &str, component: &str, rules: &[Value]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": cluster_metadata(name, component),
        "rules": rules,
    })
}

fn binding(name: &str, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": cluster_metadata(name, account),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": NAMESPACE }],
    })
}

/// A role that the cluster adds to its own `view`, or to `edit` and `admin`.
fn aggregated(name: &str, into: &str, verbs: &[&str]) -> Value {
    let mut role = role(name, "mesh", &[rule("mesh.dev", &["*"], verbs)]);
    let label = format!("rbac.authorization.k8s.io/aggregate-to-{into}");
    role["metadata"]["labels"][label] = "true".into();
    if into == "edit" {
        role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-admin"] = "true".into();
    }
    role
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

/// A rule for single objects.
fn named(group: &str, resource: &str, names: &[&str], verbs: &[&str]) -> Value {
    let mut rule = rule(group, &[resource], verbs);
    rule["resourceNames"] = json!(names);
    rule
}
