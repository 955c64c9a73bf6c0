//! Prometheus outside the mesh, scraping pods inside it.

use serde_json::Value;

use super::Breakage;
use super::objects::{Objects, name, namespace, owner, selects, target_port};
use crate::source::json::{list, text};

/// What the sidecar serves in the clear by itself.
const OPEN: u64 = 15020;

/// One port of pods that is scraped.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scrape {
    owner: String,
    port: u64,
    by: String,
}

/// Every scrape of a pod in the mesh that comes from outside of it.
pub(crate) fn scrapes(objects: &Objects) -> Vec<Breakage> {
    // A Prometheus in the mesh calls through its own sidecar.
    let mut servers = objects
        .pods
        .iter()
        .filter(|pod| is_prometheus(pod))
        .peekable();
    if servers.peek().is_some() && servers.all(|pod| objects.is_meshed(pod)) {
        return Vec::new();
    }
    let mut found: Vec<Scrape> = Vec::new();
    for pod in objects.meshed() {
        let ports = by_annotation(pod)
            .into_iter()
            .chain(by_monitor(objects, pod));
        for (port, by) in ports {
            if port == OPEN || objects.is_excepted(pod, port) {
                continue;
            }
            found.push(Scrape {
                owner: owner(pod),
                port,
                by,
            });
        }
    }
    found.sort_unstable();
    found.dedup();
    found.iter().map(breakage).collect()
}

fn breakage(scrape: &Scrape) -> Breakage {
    let Scrape { owner, port, by } = scrape;
    Breakage {
        what: format!("Prometheus scrapes port {port} of {owner} from outside the mesh ({by})"),
        cause: "it scrapes in plaintext, which a strict workload refuses".to_owned(),
        fix: format!(
            "a MutualTLSPolicy that selects its pods with `ports: {{\"{port}\": {{mode: Disabled}}}}`, \
             if the port serves metrics alone; or take Prometheus into the mesh"
        ),
    }
}

fn by_annotation(pod: &Value) -> Vec<(u64, String)> {
    let annotations = &pod["metadata"]["annotations"];
    if text(annotations, "prometheus.io/scrape") != "true" {
        return Vec::new();
    }
    let by = "annotation prometheus.io/scrape".to_owned();
    if let Ok(port) = text(annotations, "prometheus.io/port").parse() {
        return vec![(port, by)];
    }
    // Without a port every declared one is scraped.
    let containers = list(&pod["spec"], "containers").iter();
    let ports = containers.flat_map(|container| list(container, "ports"));
    let numbers = ports.filter_map(|port| port["containerPort"].as_u64());
    numbers.map(|port| (port, by.clone())).collect()
}

fn by_monitor(objects: &Objects, pod: &Value) -> Vec<(u64, String)> {
    let mut ports = Vec::new();
    for monitor in &objects.monitors {
        if !is_in_reach(monitor, pod) {
            continue;
        }
        let by = format!(
            "{} {}/{}",
            text(monitor, "kind"),
            namespace(monitor),
            name(monitor)
        );
        let selector = &monitor["spec"]["selector"];
        if text(monitor, "kind") == "PodMonitor" {
            if selects(pod, selector) {
                let named = list(&monitor["spec"], "podMetricsEndpoints").iter();
                let found = named.filter_map(|one| container_port(pod, text(one, "port")));
                ports.extend(found.map(|port| (port, by.clone())));
            }
            continue;
        }
        let is_meant = |service: &&Value| {
            namespace(service) == namespace(pod)
                && selects(service, selector)
                && objects
                    .behind(service)
                    .iter()
                    .any(|one| name(one) == name(pod))
        };
        for service in objects.services.iter().filter(is_meant) {
            for endpoint in list(&monitor["spec"], "endpoints") {
                let number = service_port(service, text(endpoint, "port"));
                let found = number.and_then(|number| target_port(pod, service, number));
                ports.extend(found.map(|port| (port, by.clone())));
            }
        }
    }
    ports
}

/// A monitor looks into its own namespace, unless it names others or all.
fn is_in_reach(monitor: &Value, pod: &Value) -> bool {
    let selector = &monitor["spec"]["namespaceSelector"];
    let names = list(selector, "matchNames");
    selector["any"] == true
        || names.iter().any(|one| one == namespace(pod))
        || (names.is_empty() && namespace(monitor) == namespace(pod))
}

fn container_port(pod: &Value, named: &str) -> Option<u64> {
    let containers = list(&pod["spec"], "containers").iter();
    let mut ports = containers.flat_map(|container| list(container, "ports"));
    ports.find(|port| text(port, "name") == named)?["containerPort"].as_u64()
}

fn service_port(service: &Value, named: &str) -> Option<u64> {
    let mut ports = list(&service["spec"], "ports").iter();
    ports.find(|port| text(port, "name") == named)?["port"].as_u64()
}

fn is_prometheus(pod: &Value) -> bool {
    let containers = list(&pod["spec"], "containers").iter();
    let mut images = containers.map(|container| text(container, "image"));
    let is_image =
        images.any(|image| image.contains("/prometheus:") || image.contains("/prometheus@"));
    is_image || text(&pod["metadata"]["labels"], "app.kubernetes.io/name") == "prometheus"
}
