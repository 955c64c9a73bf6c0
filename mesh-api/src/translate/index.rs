//! Checked resources by kind, namespace and name, for look-ups by reference.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::error::Invalid;
use crate::model::route::DirectResponse;
use crate::model::workload::Workload;
use crate::name::{DestinationName, Hostname, Name, Namespace, ObjectName, Port, TrustDomain};
use crate::resource::{Kind, ResourceKey};
use crate::translate::checked::{
    Checked, CheckedAuthorization, CheckedMesh, CheckedMutualTls, CheckedPod, CheckedRateLimits,
    CheckedRoute, CheckedRouteMatch, CheckedService, CheckedSlice, CheckedTraffic, ExtensionRef,
    RefTarget, ServicePort, SliceEndpoint,
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

impl<T: PartialEq> Shelf<T> {
    fn holds(&self, name: &ObjectName, created: i64, value: &T) -> bool {
        let held = self.find(name);
        held.is_some_and(|held| held.created == created && held.value == *value)
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

/// Names by something that several may share.
#[derive(Clone, Debug)]
pub(super) struct Shared<K, V>(BTreeMap<K, BTreeSet<V>>);

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, V: Ord> Shared<K, V> {
    /// What has `key`, in order.
    pub(super) fn of(&self, key: &K) -> impl Iterator<Item = &V> + use<'_, K, V> {
        self.0.get(key).into_iter().flatten()
    }

    fn add(&mut self, key: K, value: V) {
        self.0.entry(key).or_default().insert(value);
    }

    fn take(&mut self, key: K, value: &V) {
        if let Entry::Occupied(mut held) = self.0.entry(key) {
            held.get_mut().remove(value);
            if held.get().is_empty() {
                held.remove();
            }
        }
    }
}

/// What an endpoint of a slice refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Referent {
    /// A pod.
    Pod(ObjectName),
    /// Whoever has the address.
    Address(IpAddr),
}

/// Everything that passed its checks.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) mesh: CheckedMesh,
    /// The trust domain of a Mesh that names none.
    pub(super) trust_domain: Option<TrustDomain>,
    /// Addresses that belong to the mesh, whatever the Mesh says.
    pub(super) ranges: Vec<IpNet>,
    /// The suffix of service names of a Mesh that names none.
    pub(super) cluster_domain: Option<Hostname>,
    /// A Mesh that names another trust domain is refused.
    pub(super) trust_domain_is_fixed: bool,
    pub(super) services: Shelf<CheckedService>,
    pub(super) slices: Shelf<CheckedSlice>,
    pub(super) pods: Shelf<CheckedPod>,
    pub(super) workloads: Shelf<Workload>,
    pub(super) traffic: Shelf<CheckedTraffic>,
    pub(super) mutual_tls: Shelf<CheckedMutualTls>,
    pub(super) authorizations: Shelf<CheckedAuthorization>,
    pub(super) rate_limits: Shelf<CheckedRateLimits>,
    pub(super) route_matches: Shelf<CheckedRouteMatch>,
    pub(super) direct_responses: Shelf<DirectResponse>,
    routes: BTreeMap<RouteKey, Dated<CheckedRoute>>,
    /// Routes by a parent.
    routes_of: Shared<ObjectName, RouteKey>,
    /// Routes by a Service that a backendRef names.
    routes_to: Shared<ObjectName, RouteKey>,
    /// Routes by a filter of ours that a rule names.
    routes_with: Shared<(Kind, ObjectName), RouteKey>,
    /// Services by virtual IP.
    addressed: Shared<IpAddr, ObjectName>,
    /// Slices by their Service.
    slices_of: Shared<ObjectName, ObjectName>,
    /// Slices by what their endpoints are.
    slices_with: Shared<Referent, ObjectName>,
    /// Pods and workloads by address.
    residents: Shared<IpAddr, (Kind, ObjectName)>,
}

impl Index {
    /// Why a checked resource does not fit what holds already.
    pub(super) fn refusal(&self, checked: &Checked) -> Option<Invalid> {
        let Checked::Mesh(mesh) = checked else {
            return None;
        };
        let changes = mesh.trust_domain.is_some() && mesh.trust_domain != self.trust_domain;
        (self.trust_domain_is_fixed && changes).then(|| {
            let kept = self.trust_domain.as_ref().map(TrustDomain::to_string);
            let kept = kept.unwrap_or_default();
            Invalid::new(
                "spec.trustDomain",
                format!("the trust domain of a running mesh cannot change yet; it is {kept}"),
            )
        })
    }

