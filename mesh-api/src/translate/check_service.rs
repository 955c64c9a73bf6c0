//! Checks of Services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::error::Faults;
use crate::model::destination::Protocol;
use crate::name::Port;
use crate::translate::checked::{CheckedService, ServicePort, TargetPort};

/// Most addresses of a load balancer that are taken in.
const MAX_BALANCER_ADDRESSES: usize = 16;

/// Checks a Service.
pub(super) fn service(service: &core::Service, faults: &mut Faults) -> Option<CheckedService> {
    faults.field("spec", |faults| {
        let Some(spec) = &service.spec else {
            faults.refuse("is missing");
            return None;
        };
        if spec.type_.as_deref() == Some("ExternalName") {
            faults.field("type", |faults| {
                faults.refuse("ExternalName is not supported yet");
            });
        }
        let mut addresses = cluster_ips(spec, faults);
        for address in balancer_addresses(service) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let ports = faults.field("ports", |faults| {
            ports(spec.ports.as_deref().unwrap_or_default(), faults)
        });
        Some(CheckedService {
            selector: spec
                .selector
                .clone()
                .unwrap_or_default()
                .into_iter()
                .collect(),
            addresses,
            ports,
        })
    })
}

fn cluster_ips(spec: &core::ServiceSpec, faults: &mut Faults) -> Vec<IpAddr> {
    let (field, texts) = match (&spec.cluster_ips, &spec.cluster_ip) {
        (Some(list), _) if !list.is_empty() => ("clusterIPs", list.clone()),
        (_, Some(one)) => ("clusterIP", vec![one.clone()]),
        _ => return Vec::new(),
    };
    faults.field(field, |faults| {
        texts
            .iter()
            .filter(|text| !text.is_empty() && *text != "None")
            .filter_map(|text| address(text, faults))
            .collect()
    })
}

/// Where a load balancer of the cluster answers for the Service, as its controller says: calls from
/// within go straight to the endpoints. One that must be passed through (`ipMode: Proxy`), and what is
/// no address, are left to the network.
fn balancer_addresses(service: &core::Service) -> Vec<IpAddr> {
    let spec = service.spec.as_ref();
    let is_balanced = spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
    let status = service.status.as_ref().filter(|_| is_balanced);
    let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let direct = |held: &&core::LoadBalancerIngress| held.ip_mode.as_deref() != Some("Proxy");
    let ingress = ingress.into_iter().flatten().filter(direct);
    let addresses = ingress.filter_map(|held| held.ip.as_ref()?.parse().ok());
    addresses.take(MAX_BALANCER_ADDRESSES).collect()
}

/// Reads an IP address.
pub(super) fn address(text: &str, faults: &mut Faults) -> Option<IpAddr> {
    let shown: String = text.chars().take(80).collect();
    faults.take(
        text.parse()
            .map_err(|_| format!("{shown:?} is not an IP address")),
    )
}

fn ports(ports: &[core::ServicePort], faults: &mut Faults) -> Vec<ServicePort> {
    let mut checked = Vec::new();
    let (mut names, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        if !matches!(port.protocol.as_deref(), None | Some("TCP")) {
            continue;
        }
        faults.index(index, |faults| {
            let number = faults.field("port", |faults| {
                let number = faults.take(Port::try_from(port.port))?;
                if !numbers.insert(number) {
                    faults.refuse(format!("{number} is there twice"));
                }
                Some(number)
            });
            let name = port.name.clone().unwrap_or_default();
            if !names.insert(name.clone()) {
                let said = if name.is_empty() {
                    "is missing: a Service of several ports names each".to_owned()
                } else {
                    format!("{name:?} is there twice")
                };
                faults.field("name", |faults| faults.refuse(said));
            }
            let target = faults.field("targetPort", |faults| {
                target(port.target_port.as_ref(), number, faults)
            });
            let protocol = protocol(port.app_protocol.as_deref(), &name);
            if protocol == Protocol::Detect && word(&name) == "udp" {
                faults.field("name", |faults| {
                    faults.refuse(format!("{name:?} says udp, but the port's protocol is TCP"));
                });
            }
            if let (Some(port), Some(target)) = (number, target) {
                checked.push(ServicePort {
                    name,
                    port,
                    target,
                    protocol,
                });
            }
        });
    }
    checked
}

fn target(
    target: Option<&IntOrString>,
    port: Option<Port>,
    faults: &mut Faults,
) -> Option<TargetPort> {
    match target {
        None => port.map(TargetPort::Number),
        Some(IntOrString::Int(number)) => {
            faults.take(Port::try_from(*number)).map(TargetPort::Number)
        }
        Some(IntOrString::String(name)) if name.is_empty() => {
            faults.refuse("is empty");
            None
        }
        Some(IntOrString::String(name)) => Some(TargetPort::Named(name.clone())),
    }
}

/// What a port speaks: `appProtocol` (KEP-3726's names and plain ones), then the part of its name
/// before the first `-` (Istio's prefixes), else [`Protocol::Detect`]. A protocol whose server speaks
/// first is bytes like any other that is not HTTP or TLS.
pub(super) fn protocol(app_protocol: Option<&str>, name: &str) -> Protocol {
    app_protocol
        .and_then(spoken)
        .or_else(|| spoken(word(name)))
        .unwrap_or(Protocol::Detect)
}

/// The part of a port's name before the first `-`.
fn word(name: &str) -> &str {
    name.split('-').next().unwrap_or_default()
}

fn spoken(text: &str) -> Option<Protocol> {
    Some(match text.to_ascii_lowercase().as_str() {
        "http" | "http1" | "ws" | "kubernetes.io/ws" => Protocol::Http,
        "http2" | "h2c" | "kubernetes.io/h2c" => Protocol::Http2,
        "grpc" | "grpc-web" => Protocol::Grpc,
        "https" | "tls" | "wss" | "kubernetes.io/wss" => Protocol::Tls,
        "tcp" | "amqp" | "cassandra" | "kafka" | "ldap" | "mariadb" | "memcached" | "mongo"
        | "mongodb" | "mqtt" | "mssql" | "mysql" | "nats" | "postgres" | "postgresql" | "redis"
        | "smtp" | "ssh" => Protocol::Tcp,
        _ => return None,
    })
}
