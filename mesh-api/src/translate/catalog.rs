//! Everything that is known, and what became of each resource.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::civil::Date;

use crate::error::Invalid;
use crate::model::destination::Destination;
use crate::model::entry::VirtualAddress;
use crate::model::inbound::Inbound;
use crate::model::mesh::MeshFacts;
use crate::model::workload::Workload;
use crate::name::{DestinationName, Hostname, Namespace, ObjectName, TrustDomain};
use crate::resource::{Resource, ResourceKey};
use crate::translate::index::Index;
use crate::translate::touched::Touched;
use crate::translate::verdict::{self, Verdict};
use crate::translate::{backend, check, direct, inbound, mesh, outbound};

/// Every resource with its verdict. One resource never spoils another: what fails its checks keeps
/// its last good version, and a reference to what is missing becomes a failing backend.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    held: BTreeMap<ResourceKey, Held>,
    index: Index,
    stale: BTreeSet<ObjectName>,
    revision: u64,
    touched: Touched,
}

/// A resource as it was last applied.
#[derive(Clone, Debug)]
struct Held {
    resource: Arc<Resource>,
    faults: Vec<Invalid>,
    has_good: bool,
}

impl Catalog {
    /// Puts `domain` in force while no Mesh names one; `is_fixed`: a Mesh that names another is
    /// refused from now on.
    pub fn set_trust_domain(&mut self, domain: TrustDomain, is_fixed: bool) {
        self.revision += 1;
        self.touched = Touched::everything();
        self.index.trust_domain = Some(domain);
        self.index.trust_domain_is_fixed = is_fixed;
    }

    /// Puts `domain` in force, the suffix of names in a cluster, while no Mesh names one.
    pub fn set_cluster_domain(&mut self, domain: Hostname) {
        self.revision += 1;
        self.index.cluster_domain = Some(domain);
        self.touched = Touched::everything();
    }

    /// Takes `ranges`, where Services and pods have their addresses, for the mesh's own beside those that
    /// the Mesh names.
    pub fn set_ranges(&mut self, mut ranges: Vec<IpNet>) {
        ranges.sort_unstable();
        ranges.dedup();
        ranges.truncate(mesh::MAX_RANGES);
        if self.index.ranges != ranges {
            self.revision += 1;
            self.index.ranges = ranges;
            self.touched.add_mesh();
        }
    }

    /// Adds or replaces a resource. The verdict is that of this moment: see [`Catalog::verdict`].
    ///
    /// A resource whose key cannot be told is refused and not kept.
    pub fn apply(&mut self, resource: Resource) -> Verdict {
        let key = match resource.key() {
            Ok(key) => key,
            Err(fault) => return Verdict::refused(vec![fault], false),
        };
        self.revision += 1;
        let had_good = self.held.get(&key).is_some_and(|held| held.has_good);
        let created = resource.created();
        let checked = check::check(&resource);
        let checked = checked.and_then(|(key, checked)| match self.index.refusal(&checked) {
            Some(fault) => Err(vec![fault]),
            None => Ok((key, checked)),
        });
        self.touched.add_verdict(&key);
        let (faults, has_good) = match checked {
            Ok((_, checked)) => {
                if !self.index.holds(&key, created, &checked) {
                    self.touched.add(&self.index, &key);
                    self.index.insert(&key, created, checked);
                    self.touched.add(&self.index, &key);
                }
                (Vec::new(), true)
            }
            Err(faults) => (faults, had_good),
        };
        self.held.insert(
            key.clone(),
            Held {
                resource: Arc::new(resource),
                faults,
                has_good,
            },
        );
        self.verdict(&key).unwrap_or_default()
    }

    /// Takes a resource out; true if it was there.
    pub fn delete(&mut self, key: &ResourceKey) -> bool {
        self.revision += 1;
        self.touched.add(&self.index, key);
        self.index.remove(key);
        if let Some(name) = key
            .object()
            .filter(|_| key.kind == crate::resource::Kind::Workload)
        {
            self.stale.remove(&name);
        }
        self.held.remove(key).is_some()
    }

