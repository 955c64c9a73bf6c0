//! Services that clients outside the cluster call: nobody out there has an identity of the mesh.

use serde_json::Value;

use super::Breakage;
use super::objects::{Objects, name, namespace, owner, target_port, unique};
use crate::source::json::{list, text};

/// Every pod in the mesh that a Service of type `LoadBalancer` or `NodePort` leads outsiders to.
pub(crate) fn outsiders(objects: &Objects) -> Vec<Breakage> {
    let called = objects.services.iter().filter_map(by);
    called
        .flat_map(|(service, by)| breakages(objects, service, &by))
        .collect()
}

/// How outsiders reach a Service, if they do.
fn by(service: &Value) -> Option<(&Value, String)> {
    let spec = &service["spec"];
    let by = match text(spec, "type") {
        kind @ ("LoadBalancer" | "NodePort") => format!("type {kind}"),
        _ if !list(spec, "externalIPs").is_empty() => "externalIPs".to_owned(),
        _ => return None,
    };
    Some((service, by))
}

fn breakages(objects: &Objects, service: &Value, by: &str) -> Vec<Breakage> {
    let mut targets = Vec::new();
    for pod in objects.behind(service) {
        // UDP goes past the sidecar.
        let ports = list(&service["spec"], "ports").iter();
        let ports = ports.filter(|port| matches!(text(port, "protocol"), "" | "TCP"));
        for port in ports.filter_map(|port| port["port"].as_u64()) {
            let target = target_port(pod, service, port).unwrap_or(port);
            if !objects.is_excepted(pod, target) {
                targets.push(format!("{target} of {}", owner(pod)));
            }
        }
    }
    let breakage = |target: &String| {
        let port = target.split(' ').next().unwrap_or_default();
        Breakage {
            what: format!(
                "clients outside the cluster call Service {}/{} ({by}): port {target}",
                namespace(service),
                name(service)
            ),
            cause: "nobody outside has an identity of the mesh, so a strict workload refuses them"
                .to_owned(),
            fix: format!(
                "annotate the pods with mesh.dev/exclude-inbound-ports: \"{port}\", and restart them: \
                 that port stays as it is; or let them come through an ingress controller"
            ),
        }
    };
    unique(targets).iter().map(breakage).collect()
}
