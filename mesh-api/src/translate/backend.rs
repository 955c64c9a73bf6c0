//! A Service's port as a backend: settings and endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::model::backend::{Backend, Endpoint, Transport};
use crate::model::workload::Workload;
use crate::name::{DestinationName, ObjectName, Port, TrustDomain};
use crate::resource::Labels;
use crate::translate::checked::{CheckedService, ServicePort, TargetPort};
use crate::translate::index::Index;
use crate::translate::settings;

/// What translation reads.
pub(super) struct View<'a> {
    pub(super) index: &'a Index,
    pub(super) stale: &'a BTreeSet<ObjectName>,
    pub(super) trust_domain: TrustDomain,
}

/// The backend behind a destination's name; `None` if the Service or port is missing.
pub(super) fn backend(view: &View<'_>, name: &DestinationName) -> Option<Backend> {
    let (service, port) = view.index.service_port(name)?;
    Some(Backend {
        name: name.clone(),
        protocol: port.protocol,
        settings: settings::backend(view.index, name, port),
        endpoints: endpoints(view, name, service, port),
    })
}

/// Workloads that the Service selects, and addresses of its slices; a workload beats an address.
fn endpoints(
    view: &View<'_>,
    name: &DestinationName,
    service: &CheckedService,
    port: &ServicePort,
) -> Vec<Endpoint> {
    let mut found: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for (_, dated) in view.index.slices.within(&name.service.namespace) {
        let slice = &dated.value;
        if slice.service.as_ref() != Some(&name.service) {
            continue;
        }
        let Some(number) = slice.ports.get(&port.name) else {
            continue;
        };
        for address in &slice.addresses {
            let endpoint = match workload_at(view, name, *address) {
                Some(workload) => endpoint(view, workload, *number),
                None => outside(SocketAddr::new(*address, number.number())),
            };
            found.insert(endpoint.address, endpoint);
        }
    }
    for (_, dated) in view.index.workloads.within(&name.service.namespace) {
        let workload = &dated.value;
        if selects(&service.selector, &workload.labels)
            && let Some(number) = app_port(workload, port)
        {
            let endpoint = endpoint(view, workload, number);
            found.insert(endpoint.address, endpoint);
        }
    }
    found.into_values().collect()
}

/// True if every label is carried; an empty selector selects nothing (core `ServiceSpec.selector`).
pub(super) fn selects(selector: &Labels, labels: &Labels) -> bool {
    !selector.is_empty() && carries(labels, selector)
}

/// True if `labels` has all of `wanted`.
pub(super) fn carries(labels: &Labels, wanted: &Labels) -> bool {
    wanted
        .iter()
        .all(|(name, value)| labels.get(name) == Some(value))
}

/// Where a workload's app listens for a Service's port: by the port's name, else by `targetPort`.
pub(super) fn app_port(workload: &Workload, port: &ServicePort) -> Option<Port> {
    workload
        .ports
        .get(&port.name)
        .copied()
        .or_else(|| match &port.target {
            TargetPort::Number(number) => Some(*number),
            TargetPort::Named(name) => workload.ports.get(name).copied(),
        })
}

fn workload_at<'a>(
    view: &View<'a>,
    name: &DestinationName,
    address: IpAddr,
) -> Option<&'a Workload> {
    let mut workloads = view.index.workloads.within(&name.service.namespace);
    workloads
        .find(|(_, dated)| dated.value.address == address)
        .map(|(_, dated)| &dated.value)
}

fn endpoint(view: &View<'_>, workload: &Workload, port: Port) -> Endpoint {
    let transport = workload
        .tunnel_port
        .map_or(Transport::Plain, |tunnel| Transport::Hbone {
            identity: workload.identity(&view.trust_domain),
            port: tunnel,
        });
    Endpoint {
        address: SocketAddr::new(workload.address, port.number()),
        workload: Some(workload.name.clone()),
        transport,
        weight: workload.weight,
        stale: view.stale.contains(&workload.name),
    }
}

fn outside(address: SocketAddr) -> Endpoint {
    Endpoint {
        address,
        workload: None,
        transport: Transport::Plain,
        weight: 100,
        stale: false,
    }
}
