//! The proxy's containers and volumes.

use mesh_api::pod::{
    INIT_CONTAINER, MEMORY_FOLDER, OBSERVE_PORT, PROXY_CONTAINER, PROXY_UID, Probes, STATE_FOLDER,
    TOKEN_AUDIENCE, TOKEN_FILE, TOKEN_FOLDER, TUNNEL_PORT, env,
};
use serde_json::{Map, Value, json};

use super::settings::Mode;
use super::{Asked, OURS, Settings, name_of};

/// Names of our volumes.
const MEMORY: &str = "mesh-memory";
const STATE: &str = "mesh-state";
const TOKEN: &str = "mesh-token";
/// How long the kubelet lets a token live.
const TOKEN_SECONDS: u64 = 3600;
/// How long a proxy may take to be ready before it is started anew.
const START_SECONDS: u64 = 120;

/// What the proxy's containers are made from.
pub(super) struct Built<'a> {
    pub(super) settings: &'a Settings,
    pub(super) asked: &'a Asked,
    pub(super) probes: &'a Probes,
    pub(super) root_hashes: &'a [String],
}

impl Built<'_> {
    /// Writes the rules of capture, and ends.
    pub(super) fn init(&self) -> Value {
        let mut arguments = vec!["init".to_owned()];
        arguments.extend(self.asked.exclusions.arguments());
        json!({
            "name": INIT_CONTAINER,
            "image": self.settings.image,
            "imagePullPolicy": self.settings.image_pull_policy,
            "args": arguments,
            "resources": self.resources(),
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "runAsUser": 0,
                "runAsGroup": 0,
                "runAsNonRoot": false,
                "privileged": false,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN"] },
                "seccompProfile": { "type": "RuntimeDefault" },
            },
        })
    }

    /// The proxy: a container that starts before the app, runs beside it, and ends after it.
    pub(super) fn proxy(&self) -> Value {
        let mut proxy = json!({
            "name": PROXY_CONTAINER,
            "image": self.settings.image,
            "imagePullPolicy": self.settings.image_pull_policy,
            "restartPolicy": "Always",
            "args": ["pod"],
            "env": self.environment(),
            "ports": [
                { "name": "mesh-hbone", "containerPort": TUNNEL_PORT, "protocol": "TCP" },
                { "name": "mesh-observe", "containerPort": OBSERVE_PORT, "protocol": "TCP" },
            ],
            "readinessProbe": {
                "httpGet": { "path": "/ready", "port": OBSERVE_PORT, "scheme": "HTTP" },
                "periodSeconds": 5,
                "timeoutSeconds": 3,
                "failureThreshold": 3,
            },
            "resources": self.resources(),
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {
                "runAsUser": PROXY_UID,
                "runAsGroup": PROXY_UID,
                "runAsNonRoot": true,
                "privileged": false,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "volumeMounts": [
                { "name": MEMORY, "mountPath": MEMORY_FOLDER },
                { "name": STATE, "mountPath": STATE_FOLDER },
                { "name": TOKEN, "mountPath": TOKEN_FOLDER, "readOnly": true },
            ],
        });
        let (field, waits) = self.app_waits();
        proxy[field] = waits;
        proxy
    }

    /// What keeps the app from starting before the proxy is ready.
    ///
    /// A hook is a second faster than a probe, whose result the kubelet acts on only after its next look
    /// at all containers. A kubelet that is started anew forgets a hook, though. That is harmless where
    /// an init container has written the rules: without the proxy nothing leaves the pod. Where
    /// the node writes them, and may have missed the pod, only the probe surely holds the app back.
    fn app_waits(&self) -> (&'static str, Value) {
        match self.settings.mode {
            Mode::Init => {
                let wait = json!(["mesh-proxy", "wait", START_SECONDS.to_string()]);
                let hook = json!({ "postStart": { "exec": { "command": wait } } });
                ("lifecycle", hook)
            }
            Mode::Cni => {
                // Answers once the proxy is ready, and not a period later.
                let started = json!({ "path": "/started", "port": OBSERVE_PORT, "scheme": "HTTP" });
                let probe = json!({
                    "httpGet": started,
                    "periodSeconds": 1,
                    "timeoutSeconds": 10,
                    "failureThreshold": START_SECONDS,
                });
                ("startupProbe", probe)
            }
        }
    }

    fn environment(&self) -> Value {
        let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
        let value = |name: &str, value: String| json!({ "name": name, "value": value });
        let mut all = vec![
            field(env::POD_NAME, "metadata.name"),
            field(env::POD_NAMESPACE, "metadata.namespace"),
            field(env::SERVICE_ACCOUNT, "spec.serviceAccountName"),
            field(env::POD_IPS, "status.podIPs"),
            value(env::CONTROL, self.settings.control.clone()),
            value(env::ROOT_HASHES, self.root_hashes.join(",")),
            value(env::DRAIN_SECONDS, self.asked.drain.to_string()),
            value(env::LOG, self.asked.log_level.clone()),
        ];
        if self.asked.access_log {
            all.push(value(env::ACCESS_LOG, true.to_string()));
        }
        if let Some(workers) = self.settings.workers {
            all.push(value(env::WORKERS, workers.to_string()));
        }
        if !self.probes.0.is_empty()
            && let Ok(text) = serde_json::to_string(self.probes)
        {
            // The kubelet would read $(NAME) as another variable.
            all.push(value(env::PROBES, text.replace("$(", "$$(")));
        }
        Value::Array(all)
    }

    fn resources(&self) -> Value {
        let mut resources = Map::new();
        let requests = json!({ "cpu": self.asked.cpu, "memory": self.asked.memory });
        resources.insert("requests".to_owned(), requests);
        if let Some(limit) = &self.settings.resources.memory_limit {
            resources.insert("limits".to_owned(), json!({ "memory": limit }));
        }
        Value::Object(resources)
    }
}

/// The proxy's volumes.
pub(super) fn volumes() -> Vec<Value> {
    vec![
        json!({ "name": MEMORY, "emptyDir": { "medium": "Memory", "sizeLimit": "4Mi" } }),
        json!({ "name": STATE, "emptyDir": { "sizeLimit": "64Mi" } }),
        json!({ "name": TOKEN, "projected": { "sources": [{ "serviceAccountToken": {
            "audience": TOKEN_AUDIENCE,
            "expirationSeconds": TOKEN_SECONDS,
            "path": TOKEN_FILE,
        } }] } }),
    ]
}

/// True for a container with one of our names.
pub(super) fn is_proxys(container: &Value) -> bool {
    OURS.contains(&name_of(container))
}

/// `held` if it says all that `wanted` does, else `wanted`. The API server adds defaults to what it
/// is given, and a cluster's own webhook may draw the image from elsewhere.
pub(super) fn keep(held: Option<&Value>, mut wanted: Value) -> Value {
    let Some(held) = held else { return wanted };
    wanted["image"] = held["image"].clone();
    if covers(held, &wanted) {
        held.clone()
    } else {
        wanted
    }
}

/// True if `held` has every field of `wanted`, with its value.
fn covers(held: &Value, wanted: &Value) -> bool {
    match (held, wanted) {
        (Value::Object(held), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| held.get(name).is_some_and(|held| covers(held, value))),
        (Value::Array(held), Value::Array(wanted)) => {
            held.len() == wanted.len()
                && held
                    .iter()
                    .zip(wanted)
                    .all(|(held, value)| covers(held, value))
        }
        _ => held == wanted,
    }
}
