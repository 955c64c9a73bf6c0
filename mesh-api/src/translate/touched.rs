//! What a change may have altered, so that nobody looks at all that there is.
//!
//! The index tells for a resource, as it stands, whose entries and verdicts read it: it is asked before
//! and after a change.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::entry::EntryName;
use crate::model::workload::Workload;
use crate::name::{Namespace, ObjectName};
use crate::resource::{Kind, Labels, ResourceKey};
use crate::translate::backend::{carries, selects};
use crate::translate::checked::{CheckedTraffic, RateTargets, TrafficTarget};
use crate::translate::direct;
use crate::translate::index::{Index, Referent, RouteKey};

/// Entries and verdicts that may have changed; all others read as before. Its size is bounded by what
/// there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    everything: bool,
    mesh: bool,
    services: BTreeSet<ObjectName>,
    workloads: BTreeSet<ObjectName>,
    addresses: BTreeSet<IpAddr>,
    verdicts: BTreeSet<ResourceKey>,
}

impl Touched {
    /// Everything.
    pub(super) fn everything() -> Self {
        Self {
            everything: true,
            ..Self::default()
        }
    }

    /// True if nothing may have changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// True if everything may have changed, verdicts too.
    pub fn is_everything(&self) -> bool {
        self.everything
    }

    /// True if the entry `name` may have changed, for any consumer.
    pub fn concerns(&self, name: &EntryName) -> bool {
        self.everything
            || match name {
                EntryName::Mesh => self.mesh,
                EntryName::Destination(name) => match direct::address_of(&name.service.name) {
                    Some(address) => self.addresses.contains(&address),
                    None => self.services.contains(&name.service),
                },
                EntryName::Inbound(workload) => self.workloads.contains(workload),
                EntryName::Address(address) => self.addresses.contains(&address.ip()),
            }
    }

    /// The resources whose verdict may have changed; those that are gone are among them. Not told where
    /// [`Touched::is_everything`].
    pub fn verdicts(&self) -> impl Iterator<Item = &ResourceKey> {
        self.verdicts.iter()
    }

    /// Adds what `other` says.
    pub fn merge(&mut self, other: Self) {
        if self.everything || other.everything {
            *self = Self::everything();
            return;
        }
        self.mesh |= other.mesh;
        self.services.extend(other.services);
        self.workloads.extend(other.workloads);
        self.addresses.extend(other.addresses);
        self.verdicts.extend(other.verdicts);
    }

    /// Adds the mesh's facts.
    pub(super) fn add_mesh(&mut self) {
        self.mesh |= !self.everything;
    }

    /// Adds the verdict on `key` alone.
    pub(super) fn add_verdict(&mut self, key: &ResourceKey) {
        if !self.everything {
            self.verdicts.insert(key.clone());
        }
    }

    /// Adds everything that reads the resource `key` as it stands in `index`.
    pub(super) fn add(&mut self, index: &Index, key: &ResourceKey) {
        if self.everything {
            return;
        }
        self.verdicts.insert(key.clone());
        let Some(name) = key.object() else {
            // Every setting may come from the Mesh.
            self.everything |= key.kind == Kind::Mesh;
            return;
        };
        match key.kind {
            Kind::Mesh | Kind::Namespace => {}
            Kind::Service => self.add_service(index, &name),
            Kind::EndpointSlice => {
                let slice = index.slices.find(&name);
                if let Some(service) = slice.and_then(|slice| slice.value.service.as_ref()) {
                    self.add_backend(index, service);
                }
            }
            Kind::Pod | Kind::Workload => self.add_workload(index, &name),
            Kind::TrafficPolicy => self.add_traffic(index, &name),
            Kind::MutualTLSPolicy => {
                if let Some(policy) = index.mutual_tls.find(&name) {
                    let selector = policy.value.selector.as_ref();
                    self.add_selected(index, &name.namespace, selector);
                }
            }
            Kind::AuthorizationPolicy => {
                if let Some(policy) = index.authorizations.find(&name) {
                    let selector = policy.value.selector.as_ref();
                    self.add_selected(index, &name.namespace, selector);
                }
            }
            Kind::RateLimitPolicy => {
                if let Some(policy) = index.rate_limits.find(&name) {
                    // Which of them a Service or a route reaches is told when they are asked for.
                    let selector = match &policy.value.targets {
                        RateTargets::Workloads(labels) => Some(labels),
                        RateTargets::Objects(_) => None,
                    };
                    self.add_selected(index, &name.namespace, selector);
                }
            }
            kind @ (Kind::RouteMatch | Kind::DirectResponse) => {
                for (route, dated) in index.routes_with(kind, &name) {
                    self.add_limited(index, &route.name.namespace);
                    self.verdicts.insert(verdict(route));
                    let parents = dated.value.parents.iter();
                    self.services
                        .extend(parents.map(|parent| parent.service.clone()));
                }
            }
            kind @ (Kind::HTTPRoute | Kind::GRPCRoute | Kind::TLSRoute | Kind::TCPRoute) => {
                self.add_route(index, &RouteKey { kind, name });
            }
        }
    }

    /// Adds the destinations of a Service, and those that send to it.
    fn add_backend(&mut self, index: &Index, service: &ObjectName) {
        self.services.insert(service.clone());
        for (_, route) in index.routes_to(service) {
            let parents = route.value.parents.iter();
            self.services
                .extend(parents.map(|parent| parent.service.clone()));
        }
    }

