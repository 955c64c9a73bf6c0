//! Checks of pods. They come from the kubelet: what is read of them is well formed, or is no one's to mend.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::error::Faults;
use crate::model::workload::{ContainerPort, Workload};
use crate::name::{Name, ObjectName, Port};
use crate::resource::Pod;
use crate::resource::pod::{PROXY_CONTAINER, PROXY_LABEL, SIDECAR};
use crate::translate::check_service::address;
use crate::translate::checked::CheckedPod;

/// Where the tunnel of an injected sidecar listens.
const TUNNEL_PORT: u16 = 15008;

/// Checks a pod.
pub(super) fn pod(pod: &Pod, name: ObjectName, faults: &mut Faults) -> Option<CheckedPod> {
    let labels: BTreeMap<String, String> = pod
        .metadata
        .labels
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    let account = pod.spec.service_account_name.as_deref();
    let service_account = faults.field("spec.serviceAccountName", |faults| {
        faults.take(account.unwrap_or("default").parse::<Name>())
    });
    let has_sidecar = labels
        .get(PROXY_LABEL)
        .is_some_and(|value| value == SIDECAR);
    let workload = Workload {
        name,
        addresses: faults.field("status", |faults| addresses(pod, faults)),
        ports: BTreeMap::new(),
        container_ports: ports(pod),
        service_account: service_account?,
        // The node's addresses are not the pod's alone: no tunnel ends there.
        tunnel_port: Port::new(TUNNEL_PORT).filter(|_| has_sidecar && !pod.spec.host_network),
        weight: 100,
        labels,
    };
    Some(CheckedPod {
        workload,
        leaving: pod.metadata.deletion_timestamp.is_some(),
        is_on_host: pod.spec.host_network,
    })
}

/// The pod's own addresses. Those of one that ended may be another's by now.
fn addresses(pod: &Pod, faults: &mut Faults) -> Vec<IpAddr> {
    let ended = matches!(pod.status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if ended || pod.spec.host_network {
        return Vec::new();
    }
    let all = pod.status.pod_ips.iter().map(|address| &address.ip);
    let texts: Vec<&String> = if pod.status.pod_ips.is_empty() {
        pod.status.pod_ip.iter().collect()
    } else {
        all.collect()
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in texts {
        let address = faults.field("podIPs", |faults| address(text, faults));
        addresses.extend(address.filter(|address| !addresses.contains(address)));
    }
    addresses
}

/// The ports of containers that run beside each other, but the proxy's.
fn ports(pod: &Pod) -> Vec<ContainerPort> {
    let beside = pod.spec.init_containers.iter();
    let beside = beside.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let containers = pod.spec.containers.iter().chain(beside);
    containers
        .filter(|container| container.name != PROXY_CONTAINER)
        .flat_map(|container| &container.ports)
        .filter(|port| matches!(port.protocol.as_deref(), None | Some("TCP")))
        .filter_map(|port| {
            Some(ContainerPort {
                name: port.name.clone().unwrap_or_default(),
                port: Port::try_from(port.container_port).ok()?,
            })
        })
        .collect()
}