    /// True if the resource `key` reads so already.
    pub(super) fn holds(&self, key: &ResourceKey, created: i64, checked: &Checked) -> bool {
        let Some(name) = key.object() else {
            return matches!(checked, Checked::Mesh(mesh) if **mesh == self.mesh);
        };
        match checked {
            Checked::Mesh(_) | Checked::Namespace => false,
            Checked::Service(value) => self.services.holds(&name, created, value),
            Checked::EndpointSlice(value) => self.slices.holds(&name, created, value),
            Checked::Pod(value) => self.pods.holds(&name, created, value),
            Checked::Workload(value) => self.workloads.holds(&name, created, value),
            Checked::TrafficPolicy(value) => self.traffic.holds(&name, created, value),
            Checked::MutualTLSPolicy(value) => self.mutual_tls.holds(&name, created, value),
            Checked::AuthorizationPolicy(value) => self.authorizations.holds(&name, created, value),
            Checked::RateLimitPolicy(value) => self.rate_limits.holds(&name, created, value),
            Checked::RouteMatch(value) => self.route_matches.holds(&name, created, value),
            Checked::DirectResponse(value) => self.direct_responses.holds(&name, created, value),
            Checked::Route(value) => {
                let kind = value.kind;
                let held = self.routes.get(&RouteKey { kind, name });
                held.is_some_and(|held| held.created == created && held.value == *value)
            }
        }
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
                    self.addressed.add(*address, name.clone());
                }
                self.services.insert(name, created, value);
            }
            Checked::EndpointSlice(value) => {
                if let Some(service) = &value.service {
                    self.slices_of.add(service.clone(), name.clone());
                }
                for referent in referents(&name.namespace, &value) {
                    self.slices_with.add(referent, name.clone());
                }
                self.slices.insert(name, created, value);
            }
            Checked::Pod(value) => {
                for address in &value.workload.addresses {
                    self.residents.add(*address, (Kind::Pod, name.clone()));
                }
                self.pods.insert(name, created, value);
            }
            Checked::Workload(value) => {
                for address in &value.addresses {
                    let resident = (Kind::Workload, name.clone());
                    self.residents.add(*address, resident);
                }
                self.workloads.insert(name, created, value);
            }
            Checked::TrafficPolicy(value) => self.traffic.insert(name, created, value),
            Checked::MutualTLSPolicy(value) => self.mutual_tls.insert(name, created, value),
            Checked::AuthorizationPolicy(value) => {
                self.authorizations.insert(name, created, value);
            }
            Checked::RateLimitPolicy(value) => self.rate_limits.insert(name, created, value),
            Checked::RouteMatch(value) => self.route_matches.insert(name, created, value),
            Checked::DirectResponse(value) => self.direct_responses.insert(name, created, value),
            Checked::Route(value) => {
                let key = RouteKey {
                    kind: value.kind,
                    name,
                };
                for parent in &value.parents {
                    self.routes_of.add(parent.service.clone(), key.clone());
                }
                for service in backends(&value) {
                    self.routes_to.add(service.clone(), key.clone());
                }
                for extension in extensions(&key.name.namespace, &value) {
                    self.routes_with.add(extension, key.clone());
                }
                self.routes.insert(key, Dated { created, value });
            }
        }
    }

    /// True if a range that was named takes an address in.
    pub(super) fn is_in_ranges(&self, address: IpAddr) -> bool {
        let mut named = self.mesh.ranges.iter().chain(&self.ranges);
        named.any(|range| range.contains(&address))
    }

    /// The Service's port behind a virtual IP and port: of several the oldest, then the first by name.
    pub(super) fn at(&self, address: SocketAddr) -> Option<DestinationName> {
        let port = Port::new(address.port())?;
        let named = self.addressed.of(&address.ip());
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
                let removed = self.services.remove(&name);
                for address in removed.into_iter().flat_map(|service| service.addresses) {
                    self.addressed.take(address, &name);
                }
            }
            Kind::EndpointSlice => self.remove_slice(&name),
            Kind::Pod => {
                let removed = self.pods.remove(&name);
                let resident = (Kind::Pod, name);
                for address in removed.into_iter().flat_map(|pod| pod.workload.addresses) {
                    self.residents.take(address, &resident);
                }
            }
            Kind::Workload => {
                let removed = self.workloads.remove(&name);
                let resident = (Kind::Workload, name);
                for address in removed.into_iter().flat_map(|workload| workload.addresses) {
                    self.residents.take(address, &resident);
                }
            }
            Kind::TrafficPolicy => drop(self.traffic.remove(&name)),
            Kind::MutualTLSPolicy => drop(self.mutual_tls.remove(&name)),
            Kind::AuthorizationPolicy => drop(self.authorizations.remove(&name)),
            Kind::RateLimitPolicy => drop(self.rate_limits.remove(&name)),
            Kind::RouteMatch => drop(self.route_matches.remove(&name)),
            Kind::DirectResponse => drop(self.direct_responses.remove(&name)),
            kind @ (Kind::HTTPRoute | Kind::GRPCRoute | Kind::TLSRoute | Kind::TCPRoute) => {
                self.remove_route(&RouteKey { kind, name });
            }
        }
    }

    fn remove_slice(&mut self, name: &ObjectName) {
        let Some(slice) = self.slices.remove(name) else {
            return;
        };
        if let Some(service) = &slice.service {
            self.slices_of.take(service.clone(), name);
        }
        for referent in referents(&name.namespace, &slice) {
            self.slices_with.take(referent, name);
        }
    }

    fn remove_route(&mut self, key: &RouteKey) {
        let Some(Dated { value, .. }) = self.routes.remove(key) else {
            return;
        };
        for service in backends(&value) {
            self.routes_to.take(service.clone(), key);
        }
        for extension in extensions(&key.name.namespace, &value) {
            self.routes_with.take(extension, key);
        }
        for parent in value.parents {
            self.routes_of.take(parent.service, key);
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
        let keys = self.routes_of.of(service);
        keys.filter_map(|key| Some((key, self.routes.get(key)?)))
    }

    /// Routes with a backendRef to this Service.
    pub(super) fn routes_to(
        &self,
        service: &ObjectName,
    ) -> impl Iterator<Item = (&RouteKey, &Dated<CheckedRoute>)> {
        let keys = self.routes_to.of(service);
        keys.filter_map(|key| Some((key, self.routes.get(key)?)))
    }

    /// Routes with a rule that names this filter of ours.
    pub(super) fn routes_with(
        &self,
        kind: Kind,
        name: &ObjectName,
    ) -> impl Iterator<Item = (&RouteKey, &Dated<CheckedRoute>)> {
        let keys = self.routes_with.of(&(kind, name.clone()));
        keys.filter_map(|key| Some((key, self.routes.get(key)?)))
    }

    /// The slices of a Service.
    pub(super) fn slices_of(&self, service: &ObjectName) -> impl Iterator<Item = &CheckedSlice> {
        let names = self.slices_of.of(service);
        names.filter_map(|name| Some(&self.slices.find(name)?.value))
    }

    /// The slices with an endpoint that is, or may be, this.
    pub(super) fn slices_with(
        &self,
        referent: &Referent,
    ) -> impl Iterator<Item = &CheckedSlice> + use<'_> {
        let names = self.slices_with.of(referent);
        names.filter_map(|name| Some(&self.slices.find(name)?.value))
    }

    /// A pod or workload by name; of both, the pod.
    pub(super) fn workload(&self, name: &ObjectName) -> Option<&Workload> {
        let pod = self.pods.find(name).map(|dated| &dated.value.workload);
        pod.or_else(|| self.workloads.find(name).map(|dated| &dated.value))
    }

    /// Pods and workloads of a namespace.
    pub(super) fn workloads_within(
        &self,
        namespace: &Namespace,
    ) -> impl Iterator<Item = &Workload> {
        let pods = self.pods.within(namespace);
        let pods = pods.map(|(_, dated)| &dated.value.workload);
        let workloads = self.workloads.within(namespace);
        let unshadowed = workloads.filter(|(_, dated)| self.pods.find(&dated.value.name).is_none());
        pods.chain(unshadowed.map(|(_, dated)| &dated.value))
    }

    /// Who has an address: pods first, then by name.
    pub(super) fn residents(&self, address: IpAddr) -> impl Iterator<Item = (Kind, &Workload)> {
        let named = self.residents.of(&address);
        named.filter_map(|(kind, name)| {
            let workload = match kind {
                Kind::Pod => &self.pods.find(name)?.value.workload,
                _ => &self.workloads.find(name)?.value,
            };
            Some((*kind, workload))
        })
    }
}

