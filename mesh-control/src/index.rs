//! Resources in memory: files and registrations as one world, and what it means for each proxy.
//!
//! No I/O: what was read is applied, and entries and statuses are asked for. May use `lease`,
//! `status` and `watch`.

mod document;
mod view;

use std::collections::BTreeMap;

use mesh_api::error::Invalid;
use mesh_api::model::entry::{Entry, EntryName};
use mesh_api::model::mesh::MeshFacts;
use mesh_api::name::{Name, Namespace, ObjectName, TrustDomain};
use mesh_api::resource::{Kind, Resource, ResourceKey};
use mesh_api::translate::Catalog;

use crate::lease::{Change, Registration};
use crate::status::ResourceStatus;
use crate::telemetry;
use crate::watch::Scan;
use document::Documents;
pub use view::{EndpointRow, PortRow, ServiceRow, WorkloadRow};

/// The world.
pub struct Index {
    catalog: Catalog,
    trust_domain: Option<TrustDomain>,
    documents: BTreeMap<String, Documents>,
    registrations: BTreeMap<ObjectName, Registered>,
    held: BTreeMap<ResourceKey, Held>,
    /// Documents that lost against another of the same key.
    shadowed: Vec<Shadowed>,
}

struct Registered {
    registration: Registration,
    stale: bool,
}

/// A resource that the catalogue holds.
struct Held {
    place: Place,
    /// Its document cannot be read now: this is the last one that could.
    outdated: bool,
}

/// A resource that files or registrations give.
struct Wanted {
    held: Held,
    resource: Resource,
}

/// Where a resource comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// `None` for a registration and for what the bootstrap says.
    file: Option<String>,
    /// From 1; 0 without a file.
    line: usize,
}

#[derive(PartialEq, Eq)]
struct Shadowed {
    key: ResourceKey,
    place: Place,
    fault: Invalid,
}

impl Index {
    /// An empty world; `trust_domain` is in force until a Mesh names one.
    pub fn new(trust_domain: Option<TrustDomain>) -> Self {
        Self {
            catalog: Catalog::default(),
            trust_domain,
            documents: BTreeMap::new(),
            registrations: BTreeMap::new(),
            held: BTreeMap::new(),
            shadowed: Vec::new(),
        }
    }

    /// Takes what a look at the folder found. What is bad is refused alone: the last good of it
    /// stays, and the rest applies.
    pub fn apply_files(&mut self, scan: Scan) {
        for file in &scan.removed {
            self.documents.remove(file);
        }
        for (file, content) in scan.changed {
            let documents = self.documents.entry(file.clone()).or_default();
            documents.replace(&file, content);
            documents.record();
        }
        self.settle();
    }

    /// Takes what changed among the registrations.
    pub fn apply_leases(&mut self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        for change in changes {
            match change {
                Change::Upsert(registration) => {
                    let registered = Registered {
                        registration: registration.clone(),
                        stale: false,
                    };
                    self.registrations
                        .insert(registration.workload.clone(), registered);
                }
                Change::Delete(name) => drop(self.registrations.remove(name)),
                Change::SetStale(name, stale) => {
                    if let Some(registered) = self.registrations.get_mut(name) {
                        registered.stale = *stale;
                    }
                }
            }
        }
        self.settle();
    }

    /// The entry `name` as `consumer` sees it, if there is such a thing.
    pub fn entry(&self, name: &EntryName, consumer: Option<&Namespace>) -> Option<Entry> {
        match name {
            EntryName::Mesh => Some(Entry::Mesh(self.facts())),
            EntryName::Destination(name) => {
                let consumer = consumer.unwrap_or(&name.service.namespace);
                self.catalog
                    .destination(name, consumer)
                    .map(Entry::Destination)
            }
            EntryName::Inbound(name) => self.catalog.inbound(name).map(Entry::Inbound),
        }
    }

    /// Mesh-wide facts.
    pub fn facts(&self) -> MeshFacts {
        self.catalog.mesh()
    }

    /// The service account of a workload, if there is such a workload.
    pub fn service_account(&self, workload: &ObjectName) -> Option<Name> {
        if let Some(inbound) = self.catalog.inbound(workload) {
            return Some(inbound.identity.service_account);
        }
        let workload = self.catalog.workload(workload)?;
        Some(workload.service_account.clone())
    }

    /// True if a file gives this workload.
    pub fn has_file_workload(&self, workload: &ObjectName) -> bool {
        self.held
            .get(&workload_key(workload))
            .is_some_and(|held| held.place.file.is_some())
    }