    fn add_service(&mut self, index: &Index, name: &ObjectName) {
        self.add_backend(index, name);
        let routes = index.routes_of(name).chain(index.routes_to(name));
        self.verdicts.extend(routes.map(|(key, _)| verdict(key)));
        self.add_policies(index, &name.namespace);
        self.add_limited(index, &name.namespace);
        let Some(service) = index.services.find(name) else {
            return;
        };
        let mut outside = service.value.addresses.iter();
        self.mesh |= outside.any(|address| !index.is_in_ranges(*address));
        self.addresses.extend(&service.value.addresses);
        for workload in index.workloads_within(&name.namespace) {
            if selects(&service.value.selector, &workload.labels) {
                self.add_receiver(workload);
            }
        }
    }

    /// Adds the receiving side of a workload, and calls to its own addresses.
    fn add_receiver(&mut self, workload: &Workload) {
        self.workloads.insert(workload.name.clone());
        self.addresses.extend(&workload.addresses);
    }

    /// Adds everything that reads the pod or workload `name`.
    pub(super) fn add_workload(&mut self, index: &Index, name: &ObjectName) {
        self.workloads.insert(name.clone());
        let mut slices: Vec<_> = index.slices_with(&Referent::Pod(name.clone())).collect();
        if let Some(workload) = index.workloads.find(name) {
            for (service, dated) in index.services.within(&name.namespace) {
                if selects(&dated.value.selector, &workload.value.labels) {
                    let service = ObjectName::new(name.namespace.clone(), service.clone());
                    self.add_backend(index, &service);
                }
            }
        }
        let both = [
            index.pods.find(name).map(|dated| &dated.value.workload),
            index.workloads.find(name).map(|dated| &dated.value),
        ];
        for workload in both.into_iter().flatten() {
            self.addresses.extend(&workload.addresses);
            let addresses = workload.addresses.iter();
            let mut outside = addresses.clone();
            self.mesh |= outside.any(|address| !index.is_in_ranges(*address));
            slices.extend(
                addresses.flat_map(|address| index.slices_with(&Referent::Address(*address))),
            );
        }
        for service in slices
            .into_iter()
            .filter_map(|slice| slice.service.as_ref())
        {
            self.add_backend(index, service);
        }
    }

    fn add_traffic(&mut self, index: &Index, name: &ObjectName) {
        self.add_policies(index, &name.namespace);
        let Some(policy) = index.traffic.find(name) else {
            return;
        };
        let CheckedTraffic { targets, .. } = &policy.value;
        let object = |name: &crate::name::Name, of: &ObjectName| {
            ObjectName::new(of.namespace.clone(), name.clone())
        };
        for target in targets {
            match target {
                TrafficTarget::Namespace => {
                    for (service, _) in index.services.within(&name.namespace) {
                        self.add_backend(index, &object(service, name));
                    }
                    for workload in index.workloads_within(&name.namespace) {
                        self.addresses.extend(&workload.addresses);
                    }
                }
                TrafficTarget::Service(service)
                | TrafficTarget::ServicePort(service, _)
                | TrafficTarget::ServicePortNamed(service, _) => {
                    self.add_backend(index, &object(service, name));
                }
                TrafficTarget::Route(kind, route) | TrafficTarget::Rule(kind, route, _) => {
                    let key = RouteKey {
                        kind: *kind,
                        name: object(route, name),
                    };
                    let route = index.route(&key);
                    let parents = route.iter().flat_map(|route| &route.value.parents);
                    self.services
                        .extend(parents.map(|parent| parent.service.clone()));
                }
            }
        }
    }

    /// Adds the receiving sides that a selector of `namespace` takes in; `None`: all.
    pub(super) fn add_selected(
        &mut self,
        index: &Index,
        namespace: &Namespace,
        selector: Option<&Labels>,
    ) {
        let workloads = index.workloads_within(namespace);
        let selected = workloads
            .filter(|workload| selector.is_none_or(|labels| carries(&workload.labels, labels)));
        self.workloads
            .extend(selected.map(|workload| workload.name.clone()));
    }

    /// Adds the receiving sides of `namespace` where a policy there tells requests by rules of routes.
    fn add_limited(&mut self, index: &Index, namespace: &Namespace) {
        let mut policies = index.rate_limits.within(namespace);
        if policies.any(|(_, dated)| dated.value.names_routes()) {
            self.add_selected(index, namespace, None);
        }
    }

    fn add_route(&mut self, index: &Index, key: &RouteKey) {
        self.add_limited(index, &key.name.namespace);
        self.add_policies(index, &key.name.namespace);
        let route = index.route(key);
        for parent in route.iter().flat_map(|route| &route.value.parents) {
            self.services.insert(parent.service.clone());
            let routes = index.routes_of(&parent.service);
            self.verdicts.extend(routes.map(|(key, _)| verdict(key)));
        }
    }

    /// Adds the verdicts of a namespace's policies, which tell of targets and of each other.
    fn add_policies(&mut self, index: &Index, namespace: &Namespace) {
        let policies = index.traffic.within(namespace).map(|(name, _)| {
            let name = ObjectName::new(namespace.clone(), name.clone());
            ResourceKey::namespaced(Kind::TrafficPolicy, name)
        });
        let limits = index.rate_limits.within(namespace).map(|(name, _)| {
            let name = ObjectName::new(namespace.clone(), name.clone());
            ResourceKey::namespaced(Kind::RateLimitPolicy, name)
        });
        self.verdicts.extend(policies.chain(limits));
    }
}

fn verdict(route: &RouteKey) -> ResourceKey {
    ResourceKey::namespaced(route.kind, route.name.clone())
}
