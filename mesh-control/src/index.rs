//! Resources in memory: files or objects of a cluster, and registrations, as one world, and what it
//! means for each proxy.
//!
//! No I/O: what was read is applied, and entries and statuses are asked for. May use `lease`,
//! `status` and `watch`.

mod document;
mod object;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::error::Invalid;
use mesh_api::model::entry::{Entry, EntryName};
use mesh_api::model::mesh::MeshFacts;
use mesh_api::name::{Hostname, Name, Namespace, ObjectName, TrustDomain};
use mesh_api::resource::{Kind, Resource, ResourceKey};
use mesh_api::translate::{Catalog, Touched};

use crate::lease::{Change, Registration};
use crate::status::{Fault, ResourceStatus};
use crate::telemetry;
use crate::watch::Scan;
use document::{Document, Documents};
use object::Unreadable;
pub use object::{Judged, ObjectChange, ObjectState};
use view::Objects;
pub use view::{EndpointRow, PortRow, ServiceRow, WorkloadRow};

/// The world.
pub struct Index {
    catalog: Catalog,
    documents: BTreeMap<String, Documents>,
    registrations: BTreeMap<ObjectName, Registered>,
    held: BTreeMap<ResourceKey, Held>,
    /// Objects of the cluster that cannot be read now.
    unreadable: BTreeMap<ResourceKey, Unreadable>,
    /// Those of which something else than the catalogue judged anew.
    judged: BTreeSet<ResourceKey>,
    /// Documents that lost against another of the same key.
    shadowed: Vec<Shadowed>,
}

struct Registered {
    resource: Arc<Resource>,
    stale: bool,
}

/// A resource that the catalogue holds.
struct Held {
    place: Place,
    /// Its document, if it has one.
    document: Option<Document>,
    /// Its document cannot be read now: this is the last one that could.
    outdated: bool,
}

/// A resource that files or registrations give.
struct Wanted {
    held: Held,
    resource: Arc<Resource>,
}

/// Where a resource comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A file, and the line from 1.
    File(String, u32),
    /// The cluster's API server.
    Cluster,
    /// A workload that registered itself.
    Registration,
}

#[derive(PartialEq, Eq)]
struct Shadowed {
    key: ResourceKey,
    place: Place,
    fault: Fault,
}

impl Index {
    /// An empty world; `trust_domain` is in force until a Mesh names one.
    pub fn new(trust_domain: Option<TrustDomain>) -> Self {
        let mut catalog = Catalog::default();
        if let Some(domain) = trust_domain {
            catalog.set_trust_domain(domain, false);
        }
        Self {
            catalog,
            documents: BTreeMap::new(),
            registrations: BTreeMap::new(),
            held: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            judged: BTreeSet::new(),
            shadowed: Vec::new(),
        }
    }

    /// Puts `domain` in force, the suffix of names in a cluster, until a Mesh names one.
    pub fn set_cluster_domain(&mut self, domain: Hostname) {
        self.catalog.set_cluster_domain(domain);
    }

    /// Keeps the trust domain that is in force: a Mesh that names another is refused.
    pub fn fix_trust_domain(&mut self) {
        let domain = self.facts().trust_domain;
        self.catalog.set_trust_domain(domain, true);
    }

