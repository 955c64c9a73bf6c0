//! The objects looked at, and what is in the mesh among them.

use serde_json::Value;

use crate::source::json::{list, text};

/// Namespaces whose pods never get a sidecar.
const NEVER: [&str; 4] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "mesh-system",
];
/// The label that opts in or out.
const INJECT: &str = "mesh.dev/inject";

/// Objects of a cluster, or of files, by kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    /// Namespaces.
    pub(crate) namespaces: Vec<Value>,
    /// Pods; of files also what makes pods, as its template.
    pub(crate) pods: Vec<Value>,
    /// Services.
    pub(crate) services: Vec<Value>,
    /// Ingresses.
    pub(crate) ingresses: Vec<Value>,
    /// Routes of the Gateway API.
    pub(crate) routes: Vec<Value>,
    /// NetworkPolicies.
    pub(crate) policies: Vec<Value>,
    /// Webhook configurations, and what else the API server calls: definitions that convert, and
    /// APIServices.
    pub(crate) callers: Vec<Value>,
    /// ServiceMonitors and PodMonitors.
    pub(crate) monitors: Vec<Value>,
    /// MutualTLSPolicies: exceptions that were made.
    pub(crate) exceptions: Vec<Value>,
    /// Namespaces that are looked at as if they had opted in.
    pub(crate) adopted: Vec<String>,
}

impl Objects {
    /// Looks at a namespace as if it had opted in; false if there is none of that name.
    pub(crate) fn adopt(&mut self, named: &str) -> bool {
        let Some(namespace) = self.namespaces.iter_mut().find(|one| name(one) == named) else {
            return false;
        };
        namespace["metadata"]["labels"][INJECT] = "enabled".into();
        self.adopted.push(named.to_owned());
        true
    }

    /// Pods that are in the mesh, or will be when they start again.
    pub(super) fn meshed(&self) -> impl Iterator<Item = &Value> {
        self.pods.iter().filter(|pod| self.is_meshed(pod))
    }

    /// True if a pod has a sidecar, or its namespace or itself asked for one.
    pub(super) fn is_meshed(&self, pod: &Value) -> bool {
        has_sidecar(pod) || (self.is_opted_in(pod) && !on_host(pod))
    }

    /// True if a pod asked for a sidecar.
    pub(super) fn is_opted_in(&self, pod: &Value) -> bool {
        let namespace = namespace(pod);
        if NEVER.contains(&namespace) {
            return false;
        }
        match text(&pod["metadata"]["labels"], INJECT) {
            "enabled" => true,
            "disabled" => false,
            _ => self.namespaces.iter().any(|one| {
                text(&one["metadata"], "name") == namespace
                    && text(&one["metadata"]["labels"], INJECT) == "enabled"
            }),
        }
    }

    /// Pods in the mesh that a Service leads to.
    pub(super) fn behind<'a>(&'a self, service: &Value) -> Vec<&'a Value> {
        let selector = &service["spec"]["selector"];
        if selector.as_object().is_none_or(serde_json::Map::is_empty) {
            return Vec::new();
        }
        let place = namespace(service);
        let is_behind = |pod: &&Value| namespace(pod) == place && has_labels(pod, selector);
        self.meshed().filter(is_behind).collect()
    }

    /// The Service of a name.
    pub(super) fn service(&self, place: &str, name: &str) -> Option<&Value> {
        let is_meant = |one: &&Value| namespace(one) == place && self::name(one) == name;
        self.services.iter().find(is_meant)
    }

    /// True if an exception lets plaintext reach a port of a pod.
    pub(super) fn is_excepted(&self, pod: &Value, port: u64) -> bool {
        let excluded = text(
            &pod["metadata"]["annotations"],
            "mesh.dev/exclude-inbound-ports",
        );
        if excluded
            .split(',')
            .any(|one| one.trim() == port.to_string())
        {
            return true;
        }
        self.exceptions.iter().any(|policy| {
            let selector = &policy["spec"]["selector"]["matchLabels"];
            let is_of = namespace(policy) == namespace(pod) && has_labels(pod, selector);
            let mode = match text(&policy["spec"]["ports"][port.to_string()], "mode") {
                "" => text(&policy["spec"], "mode"),
                mode => mode,
            };
            is_of && matches!(mode, "Disabled" | "Permissive")
        })
    }
}

/// True if a pod runs with a sidecar.
pub(super) fn has_sidecar(pod: &Value) -> bool {
    text(&pod["metadata"]["labels"], "mesh.dev/proxy") == "sidecar"
}

/// True if a pod is on its node's network.
pub(super) fn on_host(pod: &Value) -> bool {
    pod["spec"]["hostNetwork"] == true
}

/// True if an object carries every label of `selector`; one that asks for none selects all.
pub(super) fn has_labels(object: &Value, selector: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    let wanted = selector.as_object().into_iter().flatten();
    wanted.into_iter().all(|(key, value)| labels[key] == *value)
}

/// True if a label selector with expressions takes an object.
pub(super) fn selects(object: &Value, selector: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    let takes = |expression: &Value| {
        let value = labels[text(expression, "key")].as_str();
        let values = list(expression, "values");
        let is_listed = value.is_some_and(|value| values.iter().any(|one| one == value));
        match text(expression, "operator") {
            "In" => is_listed,
            "NotIn" => !is_listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    has_labels(object, &selector["matchLabels"])
        && list(selector, "matchExpressions").iter().all(takes)
}

/// An object's namespace; `default` where it says none.
pub(super) fn namespace(object: &Value) -> &str {
    match text(&object["metadata"], "namespace") {
        "" => "default",
        namespace => namespace,
    }
}

/// An object's name.
pub(super) fn name(object: &Value) -> &str {
    text(&object["metadata"], "name")
}

/// `namespace/name` of what a person changes: the owner of a pod rather than the pod.
pub(super) fn owner(pod: &Value) -> String {
    let owners = list(&pod["metadata"], "ownerReferences").iter();
    let controller = owners.into_iter().find(|owner| owner["controller"] == true);
    let hash = text(&pod["metadata"]["labels"], "pod-template-hash");
    let (kind, name) = match controller {
        Some(owner) if owner["kind"] == "ReplicaSet" => {
            let set = text(owner, "name");
            let deployment = set
                .strip_suffix(hash)
                .and_then(|name| name.strip_suffix('-'));
            ("Deployment".to_owned(), deployment.unwrap_or(set))
        }
        Some(owner) => (text(owner, "kind").to_owned(), text(owner, "name")),
        None => (
            match text(pod, "kind") {
                "" => "pod".to_owned(),
                kind => kind.to_owned(),
            },
            name(pod),
        ),
    };
    format!("{kind} {}/{name}", namespace(pod))
}

/// Texts once each, in order.
pub(super) fn unique(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = texts.into_iter().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The port of a pod that a port of a Service leads to: by number, or by its name.
pub(super) fn target_port(pod: &Value, service: &Value, port: u64) -> Option<u64> {
    let ports = list(&service["spec"], "ports").iter();
    let found = ports
        .into_iter()
        .find(|one| one["port"].as_u64() == Some(port))?;
    match &found["targetPort"] {
        Value::String(name) => {
            let containers = list(&pod["spec"], "containers").iter();
            containers
                .flat_map(|container| list(container, "ports"))
                .find(|one| text(one, "name") == name)?["containerPort"]
                .as_u64()
        }
        Value::Null => Some(port),
        number => number.as_u64(),
    }
}
