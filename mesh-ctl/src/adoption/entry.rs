//! Ingress controllers and gateways outside the mesh, in front of Services inside it.

use serde_json::Value;

use super::Breakage;
use super::objects::{Objects, name, namespace, owner, unique};
use crate::source::json::{list, text};

/// What images and labels of ingress controllers contain.
const CONTROLLERS: [&str; 10] = [
    "ingress-nginx",
    "nginx-ingress",
    "traefik",
    "haproxy-ingress",
    "kubernetes-ingress",
    "contour",
    "kong",
    "ambassador",
    "skipper",
    "apisix",
];
/// The label of pods that serve a Gateway.
const GATEWAY: &str = "gateway.networking.k8s.io/gateway-name";

/// Everything that leads traffic into the cluster, is outside the mesh, and calls into it.
pub(crate) fn entries(objects: &Objects) -> Vec<Breakage> {
    let mut found = Vec::new();
    let by_ingress = unique(
        objects
            .ingresses
            .iter()
            .flat_map(|one| behind_ingress(objects, one)),
    );
    if !by_ingress.is_empty() {
        let is_outside = |pod: &&Value| is_controller(pod) && !objects.is_meshed(pod);
        let controllers = unique(objects.pods.iter().filter(is_outside).map(owner));
        let breakage = |controller: &String| breakage(controller, "an Ingress", &by_ingress);
        found.extend(controllers.iter().map(breakage));
    }
    for (gateway, services) in by_gateway(objects) {
        let (place, named) = gateway.split_once('/').unwrap_or_default();
        let is_outside = |pod: &&Value| {
            namespace(pod) == place
                && text(&pod["metadata"]["labels"], GATEWAY) == named
                && !objects.is_meshed(pod)
        };
        let servers = unique(objects.pods.iter().filter(is_outside).map(owner));
        let by = format!("the Gateway {gateway}");
        found.extend(
            servers
                .iter()
                .map(|server| breakage(server, &by, &services)),
        );
    }
    found
}

fn breakage(controller: &str, by: &str, services: &[String]) -> Breakage {
    let place = controller
        .split_once(' ')
        .and_then(|(_, name)| name.split_once('/'));
    let place = place.map_or("default", |(place, _)| place);
    Breakage {
        what: format!(
            "{controller} is outside the mesh and calls {} in it, by {by}",
            services.join(", ")
        ),
        cause: "it calls in plaintext, which a strict workload refuses".to_owned(),
        fix: format!(
            "take it in: on its pods the label mesh.dev/inject: enabled and the annotation \
             mesh.dev/exclude-inbound-ports with the ports that clients call (80,443), then restart \
             it; until then a MutualTLSPolicy of mode Permissive with `until` for what it calls \
             (namespace {place})"
        ),
    }
}

/// Services of an Ingress that lead into the mesh.
fn behind_ingress(objects: &Objects, ingress: &Value) -> Vec<String> {
    let spec = &ingress["spec"];
    let rules = list(spec, "rules").iter();
    let paths = rules.flat_map(|rule| list(&rule["http"], "paths"));
    let mut backends: Vec<&Value> = paths.map(|path| &path["backend"]).collect();
    backends.push(&spec["defaultBackend"]);
    let names = backends
        .iter()
        .map(|backend| text(&backend["service"], "name"));
    names
        .filter_map(|name| in_mesh(objects, namespace(ingress), name))
        .collect()
}

/// Services in the mesh by the Gateway that routes lead through.
fn by_gateway(objects: &Objects) -> Vec<(String, Vec<String>)> {
    let mut gateways: Vec<(String, Vec<String>)> = Vec::new();
    for route in &objects.routes {
        let place = namespace(route);
        let or_own = |value: &Value| match text(value, "namespace") {
            "" => place.to_owned(),
            other => other.to_owned(),
        };
        let backends = list(&route["spec"], "rules")
            .iter()
            .flat_map(|rule| list(rule, "backendRefs"));
        let services: Vec<String> = backends
            .filter_map(|backend| in_mesh(objects, &or_own(backend), text(backend, "name")))
            .collect();
        for parent in list(&route["spec"], "parentRefs") {
            // A parent without a kind is a Gateway.
            if !matches!(text(parent, "kind"), "" | "Gateway") || services.is_empty() {
                continue;
            }
            let gateway = format!("{}/{}", or_own(parent), text(parent, "name"));
            match gateways.iter_mut().find(|(known, _)| *known == gateway) {
                Some((_, known)) => known.extend(services.clone()),
                None => gateways.push((gateway, services.clone())),
            }
        }
    }
    for (_, services) in &mut gateways {
        *services = unique(std::mem::take(services));
    }
    gateways
}

fn in_mesh(objects: &Objects, place: &str, name: &str) -> Option<String> {
    let service = objects.service(place, name)?;
    (!objects.behind(service).is_empty()).then(|| format!("{place}/{name}"))
}

fn is_controller(pod: &Value) -> bool {
    let labels = &pod["metadata"]["labels"];
    let named = [
        text(labels, "app.kubernetes.io/name"),
        text(labels, "app"),
        name(pod),
    ];
    let containers = list(&pod["spec"], "containers").iter();
    let images = containers.map(|container| text(container, "image"));
    let is_known = |text: &str| CONTROLLERS.iter().any(|known| text.contains(known));
    named.into_iter().chain(images).any(is_known)
}
