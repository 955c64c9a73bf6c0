//! Objects of a cluster: one change at a time, each judged alone. May use `index`, `status` and
//! `telemetry`.

use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::error::Invalid;
use mesh_api::resource::{Kind, Resource, ResourceKey};

use crate::index::{Held, Index, Place};
use crate::status::Fault;
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
    /// There, and not of the shape that its kind has here.
    Unreadable(Invalid),
    /// Not there.
    Absent,
}

impl Index {
    /// Takes what changed among the objects of the cluster. What is bad is refused alone: the last
    /// good of it stays, and the rest applies.
    pub fn apply_objects(&mut self, changes: Vec<ObjectChange>) {
        for ObjectChange { key, state } in changes {
            match state {
                ObjectState::Present(resource) => self.put_object(key, *resource),
                ObjectState::Unreadable(fault) => self.keep_last_good(key, &fault),
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

    /// How many resources are refused as they stand.
    pub fn refused_count(&self) -> usize {
        let verdicts = self.held.keys().map(|key| self.catalog.verdict(key));
        verdicts
            .filter(|verdict| verdict.as_ref().is_some_and(|verdict| !verdict.accepted))
            .count()
    }

    fn put_object(&mut self, key: ResourceKey, resource: Resource) {
        self.unreadable.remove(&key);
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

    fn keep_last_good(&mut self, key: ResourceKey, fault: &Invalid) {
        telemetry::record_refused(&key.to_string(), &fault.to_string());
        if let Some(held) = self.held.get_mut(&key) {
            held.outdated = true;
        }
        self.unreadable.insert(key, Fault::of(fault));
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
