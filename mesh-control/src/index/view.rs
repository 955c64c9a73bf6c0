//! What administrators see of the index. May use `index` and `status`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_api::error::Invalid;
use mesh_api::model::destination::Destination;
use mesh_api::name::ObjectName;
use mesh_api::resource::{Kind, ResourceKey};
use serde::Serialize;

use crate::index::document::DocumentFault;
use crate::index::object::Unreadable;
use crate::index::{Index, Place};
use crate::status::{Condition, Fault, ResourceStatus, conditions, conflicted, refused};

/// Whether statuses carry the objects themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objects {
    /// They do.
    Show,
    /// They do not.
    Omit,
}

/// A Service with what is behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its virtual IPs.
    pub addresses: Vec<IpAddr>,
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
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where peers reach it.
    pub address: String,
    /// Services that select it.
    pub services: Vec<String>,
    /// `pod`, `file`, `cluster` or `registration`.
    pub source: &'static str,
    /// Kept past its lease.
    pub stale: bool,
}

pub(super) fn statuses(index: &Index, objects: Objects) -> Vec<ResourceStatus> {
    let held = index.held.iter().map(|(key, held)| {
        let verdict = index.catalog.verdict(key).unwrap_or_default();
        let mut status = of_key(key, &held.place, conditions(&verdict.conditions));
        let place = |fault: &Invalid| match &held.document {
            Some(document) => document.place(fault),
            None => Fault::of(fault),
        };
        status.faults = verdict.faults.iter().map(place).collect();
        if let Some(Unreadable { fault, .. }) = index.unreadable.get(key) {
            status.conditions = vec![refused(fault)];
            status.faults = vec![fault.clone()];
        }
        status.stale = held.outdated
            || verdict.keeps_last_good
            || is_stale(index, key.object().as_ref(), key.kind);
        status.labels = labels_of(index, key);
        if objects == Objects::Show {
            let resource = index.catalog.resource(key);
            status.object = resource.and_then(|resource| serde_json::to_value(&**resource).ok());
        }
        status
    });
    let shadowed = index.shadowed.iter().map(|loser| {
        let conditions = vec![refused(&loser.fault), conflicted(&loser.fault)];
        let mut status = of_key(&loser.key, &loser.place, conditions);
        status.faults.push(loser.fault.clone());
        status
    });
    let bad = index.documents.iter().flat_map(|(file, documents)| {
        let faults = documents.faults().iter();
        faults.map(|fault| of_document(file, fault))
    });
    let unreadable = index
        .unreadable
        .iter()
        .filter(|(key, _)| !index.held.contains_key(key))
        .map(|(key, Unreadable { fault, .. })| {
            let mut status = of_key(key, &Place::Cluster, vec![refused(fault)]);
            status.faults.push(fault.clone());
            status
        });
    held.chain(shadowed).chain(bad).chain(unreadable).collect()
}

/// The status of a document that cannot be read, named as far as it says.
fn of_document(file: &str, bad: &DocumentFault) -> ResourceStatus {
    let object = bad.object.as_deref().unwrap_or_default();
    let (kind, full) = object.split_once(' ').unwrap_or_default();
    let (namespace, name) = match full.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, full),
    };
    ResourceStatus {
        kind: kind.to_owned(),
        namespace,
        name: name.to_owned(),
        file: Some(file.to_owned()),
        line: bad.fault.line,
        stale: bad.keeps_last_good,
        conditions: vec![refused(&bad.fault)],
        faults: vec![bad.fault.clone()],
        labels: BTreeMap::new(),
        object: None,
    }
}

fn of_key(key: &ResourceKey, place: &Place, conditions: Vec<Condition>) -> ResourceStatus {
    let (file, line) = match place {
        Place::File(file, line) => (Some(file.clone()), *line),
        Place::Cluster | Place::Registration => (None, 0),
    };
    ResourceStatus {
        kind: key.kind.to_string(),
        namespace: key.namespace.as_ref().map(ToString::to_string),
        name: key.name.to_string(),
        file,
        line,
        stale: false,
        conditions,
        faults: Vec::new(),
        labels: BTreeMap::new(),
        object: None,
    }
}

pub(super) fn services(index: &Index) -> Vec<ServiceRow> {
    let mut services: BTreeMap<ObjectName, ServiceRow> = BTreeMap::new();
    // A Service without ports has no destination and is listed all the same.
    for key in index.held.keys().filter(|key| key.kind == Kind::Service) {
        if let Some(name) = key.object() {
            let row = ServiceRow {
                namespace: name.namespace.to_string(),
                name: name.name.to_string(),
                labels: labels_of(index, key),
                addresses: Vec::new(),
                ports: Vec::new(),
                workloads: Vec::new(),
                stale: false,
            };
            services.insert(name, row);
        }
    }
    for name in index.catalog.destinations() {
        let own = &name.service.namespace;
        if let Some(destination) = index.catalog.destination(&name, own)
            && let Some(row) = services.get_mut(&name.service)
        {
            row.ports.push(port_row(&destination));
            row.addresses = destination.addresses;
        }
    }
    for row in services.values_mut() {
        let endpoints = || row.ports.iter().flat_map(|port| &port.endpoints);
        let workloads: BTreeSet<String> =
            endpoints().filter_map(|at| at.workload.clone()).collect();
        row.stale = endpoints().any(|at| at.stale);
        row.workloads = workloads.into_iter().collect();
    }
    services.into_values().collect()
}

pub(super) fn workloads(index: &Index) -> Vec<WorkloadRow> {
    let rows = index.catalog.workloads().map(|workload| {
        let name = &workload.name;
        let services = index.services_of(&name.namespace, &workload.labels);
        WorkloadRow {
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            service_account: workload.service_account.to_string(),
            labels: workload.labels.clone(),
            address: workload
                .addresses
                .first()
                .map_or_else(String::new, ToString::to_string),
            services: services.iter().map(ToString::to_string).collect(),
            source: index.source_of(name),
            stale: is_stale(index, Some(name), Kind::Workload),
        }
    });
    rows.collect()
}

fn port_row(destination: &Destination) -> PortRow {
    let own = destination.backends.first();
    let endpoints = own.into_iter().flat_map(|backend| &backend.endpoints);
    PortRow {
        port: destination.name.port.number(),
        protocol: destination.protocol.as_str(),
        endpoints: endpoints.map(endpoint_row).collect(),
    }
}

fn labels_of(index: &Index, key: &ResourceKey) -> BTreeMap<String, String> {
    let resource = index.catalog.resource(key);
    let labels = resource.and_then(|resource| resource.metadata().labels.clone());
    labels.unwrap_or_default()
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
            !index.has_written_workload(name)
                && index
                    .registrations
                    .get(name)
                    .is_some_and(|registered| registered.stale)
        })
}
