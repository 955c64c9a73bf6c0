//! The receiving side of a workload.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::authorization::Authorization;
use crate::model::destination::Protocol;
use crate::model::inbound::{Inbound, InboundPort};
use crate::model::origin::{Origin, Sourced};
use crate::model::policy::MutualTls;
use crate::model::workload::Workload;
use crate::name::{ObjectName, Port};
use crate::translate::backend::{View, app_port, carries, selects};
use crate::translate::check_service::protocol;
use crate::translate::index::Index;
use crate::translate::ratelimit;

/// What is known of one port.
struct Known {
    protocol: Protocol,
    services: BTreeSet<ObjectName>,
}

impl Known {
    fn nothing() -> Self {
        Self {
            protocol: Protocol::Detect,
            services: BTreeSet::new(),
        }
    }
}

/// The receiving side of `workload`, if it is in the mesh.
pub(super) fn inbound(view: &View<'_>, workload: &ObjectName) -> Option<Inbound> {
    let workload = view.index.workload(workload)?;
    let tunnel_port = workload.tunnel_port?;
    // A pod's containers need not declare where they listen, and everything is captured there.
    let is_pod = view.index.pods.find(&workload.name).is_some();
    let mut ports = ports(view.index, workload);
    if is_pod {
        for port in mutual_tls_ports(view.index, workload) {
            ports.entry(port).or_insert_with(Known::nothing);
        }
    }
    let (rate_limits, received_routes) = ratelimit::of_workload(view.index, workload);
    let reads_requests = |port: Port, protocol: Protocol| {
        // What a port's Service declares to be no HTTP has no requests to count.
        protocol.may_be_http() && rate_limits.iter().any(|one| one.reads_requests(port))
    };
    Some(Inbound {
        workload: workload.name.clone(),
        identity: workload.identity(&view.trust_domain),
        labels: workload.labels.clone(),
        addresses: workload.addresses.clone(),
        tunnel_port,
        ports: ports
            .into_iter()
            .map(|(port, known)| InboundPort {
                port,
                protocol: known.protocol,
                mutual_tls: mutual_tls(view.index, workload, Some(port)),
                has_http_policy: reads_requests(port, known.protocol),
                services: known.services.into_iter().collect(),
            })
            .collect(),
        unlisted: is_pod.then(|| mutual_tls(view.index, workload, None)),
        authorizations: authorizations(view.index, workload),
        rate_limits,
        received_routes,
    })
}

/// The policies that say who may call a workload, by name.
fn authorizations(index: &Index, workload: &Workload) -> Vec<Authorization> {
    let namespace = &workload.name.namespace;
    let policies = index.authorizations.within(namespace);
    let applying = policies.filter(|(_, dated)| {
        let selector = dated.value.selector.as_ref();
        selector.is_none_or(|labels| carries(&workload.labels, labels))
    });
    applying
        .map(|(name, dated)| Authorization {
            policy: ObjectName::new(namespace.clone(), name.clone()),
            action: dated.value.action,
            audit: dated.value.audit,
            rules: dated.value.rules.clone(),
        })
        .collect()
}

/// The ports that policies in force for a workload name.
fn mutual_tls_ports(index: &Index, workload: &Workload) -> BTreeSet<Port> {
    let policies = index.mutual_tls.within(&workload.name.namespace);
    let applying = policies.filter(|(_, dated)| {
        let selector = dated.value.selector.as_ref();
        selector.is_none_or(|labels| carries(&workload.labels, labels))
    });
    applying
        .flat_map(|(_, dated)| dated.value.ports.keys().copied())
        .collect()
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
    for (name, dated) in index.services.within(&workload.name.namespace) {
        if !selects(&dated.value.selector, &workload.labels) {
            continue;
        }
        let service = ObjectName::new(workload.name.namespace.clone(), name.clone());
        for port in &dated.value.ports {
            if let Some(number) = app_port(workload, port) {
                let known = ports.entry(number).or_insert_with(Known::nothing);
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
        let known = ports.entry(number).or_insert_with(Known::nothing);
        if known.protocol == Protocol::Detect {
            known.protocol = protocol(None, name);
        }
    }
    ports
}

/// The mode of a port, or of those that no policy names: of policies that select the workload, else of its namespace, else of the
/// Mesh. Of several at one level the strictest.
fn mutual_tls(index: &Index, workload: &Workload, port: Option<Port>) -> Sourced<MutualTls> {
    let level = |selecting: bool| {
        index
            .mutual_tls
            .within(&workload.name.namespace)
            .filter(|(_, dated)| match &dated.value.selector {
                Some(labels) => selecting && carries(&workload.labels, labels),
                None => !selecting,
            })
            .map(|(name, dated)| {
                let own = port.and_then(|port| Some((port, dated.value.ports.get(&port)?)));
                let (mode, path) = match own {
                    Some((port, mode)) => (*mode, format!("spec.ports.{port}.mode")),
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
