//! A Service's port as a backend: settings and endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::model::backend::{Backend, Endpoint, Transport};
use crate::model::locality::Locality;
use crate::model::workload::Workload;
use crate::name::{DestinationName, Namespace, ObjectName, Port, TrustDomain};
use crate::resource::{Kind, Labels};
use crate::translate::checked::{
    CheckedPod, CheckedService, ServicePort, Serving, SliceEndpoint, TargetPort,
};
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
/// What ends soon counts only where nothing else is ready.
fn endpoints(
    view: &View<'_>,
    name: &DestinationName,
    service: &CheckedService,
    port: &ServicePort,
) -> Vec<Endpoint> {
    let mut ready: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    let mut leaving: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for slice in view.index.slices_of(&name.service) {
        let Some(number) = slice.ports.get(&port.name) else {
            continue;
        };
        for at in &slice.endpoints {
            let found = match at_slice(view, &name.service.namespace, at, *number) {
                Some((endpoint, Serving::Ready)) => (&mut ready, endpoint),
                Some((endpoint, Serving::Leaving)) => (&mut leaving, endpoint),
                None => continue,
            };
            let (into, mut endpoint) = found;
            // What its labels say has the region too.
            let of_slice = (!at.zone.is_empty()).then(|| Locality {
                region: String::new(),
                zone: at.zone.clone(),
            });
            endpoint.locality = endpoint.locality.or(of_slice);
            into.insert(endpoint.address, endpoint);
        }
    }
    for (_, dated) in view.index.workloads.within(&name.service.namespace) {
        let workload = &dated.value;
        if selects(&service.selector, &workload.labels)
            && let Some(number) = app_port(workload, port)
        {
            for address in &workload.addresses {
                let address = SocketAddr::new(*address, number.number());
                ready.insert(address, endpoint(view, workload, address));
            }
        }
    }
    let found = if ready.is_empty() { leaving } else { ready };
    found.into_values().collect()
}

/// An endpoint of a slice. One of a pod that is not known, or has another address, is nobody's: it came
/// too early or stays too late, and what it is tells whether a tunnel is due.
fn at_slice(
    view: &View<'_>,
    namespace: &Namespace,
    at: &SliceEndpoint,
    port: Port,
) -> Option<(Endpoint, Serving)> {
    let address = SocketAddr::new(at.address, port.number());
    let Some(name) = &at.pod else {
        let found = match resident(view.index, namespace, at.address) {
            Some(workload) => endpoint(view, workload, address),
            None => outside(address),
        };
        return Some((found, at.serving));
    };
    let pod = view
        .index
        .pods
        .find(&ObjectName::new(namespace.clone(), name.clone()))?;
    let CheckedPod {
        workload,
        leaving,
        is_on_host,
    } = &pod.value;
    if !is_on_host && !workload.addresses.contains(&at.address) {
        return None;
    }
    let serving = if *leaving {
        Serving::Leaving
    } else {
        at.serving
    };
    Some((endpoint(view, workload, address), serving))
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
            TargetPort::Named(name) => {
                let mut declared = workload.container_ports.iter();
                let declared = declared.find(|declared| declared.name == *name);
                let declared = declared.map(|declared| declared.port);
                workload.ports.get(name).copied().or(declared)
            }
        })
}

/// Who has an address, as a slice of `namespace` means it: a pod of any namespace, or a workload of
/// this one.
fn resident<'a>(index: &'a Index, namespace: &Namespace, address: IpAddr) -> Option<&'a Workload> {
    let mut residents = index.residents(address);
    residents
        .find(|(kind, workload)| *kind == Kind::Pod || workload.name.namespace == *namespace)
        .map(|(_, workload)| workload)
}

/// `workload`, reached at `address`.
pub(super) fn endpoint(view: &View<'_>, workload: &Workload, address: SocketAddr) -> Endpoint {
    let transport = workload
        .tunnel_port
        .map_or(Transport::Plain, |tunnel| Transport::Hbone {
            identity: workload.identity(&view.trust_domain),
            port: tunnel,
        });
    Endpoint {
        address,
        workload: Some(workload.name.clone()),
        transport,
        weight: workload.weight,
        stale: view.stale.contains(&workload.name),
        locality: Locality::of_labels(&workload.labels),
    }
}

fn outside(address: SocketAddr) -> Endpoint {
    Endpoint {
        address,
        workload: None,
        transport: Transport::Plain,
        weight: 100,
        stale: false,
        locality: None,
    }
}
