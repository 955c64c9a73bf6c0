//! The API server calling pods of the mesh: webhooks, conversions, extension APIs.

use serde_json::Value;

use super::Breakage;
use super::objects::{Objects, name, owner, target_port, unique};
use crate::source::json::{list, text};

/// Every call of the API server that leads into the mesh: it has no identity there.
pub(crate) fn webhooks(objects: &Objects) -> Vec<Breakage> {
    let mut found = Vec::new();
    for caller in &objects.callers {
        for called in called(caller) {
            found.extend(breakages(objects, caller, called));
        }
    }
    found
}

/// References to Services that the API server calls for an object.
fn called(caller: &Value) -> Vec<&Value> {
    let spec = &caller["spec"];
    let mut called: Vec<&Value> = list(caller, "webhooks")
        .iter()
        .map(|entry| &entry["clientConfig"]["service"])
        .collect();
    called.push(&spec["conversion"]["webhook"]["clientConfig"]["service"]);
    // An APIService names its Service directly.
    called.push(&spec["service"]);
    called.retain(|service| service.is_object());
    called.dedup();
    called
}

fn breakages(objects: &Objects, caller: &Value, called: &Value) -> Vec<Breakage> {
    let (place, named) = (text(called, "namespace"), text(called, "name"));
    let port = called["port"].as_u64().unwrap_or(443);
    let Some(service) = objects.service(place, named) else {
        return Vec::new();
    };
    let mut targets = Vec::new();
    for pod in objects.behind(service) {
        let target = target_port(pod, service, port).unwrap_or(port);
        if !objects.is_excepted(pod, target) {
            targets.push(format!("{target} of {}", owner(pod)));
        }
    }
    let breakage = |target: &String| {
        let port = target.split(' ').next().unwrap_or_default();
        Breakage {
            what: format!(
                "the API server calls {place}/{named} in the mesh ({} {}): port {target}",
                kind(caller),
                name(caller)
            ),
            cause: "the API server has no identity of the mesh, so a strict workload refuses it; \
                    what it guards can then not be changed"
                .to_owned(),
            fix: format!(
                "annotate the pods with mesh.dev/exclude-inbound-ports: \"{port}\", and restart them: \
                 the webhook has its own TLS"
            ),
        }
    };
    unique(targets).iter().map(breakage).collect()
}

fn kind(caller: &Value) -> &str {
    match text(caller, "kind") {
        "" => "webhook configuration",
        kind => kind,
    }
}