    /// Puts `domain` in force for good: a Mesh that names another is refused.
    pub fn keep_trust_domain(&mut self, domain: TrustDomain) {
        self.catalog.set_trust_domain(domain, true);
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
        }
        self.settle();
    }

    /// True if a file can be read and nothing of it is refused.
    pub fn is_good(&self, file: &str) -> bool {
        let accepted = |document: &Document| {
            let verdict = self.catalog.verdict(&document.key);
            verdict.is_some_and(|verdict| verdict.accepted)
        };
        self.documents.get(file).is_some_and(|documents| {
            documents.faults().is_empty() && documents.all().iter().all(accepted)
        })
    }

    /// Takes what changed among the registrations.
    pub fn apply_leases(&mut self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        for change in changes {
            match change {
                Change::Upsert(registration) => {
                    self.register(registration);
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

    fn register(&mut self, registration: &Registration) {
        let name = registration.workload.clone();
        match document::workload_of(registration) {
            Ok(resource) => {
                let resource = Arc::new(resource);
                let stale = false;
                self.registrations
                    .insert(name, Registered { resource, stale });
            }
            Err(fault) => telemetry::record_refused(&name.to_string(), &fault.to_string()),
        }
    }

    /// What changes since the last call may have altered.
    pub fn take_touched(&mut self) -> Touched {
        self.catalog.take_touched()
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
            EntryName::Address(address) => self.catalog.address(*address).map(Entry::Address),
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

    /// True if a file or an object gives this workload.
    pub fn has_written_workload(&self, workload: &ObjectName) -> bool {
        self.held
            .get(&workload_key(workload))
            .is_some_and(|held| held.place != Place::Registration)
    }

    /// Where a workload comes from.
    fn source_of(&self, workload: &ObjectName) -> &'static str {
        let pod = ResourceKey::namespaced(Kind::Pod, workload.clone());
        if self.catalog.resource(&pod).is_some() {
            "pod"
        } else {
            match self
                .held
                .get(&workload_key(workload))
                .map(|held| &held.place)
            {
                Some(Place::File(..)) => "file",
                Some(Place::Cluster) => "cluster",
                Some(Place::Registration) | None => "registration",
            }
        }
    }

    /// The Services of `namespace` that select `labels`, as they are in force: one whose text is bad
    /// now selects as its last good did.
    pub fn services_of(
        &self,
        namespace: &Namespace,
        labels: &BTreeMap<String, String>,
    ) -> Vec<ObjectName> {
        self.catalog.services_of(namespace, labels)
    }

    /// How each resource, document and file stands, by kind and name; what cannot be named last.
    pub fn statuses(&self) -> Vec<ResourceStatus> {
        view::statuses(self, Objects::Omit)
    }

    /// Every resource with its conditions and the object in force.
    pub fn objects(&self) -> Vec<ResourceStatus> {
        view::statuses(self, Objects::Show)
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
                let place = Place::File(file.clone(), document.line());
                if let Some(winner) = wanted.get(&document.key) {
                    let fault = document.place(&duplicate(&winner.held.place, &place));
                    let key = document.key.clone();
                    shadowed.push(Shadowed { key, place, fault });
                    continue;
                }
                let held = Held {
                    place,
                    document: Some(document.clone()),
                    outdated: document.outdated,
                };
                let resource = Arc::clone(&document.resource);
                wanted.insert(document.key.clone(), Wanted { held, resource });
            }
        }
        self.add_unwritten(&mut wanted);
        for loser in &shadowed {
            if !self.shadowed.contains(loser) {
                telemetry::record_refused(&loser.place.to_string(), &loser.fault.reason);
            }
        }
        self.shadowed = shadowed;
        self.put(wanted);
        self.mark_stale();
    }

    /// Adds the registrations, which no file gives.
    fn add_unwritten(&self, wanted: &mut BTreeMap<ResourceKey, Wanted>) {
        let mut add = |resource: Arc<Resource>| {
            if let Ok(key) = resource.key() {
                let held = Held {
                    place: Place::Registration,
                    document: None,
                    outdated: false,
                };
                wanted.entry(key).or_insert(Wanted { held, resource });
            }
        };
        for registered in self.registrations.values() {
            add(Arc::clone(&registered.resource));
        }
    }

    /// Moves the catalogue from what it holds to `wanted`. Objects of the cluster stay as they are
    /// and beat what is wanted of their name.
    fn put(&mut self, wanted: BTreeMap<ResourceKey, Wanted>) {
        let mut before = std::mem::take(&mut self.held);
        self.held = before
            .extract_if(.., |_, held| held.place == Place::Cluster)
            .collect();
        for (key, Wanted { held, resource }) in wanted {
            before.remove(&key);
            if self.held.contains_key(&key) {
                continue;
            }
            let same = self
                .catalog
                .resource(&key)
                .is_some_and(|before| *before == resource);
            if !same {
                let verdict = self.catalog.apply(Resource::clone(&resource));
                for fault in &verdict.faults {
                    let text = held
                        .document
                        .as_ref()
                        .map_or_else(|| fault.to_string(), |document| document.render(fault));
                    telemetry::record_refused(&held.place.to_string(), &text);
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
            let is_written = self
                .held
                .get(&workload_key(name))
                .is_some_and(|held| held.place != Place::Registration);
            self.catalog
                .set_stale(name, registered.stale && !is_written);
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(file, line) => write!(f, "{file}:{line}"),
            Self::Cluster => f.write_str("the cluster"),
            Self::Registration => f.write_str("a registration"),
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
