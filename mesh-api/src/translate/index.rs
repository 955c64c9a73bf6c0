//! Checked resources by kind, namespace and name, for look-ups by reference.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::error::Invalid;
use crate::model::workload::Workload;
use crate::name::{DestinationName, Name, Namespace, ObjectName, Port, TrustDomain};
use crate::resource::{Kind, ResourceKey};
use crate::translate::checked::{
    Checked, CheckedMesh, CheckedMutualTls, CheckedRoute, CheckedService, CheckedSlice,
    CheckedTraffic, ServicePort,
};

/// The name of the one Mesh there may be.
pub(super) const MESH_NAME: &str = "default";

/// One kind's resources.
#[derive(Clone, Debug)]
pub(super) struct Shelf<T>(BTreeMap<Namespace, BTreeMap<Name, Dated<T>>>);

/// A resource with its age.
#[derive(Clone, Debug)]
pub(super) struct Dated<T> {
    /// Seconds since the epoch.
    pub(super) created: i64,
    /// The resource.
    pub(super) value: T,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Shelf<T> {
    /// The resource of this name.
    pub(super) fn find(&self, name: &ObjectName) -> Option<&Dated<T>> {
        self.0.get(&name.namespace)?.get(&name.name)
    }

    /// All of a namespace, by name.
    pub(super) fn within(&self, namespace: &Namespace) -> impl Iterator<Item = (&Name, &Dated<T>)> {
        self.0.get(namespace).into_iter().flatten()
    }

    /// All, by namespace and name.
    pub(super) fn all(&self) -> impl Iterator<Item = (ObjectName, &Dated<T>)> {
        self.0.iter().flat_map(|(namespace, objects)| {
            objects
                .iter()
                .map(|(name, dated)| (ObjectName::new(namespace.clone(), name.clone()), dated))
        })
    }

    fn insert(&mut self, name: ObjectName, created: i64, value: T) {
        self.0
            .entry(name.namespace)
            .or_default()
            .insert(name.name, Dated { created, value });
    }

    fn remove(&mut self, name: &ObjectName) -> Option<T> {
        let objects = self.0.get_mut(&name.namespace)?;
        let removed = objects.remove(&name.name).map(|dated| dated.value);
        if objects.is_empty() {
            self.0.remove(&name.namespace);
        }
        removed
    }
}

/// What names a route: routes of several kinds may have one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RouteKey {
    /// Its kind.
    pub(super) kind: Kind,
    /// Its namespace and name.
    pub(super) name: ObjectName,
}

/// Everything that passed its checks.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) mesh: CheckedMesh,
    /// The trust domain of a Mesh that names none.
    pub(super) trust_domain: Option<TrustDomain>,
    /// A Mesh that names another trust domain is refused.
    pub(super) trust_domain_is_fixed: bool,
    pub(super) services: Shelf<CheckedService>,
    pub(super) slices: Shelf<CheckedSlice>,
    pub(super) workloads: Shelf<Workload>,
    pub(super) traffic: Shelf<CheckedTraffic>,
    pub(super) mutual_tls: Shelf<CheckedMutualTls>,
    routes: BTreeMap<RouteKey, Dated<CheckedRoute>>,
    routes_of: BTreeMap<ObjectName, BTreeSet<RouteKey>>,
    /// Services by virtual IP.
    addressed: BTreeMap<IpAddr, BTreeSet<ObjectName>>,
}

impl Index {
    /// Why a checked resource does not fit what holds already.
    pub(super) fn refusal(&self, checked: &Checked) -> Option<Invalid> {
        let Checked::Mesh(mesh) = checked else {
            return None;
        };
        let changes = mesh.trust_domain.is_some() && mesh.trust_domain != self.trust_domain;
        (self.trust_domain_is_fixed && changes).then(|| {
            Invalid::new(
                "spec.trustDomain",
                "the trust domain of a running mesh cannot change yet",
            )
        })
    }

