//! Objects of a cluster: one change at a time, each judged alone. May use `index`, `status` and
//! `telemetry`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::error::Invalid;
use mesh_api::name::{Name, Namespace};
use mesh_api::resource::{Kind, Resource, ResourceKey};
use serde_json::Value;

use crate::index::{Held, Index, Place};
use crate::status::{Condition, Fault, conditions, unsupported};
use crate::telemetry;

/// What became of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectChange {
    /// Which one.
    pub key: ResourceKey,
    /// How it is now.
    pub state: ObjectState,
}

/// An object as the API server gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectState {
    /// There.
    Present(Box<Resource>),
    /// There, and not of the shape that its kind has here: why, and what its status needs of it.
    Unreadable(Invalid, Value),
    /// Not there.
    Absent,
}

/// How an object stands.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The object, or what its status needs of it.
    pub object: Value,
    /// How it stands.
    pub conditions: Vec<Condition>,
    /// How a route stands at each parent of ours, by its place in `spec.parentRefs`; where one is
    /// missing, as the whole.
    pub parents: BTreeMap<usize, Vec<Condition>>,
}

/// An object that cannot be read.
pub(super) struct Unreadable {
    /// Why.
    pub(super) fault: Fault,
    /// What its status needs of it.
    outline: Value,
}

impl Index {
    /// Takes what changed among the objects of the cluster. What is bad is refused alone: the last
    /// good of it stays, and the rest applies.
    pub fn apply_objects(&mut self, changes: Vec<ObjectChange>) {
        for ObjectChange { key, state } in changes {
            match state {
                ObjectState::Present(resource) => self.put_object(key, *resource),
                ObjectState::Unreadable(fault, outline) => {
                    self.keep_last_good(key, &fault, outline);
                }
                ObjectState::Absent => self.take_object_out(&key),
            }
        }
        self.mark_stale();
    }

    /// Takes the address ranges of the cluster's Services and pods.
    pub fn set_ranges(&mut self, ranges: Vec<IpNet>) {
        self.catalog.set_ranges(ranges);
    }

    /// The objects of the cluster of one kind, those that cannot be read included.
    pub fn object_keys(&self, kind: Kind) -> Vec<ResourceKey> {
        let held = self.held.iter();
        let held = held.filter(|(key, held)| key.kind == kind && held.place == Place::Cluster);
        let unreadable = self.unreadable.keys().filter(|key| key.kind == kind);
        held.map(|(key, _)| key)
            .chain(unreadable)
            .cloned()
            .collect()
    }

    /// A resource as it was last read.
    pub fn resource(&self, key: &ResourceKey) -> Option<&Arc<Resource>> {
        self.catalog.resource(key)
    }

    /// What was judged anew since the last call, beside what is touched.
    pub fn take_judged(&mut self) -> BTreeSet<ResourceKey> {
        std::mem::take(&mut self.judged)
    }

    /// True if a pod that has not ended, or a workload, runs as this service account.
    pub fn runs_as(&self, namespace: &Namespace, service_account: &Name) -> bool {
        let mut workloads = self.catalog.workloads();
        workloads.any(|workload| {
            workload.name.namespace == *namespace
                && workload.service_account == *service_account
                && !workload.addresses.is_empty()
        })
    }

    /// How many exceptions from strict mutual TLS were to end before `today`.
    pub fn overdue(&self, today: jiff::civil::Date) -> usize {
        self.catalog.overdue(today)
    }

    /// How many resources are refused as they stand.
    pub fn refused_count(&self) -> usize {
        let verdicts = self.held.keys().map(|key| self.catalog.verdict(key));
        verdicts
            .filter(|verdict| verdict.as_ref().is_some_and(|verdict| !verdict.accepted))
            .count()
    }

    fn put_object(&mut self, key: ResourceKey, resource: Resource) {
        if self.unreadable.remove(&key).is_some() {
            self.judged.insert(key.clone());
        }
        let same = self
            .catalog
            .resource(&key)
            .is_some_and(|before| **before == resource);
        if !same {
            let verdict = self.catalog.apply(resource);
            for fault in &verdict.faults {
                telemetry::record_refused(&key.to_string(), &fault.to_string());
            }
        }
        let held = Held {
            place: Place::Cluster,
            document: None,
            outdated: false,
        };
        self.held.insert(key, held);
    }

    fn keep_last_good(&mut self, key: ResourceKey, fault: &Invalid, outline: Value) {
        let fault = Fault::of(fault);
        let before = self.unreadable.get(&key);
        if before.is_none_or(|before| before.fault != fault) {
            telemetry::record_refused(&key.to_string(), &fault.reason);
        }
        if let Some(held) = self.held.get_mut(&key) {
            held.outdated = true;
        }
        self.judged.insert(key.clone());
        self.unreadable.insert(key, Unreadable { fault, outline });
    }

    /// How an object of the cluster stands, with the object itself.
    pub fn judged(&self, key: &ResourceKey) -> Option<Judged> {
        if let Some(unreadable) = self.unreadable.get(key) {
            return Some(Judged {
                object: unreadable.outline.clone(),
                conditions: vec![unsupported(&unreadable.fault)],
                parents: BTreeMap::new(),
            });
        }
        self.held
            .get(key)
            .filter(|held| held.place == Place::Cluster)?;
        let verdict = self.catalog.verdict(key)?;
        let parents = verdict.parents.iter();
        Some(Judged {
            object: serde_json::to_value(&**self.catalog.resource(key)?).ok()?,
            conditions: conditions(&verdict.conditions),
            parents: parents
                .map(|(place, held)| (*place, conditions(held)))
                .collect(),
        })
    }

    /// Every object of the cluster.
    pub fn all_object_keys(&self) -> Vec<ResourceKey> {
        Kind::ALL
            .into_iter()
            .flat_map(|kind| self.object_keys(kind))
            .collect()
    }

    /// A registration that the object hid takes its place again.
    fn take_object_out(&mut self, key: &ResourceKey) {
        self.unreadable.remove(key);
        if self
            .held
            .get(key)
            .is_none_or(|held| held.place != Place::Cluster)
        {
            return;
        }
        self.held.remove(key);
        self.catalog.delete(key);
        let hidden = key.object().filter(|_| key.kind == Kind::Workload);
        if let Some(registered) = hidden.and_then(|name| self.registrations.get(&name)) {
            self.catalog.apply(Resource::clone(&registered.resource));
            let held = Held {
                place: Place::Registration,
                document: None,
                outdated: false,
            };
            self.held.insert(key.clone(), held);
        }
    }
}
