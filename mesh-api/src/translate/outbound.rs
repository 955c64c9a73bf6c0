//! Destinations: routes in force, resolved backends, merged settings.

use std::collections::BTreeMap;

use crate::model::backend::Backend;
use crate::model::destination::Destination;
use crate::model::route::{Action, Route, Rule, Target, WeightedBackend};
use crate::name::{DestinationName, Namespace, ObjectName};
use crate::translate::backend::{self, View};
use crate::translate::checked::{BackendRef, CheckedRoute, CheckedRule, RefTarget, ServicePort};
use crate::translate::index::{Dated, Index};
use crate::translate::settings::{self, RuleAt};

/// Why a backendRef does not resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BrokenRef {
    /// The reason of the condition `ResolvedRefs`.
    pub(super) reason: &'static str,
    /// In words.
    pub(super) message: String,
}

/// A destination as `consumer` sees it.
pub(super) fn destination(
    view: &View<'_>,
    name: &DestinationName,
    consumer: &Namespace,
) -> Option<Destination> {
    let (service, port) = view.index.service_port(name)?;
    let mut closure = Closure::new(view, backend::backend(view, name)?);
    let in_force = routes_in_force(view.index, name, port, consumer);
    let routes = in_force
        .into_iter()
        .map(|(route, dated)| Route {
            name: route.clone(),
            created: dated.created,
            rules: (0..)
                .zip(&dated.value.rules)
                .map(|(index, rule)| closure.rule(port, route, index, rule))
                .collect(),
        })
        .collect();
    let (timeouts, retry) = settings::exchange(view.index, name, port, None);
    Some(Destination {
        name: name.clone(),
        consumer: consumer.clone(),
        protocol: port.protocol,
        addresses: service.addresses.clone(),
        routes,
        backends: closure.backends,
        timeouts,
        retry,
    })
}

/// Routes of the Service's own namespace, unless the consumer's namespace has some of its own for
/// this port: those replace them (GAMMA, producer and consumer routes).
fn routes_in_force<'a>(
    index: &'a Index,
    name: &DestinationName,
    port: &ServicePort,
    consumer: &Namespace,
) -> Vec<(&'a ObjectName, &'a Dated<CheckedRoute>)> {
    let of = |namespace: &Namespace| -> Vec<_> {
        let routes = index
            .routes_of(&name.service)
            .filter(|(route, _)| route.namespace == *namespace);
        routes
            .filter(|(_, dated)| {
                let mut parents = dated.value.parents.iter();
                parents.any(|parent| parent.service == name.service && parent.takes_in(port))
            })
            .collect()
    };
    let consumed = of(consumer);
    if consumed.is_empty() {
        of(&name.service.namespace)
    } else {
        consumed
    }
}

/// The backends a destination needs, each once.
struct Closure<'v, 'a> {
    view: &'v View<'a>,
    name: DestinationName,
    backends: Vec<Backend>,
    places: BTreeMap<DestinationName, u32>,
}

impl<'v, 'a> Closure<'v, 'a> {
    fn new(view: &'v View<'a>, own: Backend) -> Self {
        let name = own.name.clone();
        Self {
            view,
            places: BTreeMap::from([(name.clone(), 0)]),
            name,
            backends: vec![own],
        }
    }

    fn rule(
        &mut self,
        port: &ServicePort,
        route: &ObjectName,
        index: u32,
        rule: &CheckedRule,
    ) -> Rule {
        let action = match &rule.redirect {
            Some(redirect) => Action::Redirect(redirect.clone()),
            None => Action::Forward {
                backends: rule
                    .backends
                    .iter()
                    .map(|reference| self.weighted(route, reference))
                    .collect(),
                rewrite: rule.rewrite.clone(),
            },
        };
        let at = RuleAt { route, index, rule };
        let (timeouts, retry) = settings::exchange(self.view.index, &self.name, port, Some(&at));
        Rule {
            name: rule.name.clone(),
            index,
            matches: rule.matches.clone(),
            request_headers: rule.request_headers.clone(),
            response_headers: rule.response_headers.clone(),
            action,
            timeouts,
            retry,
        }
    }

    fn weighted(&mut self, route: &ObjectName, reference: &BackendRef) -> WeightedBackend {
        let target = match resolve(self.view.index, route, &self.name.service, reference) {
            Ok(name) => self.place(name),
            Err(broken) => Target::Broken {
                reason: broken.message,
            },
        };
        WeightedBackend {
            weight: reference.weight,
            target,
            request_headers: reference.request_headers.clone(),
            response_headers: reference.response_headers.clone(),
        }
    }

    fn place(&mut self, name: &DestinationName) -> Target {
        if let Some(place) = self.places.get(name) {
            return Target::Backend(*place);
        }
        let place = u32::try_from(self.backends.len()).ok();
        match place.zip(backend::backend(self.view, name)) {
            Some((place, backend)) => {
                self.backends.push(backend);
                self.places.insert(name.clone(), place);
                Target::Backend(place)
            }
            None => Target::Broken {
                reason: format!("Service {} not found", name.service),
            },
        }
    }
}

/// The destination that a backendRef names. One in another namespace needs a ReferenceGrant, except
/// the route's own parent: whoever may route to it may also send to it.
pub(super) fn resolve<'r>(
    index: &Index,
    route: &ObjectName,
    parent: &ObjectName,
    reference: &'r BackendRef,
) -> Result<&'r DestinationName, BrokenRef> {
    let broken = |reason, message| Err(BrokenRef { reason, message });
    let name = match &reference.target {
        RefTarget::Other(kind) => {
            return broken(
                "InvalidKind",
                format!("a backend of kind {kind} is not supported"),
            );
        }
        RefTarget::Service(name) => name,
    };
    let DestinationName { service, port } = name;
    if service.namespace != route.namespace && service != parent {
        return broken(
            "RefNotPermitted",
            format!("Service {service} is in another namespace and no ReferenceGrant permits it"),
        );
    }
    let Some(found) = index.services.find(service) else {
        return broken("BackendNotFound", format!("Service {service} not found"));
    };
    if !found.value.ports.iter().any(|known| known.port == *port) {
        return broken(
            "BackendNotFound",
            format!("Service {service} has no port {port}"),
        );
    }
    Ok(name)
}