    /// Puts a resource in its place, over an older one of its name.
    pub(super) fn insert(&mut self, key: &ResourceKey, created: i64, checked: Checked) {
        self.remove(key);
        let Some(name) = key.object() else {
            if let Checked::Mesh(mesh) = checked {
                self.mesh = *mesh;
            }
            return;
        };
        match checked {
            Checked::Mesh(_) | Checked::Namespace => {}
            Checked::Service(value) => {
                for address in &value.addresses {
                    let named = self.addressed.entry(*address).or_default();
                    named.insert(name.clone());
                }
                self.services.insert(name, created, value);
            }
            Checked::EndpointSlice(value) => self.slices.insert(name, created, value),
            Checked::Workload(value) => self.workloads.insert(name, created, value),
            Checked::TrafficPolicy(value) => self.traffic.insert(name, created, value),
            Checked::MutualTLSPolicy(value) => self.mutual_tls.insert(name, created, value),
            Checked::Route(value) => {
                let key = RouteKey {
                    kind: value.kind,
                    name,
                };
                for parent in &value.parents {
                    let routes = self.routes_of.entry(parent.service.clone()).or_default();
                    routes.insert(key.clone());
                }
                self.routes.insert(key, Dated { created, value });
            }
        }
    }

    /// The Service's port behind a virtual IP and port: of several the oldest, then the first by name.
    pub(super) fn at(&self, address: SocketAddr) -> Option<DestinationName> {
        let port = Port::new(address.port())?;
        let named = self.addressed.get(&address.ip()).into_iter().flatten();
        let serving = named.filter_map(|name| {
            let dated = self.services.find(name)?;
            let mut ports = dated.value.ports.iter();
            ports
                .any(|p| p.port == port)
                .then_some((dated.created, name))
        });
        let (_, service) = serving.min()?;
        Some(DestinationName::new(service.clone(), port))
    }

    /// Takes a resource out.
    pub(super) fn remove(&mut self, key: &ResourceKey) {
        let Some(name) = key.object() else {
            // A Mesh of another name was refused and never came in.
            if key.kind == Kind::Mesh && key.name.as_str() == MESH_NAME {
                self.mesh = CheckedMesh::default();
            }
            return;
        };
        match key.kind {
            Kind::Mesh | Kind::Namespace => {}
            Kind::Service => {
                for address in self
                    .services
                    .remove(&name)
                    .iter()
                    .flat_map(|s| &s.addresses)
                {
                    if let Entry::Occupied(mut named) = self.addressed.entry(*address) {
                        named.get_mut().remove(&name);
                        if named.get().is_empty() {
                            named.remove();
                        }
                    }
                }
            }
            Kind::EndpointSlice => drop(self.slices.remove(&name)),
            Kind::Workload => drop(self.workloads.remove(&name)),
            Kind::TrafficPolicy => drop(self.traffic.remove(&name)),
            Kind::MutualTLSPolicy => drop(self.mutual_tls.remove(&name)),
            kind @ (Kind::HTTPRoute | Kind::GRPCRoute | Kind::TLSRoute | Kind::TCPRoute) => {
                self.remove_route(&RouteKey { kind, name });
            }
        }
    }

    fn remove_route(&mut self, key: &RouteKey) {
        let removed = self.routes.remove(key);
        for parent in removed.into_iter().flat_map(|route| route.value.parents) {
            if let Some(routes) = self.routes_of.get_mut(&parent.service) {
                routes.remove(key);
                if routes.is_empty() {
                    self.routes_of.remove(&parent.service);
                }
            }
        }
    }

    /// A route.
    pub(super) fn route(&self, key: &RouteKey) -> Option<&Dated<CheckedRoute>> {
        self.routes.get(key)
    }

    /// A Service's port.
    pub(super) fn service_port(
        &self,
        name: &DestinationName,
    ) -> Option<(&CheckedService, &ServicePort)> {
        let service = &self.services.find(&name.service)?.value;
        let port = service.ports.iter().find(|port| port.port == name.port)?;
        Some((service, port))
    }

    /// Routes that name this Service as a parent, by kind, namespace and name.
    pub(super) fn routes_of(
        &self,
        service: &ObjectName,
    ) -> impl Iterator<Item = (&RouteKey, &Dated<CheckedRoute>)> {
        self.routes_of
            .get(service)
            .into_iter()
            .flatten()
            .filter_map(|key| Some((key, self.routes.get(key)?)))
    }
}