    /// The Services of `namespace` that select `labels`.
    pub fn services_of(
        &self,
        namespace: &Namespace,
        labels: &BTreeMap<String, String>,
    ) -> Vec<ObjectName> {
        let selects = |resource: &Resource| {
            let Resource::Service(service) = resource else {
                return false;
            };
            let selector = service
                .spec
                .as_ref()
                .and_then(|spec| spec.selector.as_ref());
            selector.is_some_and(|selector| {
                !selector.is_empty()
                    && selector
                        .iter()
                        .all(|(key, value)| labels.get(key) == Some(value))
            })
        };
        self.held
            .keys()
            .filter(|key| {
                key.kind == Kind::Service
                    && key.namespace.as_ref() == Some(namespace)
                    && self.catalog.resource(key).is_some_and(|one| selects(one))
            })
            .filter_map(ResourceKey::object)
            .collect()
    }

    /// How each resource, document and file stands, by kind and name; what cannot be named last.
    pub fn statuses(&self) -> Vec<ResourceStatus> {
        view::statuses(self)
    }

    /// Every Service with its endpoints.
    pub fn services(&self) -> Vec<ServiceRow> {
        view::services(self)
    }

    /// Every workload.
    pub fn workloads(&self) -> Vec<WorkloadRow> {
        view::workloads(self)
    }

    /// Makes the catalogue say what files and registrations say now: for each key the first file by
    /// name wins, and any file beats a registration.
    fn settle(&mut self) {
        let mut wanted: BTreeMap<ResourceKey, Wanted> = BTreeMap::new();
        let mut shadowed = Vec::new();
        for (file, documents) in &self.documents {
            for document in documents.all() {
                let place = Place {
                    file: Some(file.clone()),
                    line: document.line,
                };
                if let Some(winner) = wanted.get(&document.key) {
                    let fault = duplicate(&winner.held.place, &place);
                    let key = document.key.clone();
                    shadowed.push(Shadowed { key, place, fault });
                    continue;
                }
                let held = Held {
                    place,
                    outdated: document.outdated,
                };
                let resource = document.resource.clone();
                wanted.insert(document.key.clone(), Wanted { held, resource });
            }
        }
        self.add_unwritten(&mut wanted);
        for loser in &shadowed {
            if !self.shadowed.contains(loser) {
                telemetry::record_refused(&loser.key.to_string(), &loser.fault.to_string());
            }
        }
        self.shadowed = shadowed;
        self.put(wanted);
        self.mark_stale();
    }

    /// Adds what no file gives: registrations, and the Mesh that the bootstrap's trust domain means.
    fn add_unwritten(&self, wanted: &mut BTreeMap<ResourceKey, Wanted>) {
        let mut add = |resource: Result<Resource, Invalid>| {
            if let Ok(resource) = resource
                && let Ok(key) = resource.key()
            {
                let place = Place {
                    file: None,
                    line: 0,
                };
                let held = Held {
                    place,
                    outdated: false,
                };
                wanted.entry(key).or_insert(Wanted { held, resource });
            }
        };
        for registered in self.registrations.values() {
            add(document::workload_of(&registered.registration));
        }
        if let Some(trust_domain) = &self.trust_domain {
            add(document::mesh_of(trust_domain));
        }
    }

    /// Moves the catalogue from what it holds to `wanted`.
    fn put(&mut self, wanted: BTreeMap<ResourceKey, Wanted>) {
        let mut before = std::mem::take(&mut self.held);
        for (key, Wanted { held, resource }) in wanted {
            before.remove(&key);
            let same = self.catalog.resource(&key).map(AsRef::as_ref) == Some(&resource);
            if !same {
                let verdict = self.catalog.apply(resource);
                for fault in &verdict.faults {
                    let place = format!("{key} ({})", held.place);
                    telemetry::record_refused(&place, &fault.to_string());
                }
            }
            self.held.insert(key, held);
        }
        for key in before.keys() {
            self.catalog.delete(key);
        }
    }

    fn mark_stale(&mut self) {
        for (name, registered) in &self.registrations {
            let from_file = self
                .held
                .get(&workload_key(name))
                .is_some_and(|held| held.place.file.is_some());
            self.catalog.set_stale(name, registered.stale && !from_file);
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}:{}", self.line),
            None => f.write_str("no file"),
        }
    }
}

fn workload_key(name: &ObjectName) -> ResourceKey {
    ResourceKey::namespaced(Kind::Workload, name.clone())
}

fn duplicate(winner: &Place, loser: &Place) -> Invalid {
    Invalid::new(
        "metadata.name",
        format!("is also given at {winner}, which wins over {loser}; remove one"),
    )
}

#[cfg(test)]
mod tests;