    /// What changes since the last call may have altered.
    pub fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Marks a workload whose lease ran out while too many others did, or takes the mark away.
    pub fn set_stale(&mut self, workload: &ObjectName, stale: bool) {
        let changed = if stale {
            self.stale.insert(workload.clone())
        } else {
            self.stale.remove(workload)
        };
        if changed {
            self.revision += 1;
            self.touched.add_workload(&self.index, workload);
        }
    }

    /// Grows with every change; entries made at one revision belong together.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What became of a resource, as of now: references and conflicts follow the other resources.
    pub fn verdict(&self, key: &ResourceKey) -> Option<Verdict> {
        let held = self.held.get(key)?;
        if held.faults.is_empty() {
            Some(verdict::of(&self.index, key))
        } else {
            Some(Verdict::refused(held.faults.clone(), held.has_good))
        }
    }

    /// A resource as it was last applied, even if it was refused.
    pub fn resource(&self, key: &ResourceKey) -> Option<&Arc<Resource>> {
        self.held.get(key).map(|held| &held.resource)
    }

    /// Every resource with its verdict, by kind, namespace and name.
    pub fn resources(&self) -> impl Iterator<Item = (&ResourceKey, &Arc<Resource>, Verdict)> {
        self.held
            .iter()
            .map(|(key, held)| (key, &held.resource, self.verdict(key).unwrap_or_default()))
    }

    /// How many `MutualTLSPolicy`s were to end before `today`, they or a port of theirs.
    pub fn overdue(&self, today: Date) -> usize {
        let policies = self.index.mutual_tls.all();
        policies
            .filter(|(_, dated)| dated.value.until.iter().any(|end| *end < today))
            .count()
    }

    /// Every destination by name.
    pub fn destinations(&self) -> impl Iterator<Item = DestinationName> {
        self.index.services.all().flat_map(|(service, dated)| {
            let ports = dated.value.ports.iter();
            ports
                .map(|port| DestinationName::new(service.clone(), port.port))
                .collect::<Vec<_>>()
        })
    }

    /// Every checked workload by name, pods among them.
    pub fn workloads(&self) -> impl Iterator<Item = &Workload> {
        let pods = self.index.pods.all().map(|(name, _)| name);
        let workloads = self.index.workloads.all().map(|(name, _)| name);
        let names: BTreeSet<ObjectName> = pods.chain(workloads).collect();
        names.into_iter().filter_map(|name| self.workload(&name))
    }

    /// A checked workload, or a pod.
    pub fn workload(&self, name: &ObjectName) -> Option<&Workload> {
        self.index.workload(name)
    }

    /// The Services of `namespace` that select `labels`, as they are in force.
    pub fn services_of(
        &self,
        namespace: &Namespace,
        labels: &BTreeMap<String, String>,
    ) -> Vec<ObjectName> {
        let services = self.index.services.within(namespace);
        services
            .filter(|(_, dated)| backend::selects(&dated.value.selector, labels))
            .map(|(name, _)| ObjectName::new(namespace.clone(), name.clone()))
            .collect()
    }

    /// A destination as `consumer` sees it; `None`: it is known not to exist.
    pub fn destination(&self, name: &DestinationName, consumer: &Namespace) -> Option<Destination> {
        let view = self.view();
        outbound::destination(&view, name, consumer)
            .or_else(|| direct::destination(&view, name, consumer))
    }

    /// What an IP and port mean: a Service's, else those of a pod or workload itself; `None`: they are
    /// known to be nobody's.
    pub fn address(&self, address: SocketAddr) -> Option<VirtualAddress> {
        let service = self.index.at(address);
        let destination = service.or_else(|| direct::at(&self.index, address))?;
        Some(VirtualAddress {
            address,
            destination,
        })
    }

    /// A workload's receiving side; `None`: it is not in the mesh.
    pub fn inbound(&self, workload: &ObjectName) -> Option<Inbound> {
        inbound::inbound(&self.view(), workload)
    }

    /// What every proxy holds.
    pub fn mesh(&self) -> MeshFacts {
        mesh::facts(&self.index)
    }

    fn view(&self) -> backend::View<'_> {
        backend::View {
            index: &self.index,
            stale: &self.stale,
            trust_domain: mesh::trust_domain(&self.index),
        }
    }
}
