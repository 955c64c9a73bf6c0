//! Destinations: routes in force, resolved backends, merged settings.

use std::collections::BTreeMap;

use crate::model::backend::Backend;
use crate::model::connection::{
    ConnectionBackend, ConnectionRoute, ConnectionRouteKind, ConnectionRule,
};
use crate::model::destination::Destination;
use crate::model::fault::Fault;
use crate::model::mirror::Mirror;
use crate::model::origin::Sourced;
use crate::model::route::{Action, Route, RouteKind, Rule, Target, WeightedBackend};
use crate::name::{DestinationName, Namespace, ObjectName};
use crate::resource::Kind;
use crate::translate::backend::{self, View};
use crate::translate::checked::{
    BackendRef, BrokenRef, CheckedRoute, CheckedRule, RefTarget, ServicePort,
};
use crate::translate::conflict;
use crate::translate::extension;
use crate::translate::index::{Dated, Index, RouteKey};
use crate::translate::settings::{self, RuleAt};

/// A destination as `consumer` sees it.
pub(super) fn destination(
    view: &View<'_>,
    name: &DestinationName,
    consumer: &Namespace,
) -> Option<Destination> {
    let (service, port) = view.index.service_port(name)?;
    let mut closure = Closure::new(view, backend::backend(view, name)?);
    let (mut routes, mut connection_routes) = (Vec::new(), Vec::new());
    for (key, dated) in conflict::in_force(view.index, name, port, consumer) {
        match key.kind {
            Kind::TLSRoute => {
                let route = closure.connections(port, key, dated, ConnectionRouteKind::Tls);
                connection_routes.extend(route);
            }
            Kind::TCPRoute => {
                let route = closure.connections(port, key, dated, ConnectionRouteKind::Tcp);
                connection_routes.extend(route);
            }
            Kind::GRPCRoute => {
                routes.push(closure.requests(port, key, dated, RouteKind::Grpc));
            }
            _ => routes.push(closure.requests(port, key, dated, RouteKind::Http)),
        }
    }
    let (timeouts, retry) = settings::exchange(view.index, name, port, None);
    let own_faults = closure.place_faults(settings::faults(view.index, name, port, None));
    Some(Destination {
        name: name.clone(),
        consumer: consumer.clone(),
        protocol: port.protocol,
        addresses: service.addresses.clone(),
        routes,
        connection_routes,
        backends: closure.backends,
        timeouts,
        retry,
        faults: closure.faults,
        own_faults,
        stickiness: settings::stickiness(view.index, name, port, None),
    })
}

/// The backends a destination needs, each once.
struct Closure<'v, 'a> {
    view: &'v View<'a>,
    name: DestinationName,
    backends: Vec<Backend>,
    places: BTreeMap<DestinationName, u32>,
    faults: Vec<Sourced<Vec<Fault>>>,
}

impl<'v, 'a> Closure<'v, 'a> {
    fn new(view: &'v View<'a>, own: Backend) -> Self {
        let name = own.name.clone();
        Self {
            view,
            places: BTreeMap::from([(name.clone(), 0)]),
            name,
            backends: vec![own],
            faults: Vec::new(),
        }
    }

    fn requests(
        &mut self,
        port: &ServicePort,
        key: &RouteKey,
        dated: &Dated<CheckedRoute>,
        kind: RouteKind,
    ) -> Route {
        let rules = (0..).zip(&dated.value.rules);
        Route {
            kind,
            name: key.name.clone(),
            created: dated.created,
            rules: rules
                .map(|(index, rule)| self.rule(port, key, index, rule))
                .collect(),
        }
    }

    fn connections(
        &mut self,
        port: &ServicePort,
        key: &RouteKey,
        dated: &Dated<CheckedRoute>,
        kind: ConnectionRouteKind,
    ) -> Option<ConnectionRoute> {
        let rule = dated.value.rules.first()?;
        let at = RuleAt {
            route: key,
            index: 0,
            rule,
        };
        let backends = rule.backends.iter().map(|reference| ConnectionBackend {
            weight: reference.weight,
            target: self.target(key, reference),
        });
        Some(ConnectionRoute {
            kind,
            name: key.name.clone(),
            created: dated.created,
            hostnames: dated.value.hostnames.clone(),
            rule: ConnectionRule {
                name: rule.name.clone(),
                backends: backends.collect(),
                retry: settings::exchange(self.view.index, &self.name, port, Some(&at)).1,
            },
        })
    }

    fn rule(
        &mut self,
        port: &ServicePort,
        route: &RouteKey,
        index: u32,
        rule: &CheckedRule,
    ) -> Rule {
        let all = self.view.index;
        let extensions = extension::resolve(all, &route.name.namespace, rule);
        let (narrowings, answer) = match extensions {
            Ok(extensions) => (
                extensions.narrowings,
                extensions.answer.map(Action::Respond),
            ),
            Err(broken) => {
                let reason = broken.message;
                (Vec::new(), Some(Action::Broken { reason }))
            }
        };
        let action = match (answer, &rule.redirect) {
            (Some(answer), _) => answer,
            (None, Some(redirect)) => Action::Redirect(redirect.clone()),
            (None, None) => Action::Forward {
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
        let faults = settings::faults(self.view.index, &self.name, port, Some(&at));
        Rule {
            name: rule.name.clone(),
            index,
            matches: rule.matches.clone(),
            narrowings,
            cors: rule.cors.clone(),
            request_headers: rule.request_headers.clone(),
            response_headers: rule.response_headers.clone(),
            action,
            timeouts,
            retry,
            faults: self.place_faults(faults),
            mirroring: if rule.mirrors.is_empty() {
                Sourced::default()
            } else {
                settings::mirroring(self.view.index, &self.name, port, &at)
            },
            mirrors: rule
                .mirrors
                .iter()
                .map(|mirror| Mirror {
                    target: self.target(route, &mirror.reference),
                    share: mirror.share,
                })
                .collect(),
            stickiness: settings::stickiness(self.view.index, &self.name, port, Some(&at)),
        }
    }

    /// The place of a list of faults, which most rules share.
    fn place_faults(&mut self, list: Sourced<Vec<Fault>>) -> Option<u32> {
        if list.value.is_empty() {
            return None;
        }
        let held = self.faults.iter().position(|held| *held == list);
        let place = held.unwrap_or_else(|| {
            self.faults.push(list);
            self.faults.len() - 1
        });
        u32::try_from(place).ok()
    }

    fn weighted(&mut self, route: &RouteKey, reference: &BackendRef) -> WeightedBackend {
        WeightedBackend {
            weight: reference.weight,
            target: self.target(route, reference),
            request_headers: reference.request_headers.clone(),
            response_headers: reference.response_headers.clone(),
            rewrite: reference.rewrite.clone(),
            redirect: reference.redirect.clone(),
        }
    }

    fn target(&mut self, route: &RouteKey, reference: &BackendRef) -> Target {
        match resolve(self.view.index, &route.name, &self.name.service, reference) {
            Ok(name) => self.place(name),
            Err(broken) => Target::Broken {
                reason: broken.message,
            },
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