fn referents(namespace: &Namespace, slice: &CheckedSlice) -> Vec<Referent> {
    let referent = |endpoint: &SliceEndpoint| match &endpoint.pod {
        Some(pod) => Referent::Pod(ObjectName::new(namespace.clone(), pod.clone())),
        None => Referent::Address(endpoint.address),
    };
    slice.endpoints.iter().map(referent).collect()
}

/// The filters of ours that a route of `namespace` names.
fn extensions(
    namespace: &Namespace,
    route: &CheckedRoute,
) -> impl Iterator<Item = (Kind, ObjectName)> {
    let named = route.rules.iter().flat_map(|rule| &rule.extensions);
    named.map(|ExtensionRef { kind, name }| {
        (*kind, ObjectName::new(namespace.clone(), name.clone()))
    })
}

/// The Services that a route sends to.
fn backends(route: &CheckedRoute) -> impl Iterator<Item = &ObjectName> {
    let mirrors = route.rules.iter().flat_map(|rule| &rule.mirrors);
    let mirrors = mirrors.map(|mirror| &mirror.reference);
    let references = route.rules.iter().flat_map(|rule| &rule.backends);
    let references = references.chain(mirrors);
    references.filter_map(|reference| match &reference.target {
        RefTarget::Service(name) => Some(&name.service),
        RefTarget::Other(_) => None,
    })
}
