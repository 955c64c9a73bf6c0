//! What the control plane starts with, and the settings of injection. May use nothing of this
//! crate.

use serde_json::{Value, json};

use super::template::Template;
use super::{CONTROL, NAMESPACE, metadata};

/// How the name of the ConfigMap begins.
const CONFIG: &str = "mesh-config";

/// The name of the ConfigMap. Each version and each set of values has its own: a kubelet that knew it
/// under the same name may give a new replica what it had before, for a minute or two.
pub(crate) fn name() -> String {
    format!("{CONFIG}-{}-${{hash:.}}", mesh_api::version())
}

/// That ConfigMap.
pub(crate) fn all() -> Vec<Template> {
    vec![Template::always(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(&name(), CONTROL),
        "data": { "bootstrap.json": text(&bootstrap()), "injection.json": text(&injection()) },
    }))]
}

/// `mesh_control::bootstrap::Bootstrap` as JSON.
fn bootstrap() -> Value {
    json!({
        "listen": "[::]:15012",
        "state": "/var/lib/mesh",
        "adminSocket": "/run/mesh/admin.sock",
        "trustDomain": "${trustDomain}",
        "leafLifetimeSeconds": "${control.leafLifetimeSeconds}",
        "kubernetes": { "clusterDomain": "${clusterDomain}" },
    })
}

/// `mesh_control::inject::Settings` as JSON.
fn injection() -> Value {
    json!({
        "image": "${image.registry}/mesh-proxy:${image.tag}",
        "imagePullPolicy": "${image.pullPolicy}",
        "mode": "${cni.enabled?cni:init}",
        "control": format!("{CONTROL}.{NAMESPACE}.svc:15012"),
        "resources": {
            "cpu": "${proxy.cpu}",
            "memory": "${proxy.memory}",
            "memoryLimit": "${proxy.memoryLimit}",
        },
        "logLevel": "${proxy.logLevel}",
        "accessLog": "${proxy.accessLog}",
        "drainSeconds": "${proxy.drainSeconds}",
        "appStopDelaySeconds": "${proxy.appStopDelaySeconds}",
    })
}

/// JSON as a text with holes: a hole that is a whole text stands for any value, so it becomes the
/// value's JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => match text
            .strip_prefix("${")
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some(path) if !path.contains(['?', '{', '$', ':']) => format!("${{json:{path}}}"),
            _ => format!("\"{text}\""),
        },
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, field)| format!("\"{name}\":{}", text(field)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}
