//! What administrators see of the index. May use `index` and `status`.

use std::collections::BTreeSet;

use mesh_api::name::{DestinationName, ObjectName, Port};
use mesh_api::resource::{Kind, Resource};
use serde::Serialize;

use crate::index::Index;
use crate::status::{Findings, ResourceStatus, conditions};

/// A Service with what is behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its ports.
    pub ports: Vec<PortRow>,
    /// Workloads behind any port, `namespace/name`, sorted.
    pub workloads: Vec<String>,
    /// True if an endpoint is kept past its lease.
    pub stale: bool,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortRow {
    /// Its number.
    pub port: u16,
    /// What the app speaks.
    pub protocol: &'static str,
    /// Where it runs.
    pub endpoints: Vec<EndpointRow>,
}

/// An endpoint of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointRow {
    /// `ip:port` of the app.
    pub address: String,
    /// The workload, `namespace/name`.
    pub workload: Option<String>,
    /// The identity its tunnel must show; `None`: plain.
    pub identity: Option<String>,
    /// Relative share.
    pub weight: u32,
    /// Kept past its lease.
    pub stale: bool,
}

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its service account.
    pub service_account: String,
    /// Where peers reach it.
    pub address: String,
    /// Services that select it.
    pub services: Vec<String>,
    /// `file` or `registration`.
    pub source: &'static str,
    /// Kept past its lease.
    pub stale: bool,
}

pub(super) fn statuses(index: &Index) -> Vec<ResourceStatus> {
    let held = index.held.iter().map(|(key, held)| ResourceStatus {
        kind: key.kind.to_string(),
        namespace: key.namespace.as_ref().map(ToString::to_string),
        name: key.name.to_string(),
        file: held.place.file.clone(),
        line: held.place.line,
        stale: held.outdated || is_stale(index, key.object().as_ref(), key.kind),
        conditions: conditions(&held.findings),
    });
    let shadowed = index.shadowed.iter().map(|loser| ResourceStatus {
        kind: loser.key.kind.to_string(),
        namespace: loser.key.namespace.as_ref().map(ToString::to_string),
        name: loser.key.name.to_string(),
        file: loser.place.file.clone(),
        line: loser.place.line,
        stale: false,
        conditions: conditions(&Findings {
            refused: vec![loser.fault.clone()],
            conflicts: vec![loser.fault.clone()],
            ..Findings::default()
        }),
    });
    let bad = index.documents.iter().flat_map(|(file, documents)| {
        documents.faults().iter().map(|fault| ResourceStatus {
            kind: fault.kind(),
            namespace: fault.namespace(),
            name: fault.name(),
            file: Some(file.clone()),
            line: fault.line,
            stale: fault.keeps_last_good,
            conditions: conditions(&Findings {
                refused: vec![fault.invalid.clone()],
                ..Findings::default()
            }),
        })
    });
    held.chain(shadowed).chain(bad).collect()
}

pub(super) fn services(index: &Index) -> Vec<ServiceRow> {
    let services = index
        .held
        .iter()
        .filter(|(key, _)| key.kind == Kind::Service);
    services
        .filter_map(|(key, held)| {
            let Resource::Service(service) = &held.resource else {
                return None;
            };
            let name = key.object()?;
            let declared = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
            let numbers = declared.into_iter().flatten().map(|port| port.port);
            let ports: Vec<PortRow> = numbers
                .filter_map(|number| port_row(index, &name, Port::try_from(number).ok()?))
                .collect();
            let endpoints = || ports.iter().flat_map(|port| &port.endpoints);
            let workloads: BTreeSet<String> =
                endpoints().filter_map(|at| at.workload.clone()).collect();
            Some(ServiceRow {
                namespace: name.namespace.to_string(),
                name: name.name.to_string(),
                workloads: workloads.into_iter().collect(),
                stale: endpoints().any(|at| at.stale),
                ports,
            })
        })
        .collect()
}

pub(super) fn workloads(index: &Index) -> Vec<WorkloadRow> {
    let workloads = index
        .held
        .iter()
        .filter(|(key, _)| key.kind == Kind::Workload);
    workloads
        .filter_map(|(key, held)| {
            let Resource::Workload(object) = &held.resource else {
                return None;
            };
            let name = key.object()?;
            let labels = object.metadata.labels.clone().unwrap_or_default();
            let services = index.services_of(&name.namespace, &labels);
            Some(WorkloadRow {
                namespace: name.namespace.to_string(),
                name: name.name.to_string(),
                service_account: index
                    .service_account(&name)
                    .map(|account| account.to_string())
                    .unwrap_or_default(),
                address: object.spec.address.clone(),
                services: services.iter().map(ToString::to_string).collect(),
                source: match held.place.file {
                    Some(_) => "file",
                    None => "registration",
                },
                stale: is_stale(index, Some(&name), Kind::Workload),
            })
        })
        .collect()
}

fn port_row(index: &Index, service: &ObjectName, port: Port) -> Option<PortRow> {
    let name = DestinationName::new(service.clone(), port);
    let destination = index.catalog.destination(&name, &service.namespace)?;
    let own = destination.backends.first();
    let endpoints = own.into_iter().flat_map(|backend| &backend.endpoints);
    Some(PortRow {
        port: port.number(),
        protocol: destination.protocol.as_str(),
        endpoints: endpoints.map(endpoint_row).collect(),
    })
}

fn endpoint_row(endpoint: &mesh_api::model::backend::Endpoint) -> EndpointRow {
    use mesh_api::model::backend::Transport;
    EndpointRow {
        address: endpoint.address.to_string(),
        workload: endpoint.workload.as_ref().map(ToString::to_string),
        identity: match &endpoint.transport {
            Transport::Hbone { identity, .. } => Some(identity.to_string()),
            Transport::Plain => None,
        },
        weight: endpoint.weight,
        stale: endpoint.stale,
    }
}

fn is_stale(index: &Index, name: Option<&ObjectName>, kind: Kind) -> bool {
    kind == Kind::Workload
        && name.is_some_and(|name| {
            !index.has_file_workload(name)
                && index
                    .registrations
                    .get(name)
                    .is_some_and(|registered| registered.stale)
        })
}
