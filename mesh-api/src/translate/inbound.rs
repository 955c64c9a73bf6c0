//! The receiving side of a workload.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::destination::Protocol;
use crate::model::inbound::{Inbound, InboundPort};
use crate::model::origin::{Origin, Sourced};
use crate::model::policy::MutualTls;
use crate::model::workload::Workload;
use crate::name::{ObjectName, Port};
use crate::translate::backend::{View, app_port, carries, selects};
use crate::translate::check_service::protocol;
use crate::translate::index::Index;

/// What is known of one port.
struct Known {
    protocol: Protocol,
    services: BTreeSet<ObjectName>,
}

/// The receiving side of `workload`, if it is in the mesh.
pub(super) fn inbound(view: &View<'_>, workload: &ObjectName) -> Option<Inbound> {
    let workload = view.index.workload(workload)?;
    let tunnel_port = workload.tunnel_port?;
    let ports = ports(view.index, workload);
    Some(Inbound {
        workload: workload.name.clone(),
        identity: workload.identity(&view.trust_domain),
        addresses: workload.addresses.clone(),
        tunnel_port,
        ports: ports
            .into_iter()
            .map(|(port, known)| InboundPort {
                port,
                protocol: known.protocol,
                mutual_tls: mutual_tls(view.index, workload, port),
                // No kind of policy that is read is about the requests to a workload.
                has_http_policy: false,
                services: known.services.into_iter().collect(),
            })
            .collect(),
    })
}

/// What a workload speaks on a port.
pub(super) fn protocol_at(index: &Index, workload: &Workload, port: Port) -> Protocol {
    let known = ports(index, workload).remove(&port);
    known.map_or(Protocol::Detect, |known| known.protocol)
}

/// The workload's own ports and the target ports of Services that select it. Where several Services
/// declare a protocol for one port, the first by name counts.
fn ports(index: &Index, workload: &Workload) -> BTreeMap<Port, Known> {
    let mut ports: BTreeMap<Port, Known> = BTreeMap::new();
    let unknown = || Known {
        protocol: Protocol::Detect,
        services: BTreeSet::new(),
    };
    for (name, dated) in index.services.within(&workload.name.namespace) {
        if !selects(&dated.value.selector, &workload.labels) {
            continue;
        }
        let service = ObjectName::new(workload.name.namespace.clone(), name.clone());
        for port in &dated.value.ports {
            if let Some(number) = app_port(workload, port) {
                let known = ports.entry(number).or_insert_with(unknown);
                known.services.insert(service.clone());
                if known.protocol == Protocol::Detect {
                    known.protocol = port.protocol;
                }
            }
        }
    }
    let named = workload.ports.iter().map(|(name, port)| (name, *port));
    let declared = workload.container_ports.iter();
    for (name, number) in named.chain(declared.map(|port| (&port.name, port.port))) {
        let known = ports.entry(number).or_insert_with(unknown);
        if known.protocol == Protocol::Detect {
            known.protocol = protocol(None, name);
        }
    }
    ports
}

/// The mode of a port: of policies that select the workload, else of its namespace, else of the
/// Mesh. Of several at one level the strictest.
fn mutual_tls(index: &Index, workload: &Workload, port: Port) -> Sourced<MutualTls> {
    let level = |selecting: bool| {
        index
            .mutual_tls
            .within(&workload.name.namespace)
            .filter(|(_, dated)| match &dated.value.selector {
                Some(labels) => selecting && carries(&workload.labels, labels),
                None => !selecting,
            })
            .map(|(name, dated)| {
                let (mode, path) = match dated.value.ports.get(&port) {
                    Some(mode) => (*mode, format!("spec.ports.{port}.mode")),
                    None => (dated.value.mode, "spec.mode".to_owned()),
                };
                let object = ObjectName::new(workload.name.namespace.clone(), name.clone());
                Sourced::new(
                    mode,
                    Origin::Field {
                        kind: "MutualTLSPolicy".to_owned(),
                        object,
                        path,
                    },
                )
            })
            .reduce(|held, other| {
                if other.value > held.value {
                    other
                } else {
                    held
                }
            })
    };
    level(true)
        .or_else(|| level(false))
        .or_else(|| of_mesh(index))
        .unwrap_or_default()
}

fn of_mesh(index: &Index) -> Option<Sourced<MutualTls>> {
    let mode = index.mesh.mutual_tls?;
    let object = "mesh/default".parse().ok()?;
    let path = "spec.mutualTLS.mode".to_owned();
    Some(Sourced::new(
        mode,
        Origin::Field {
            kind: "Mesh".to_owned(),
            object,
            path,
        },
    ))
}
