//! Which limits a workload keeps: `RateLimitPolicy`s of its namespace, by what they target.
//!
//! A policy for a route reaches the workloads that its rules send to. What tells the rule of a request there
//! are the routes of the Service as callers of its own namespace see them: matches alone are sent.

use crate::model::origin::Sourced;
use crate::model::policy::ExchangeTimeouts;
use crate::model::ratelimit::{RateLimiting, Reach, ReceivedRoutes, RuleReach};
use crate::model::route::{Action, HeaderChanges, Route, RouteKind, Rule};
use crate::model::workload::Workload;
use crate::name::{DestinationName, Name, Namespace, ObjectName, Port};
use crate::resource::Kind;
use crate::translate::backend::{app_port, carries, selects};
use crate::translate::checked::{
    CheckedRoute, CheckedRule, RateTargets, RefTarget, ServicePort, TrafficTarget,
};
use crate::translate::conflict;
use crate::translate::extension;
use crate::translate::index::{Dated, Index, RouteKey};

/// The policies that apply to `workload`, by name, and the routes that they need.
pub(super) fn of_workload(
    index: &Index,
    workload: &Workload,
) -> (Vec<RateLimiting>, Vec<ReceivedRoutes>) {
    let namespace = &workload.name.namespace;
    let mut finder = Finder {
        index,
        workload,
        routings: Vec::new(),
    };
    let mut found = Vec::new();
    for (name, dated) in index.rate_limits.within(namespace) {
        let policy = &dated.value;
        let mut reach = match &policy.targets {
            RateTargets::Workloads(labels) if carries(&workload.labels, labels) => {
                vec![Reach::Workload]
            }
            RateTargets::Workloads(_) => Vec::new(),
            RateTargets::Objects(targets) => {
                let each = targets.iter().map(|target| finder.reach(target));
                each.collect::<Vec<_>>().concat()
            }
        };
        reach.sort();
        reach.dedup();
        if !reach.is_empty() {
            found.push(RateLimiting {
                policy: ObjectName::new(namespace.clone(), name.clone()),
                reach,
                limits: policy.limits.clone(),
                connections: policy.connections,
            });
        }
    }
    (found, finder.routings)
}

/// Why a receiver cannot tell the requests of a target, as a sentence.
pub(super) fn unknowable(
    index: &Index,
    namespace: &Namespace,
    target: &TrafficTarget,
) -> Option<String> {
    let (kind, name, rule) = match target {
        TrafficTarget::Route(kind, name) => (*kind, name, None),
        TrafficTarget::Rule(kind, name, rule) => (*kind, name, Some(rule)),
        _ => return None,
    };
    let name = ObjectName::new(namespace.clone(), name.clone());
    let route = index.route(&RouteKey {
        kind,
        name: name.clone(),
    })?;
    let rules = (0..).zip(&route.value.rules);
    let mut named = rules.filter(|(_, found)| rule.is_none_or(|rule| is_named(found, rule)));
    named.find_map(|(place, found): (usize, _)| {
        let rewrites = found.backends.iter().map(|one| one.rewrite.as_ref());
        let mut rewrites = rewrites.chain([found.rewrite.as_ref()]).flatten();
        let why = if rewrites.any(|rewrite| rewrite.path.is_some()) {
            "rewrites the path"
        } else if asks_for_labels(index, namespace, found) {
            "asks for labels of the caller"
        } else {
            return None;
        };
        Some(format!(
            "{kind} {name} spec.rules[{place}] {why}: a receiver cannot tell its requests; target the Service"
        ))
    })
}

fn asks_for_labels(index: &Index, namespace: &Namespace, rule: &CheckedRule) -> bool {
    let extensions = extension::resolve(index, namespace, rule);
    let narrowings = extensions.map_or_else(|_| Vec::new(), |found| found.narrowings);
    let mut narrowings = narrowings.iter();
    narrowings.any(|one| !one.sources.labels.is_empty())
}

fn is_named(rule: &CheckedRule, name: &Name) -> bool {
    rule.name.as_ref() == Some(name)
}

struct Finder<'a> {
    index: &'a Index,
    workload: &'a Workload,
    routings: Vec<ReceivedRoutes>,
}

impl Finder<'_> {
    /// What of the workload a target reaches.
    fn reach(&mut self, target: &TrafficTarget) -> Vec<Reach> {
        match target {
            TrafficTarget::Namespace => vec![Reach::Workload],
            TrafficTarget::Service(name) => self.of_service(name, |_| true),
            TrafficTarget::ServicePort(name, number) => {
                self.of_service(name, |port| port.port == *number)
            }
            TrafficTarget::ServicePortNamed(name, text) => {
                self.of_service(name, |port| port.name == *text)
            }
            TrafficTarget::Route(kind, name) => self.of_route(*kind, name, None),
            TrafficTarget::Rule(kind, name, rule) => self.of_route(*kind, name, Some(rule)),
        }
    }

    fn own(&self, name: &Name) -> ObjectName {
        ObjectName::new(self.workload.name.namespace.clone(), name.clone())
    }

    fn of_service(&self, name: &Name, takes: impl Fn(&ServicePort) -> bool) -> Vec<Reach> {
        let Some(service) = self.index.services.find(&self.own(name)) else {
            return Vec::new();
        };
        if !selects(&service.value.selector, &self.workload.labels) {
            return Vec::new();
        }
        let ports = service.value.ports.iter().filter(|port| takes(port));
        let ports = ports.filter_map(|port| app_port(self.workload, port));
        ports.map(Reach::Port).collect()
    }

    fn of_route(&mut self, kind: Kind, name: &Name, rule: Option<&Name>) -> Vec<Reach> {
        let index = self.index;
        let key = RouteKey {
            kind,
            name: self.own(name),
        };
        let Some(route) = index.route(&key) else {
            return Vec::new();
        };
        let ports = self.ports_of(&route.value, rule);
        if ports.is_empty() {
            return Vec::new();
        }
        let mut reach = Vec::new();
        for routing in self.routings_of(&route.value) {
            reach.extend(ports.iter().map(|port| {
                Reach::Rules(RuleReach {
                    port: *port,
                    routing,
                    kind: kind_of(kind),
                    route: key.name.clone(),
                    rule: rule.cloned(),
                })
            }));
        }
        reach
    }

    /// The workload's ports that rules of a route send to.
    fn ports_of(&self, route: &CheckedRoute, rule: Option<&Name>) -> Vec<Port> {
        let rules = route.rules.iter();
        let rules = rules.filter(|found| rule.is_none_or(|rule| is_named(found, rule)));
        let backends = rules.flat_map(|found| &found.backends);
        let names = backends.filter_map(|backend| match &backend.target {
            RefTarget::Service(name) => Some(name),
            RefTarget::Other(_) => None,
        });
        let own = names.filter(|name| name.service.namespace == self.workload.name.namespace);
        own.filter_map(|name| {
            let (service, port) = self.index.service_port(name)?;
            let is_of = selects(&service.selector, &self.workload.labels);
            is_of.then(|| app_port(self.workload, port)).flatten()
        })
        .collect()
    }

    /// The places of the routes of each port that `route` decides at.
    fn routings_of(&mut self, route: &CheckedRoute) -> Vec<u32> {
        let mut places = Vec::new();
        for parent in &route.parents {
            let Some(service) = self.index.services.find(&parent.service) else {
                continue;
            };
            let ports = service.value.ports.iter();
            for port in ports.filter(|port| parent.takes_in(port)) {
                let name = DestinationName::new(parent.service.clone(), port.port);
                places.extend(self.place(name, port));
            }
        }
        places
    }

    fn place(&mut self, destination: DestinationName, port: &ServicePort) -> Option<u32> {
        let mut held = self.routings.iter();
        let place = held.position(|held| held.destination == destination);
        let place = place.unwrap_or_else(|| {
            let namespace = &self.workload.name.namespace;
            let routes = conflict::in_force(self.index, &destination, port, namespace);
            let routes = routes.into_iter();
            let routes = routes.filter_map(|(key, dated)| stripped(self.index, key, dated));
            self.routings.push(ReceivedRoutes {
                routes: routes.collect(),
                destination,
            });
            self.routings.len() - 1
        });
        u32::try_from(place).ok()
    }
}

fn kind_of(kind: Kind) -> RouteKind {
    match kind {
        Kind::GRPCRoute => RouteKind::Grpc,
        _ => RouteKind::Http,
    }
}

/// A route of requests with what tells its rules apart, and nothing else.
fn stripped(index: &Index, key: &RouteKey, dated: &Dated<CheckedRoute>) -> Option<Route> {
    if !matches!(key.kind, Kind::HTTPRoute | Kind::GRPCRoute) {
        return None;
    }
    let rules = (0..).zip(&dated.value.rules).map(|(place, rule)| {
        let extensions = extension::resolve(index, &key.name.namespace, rule);
        Rule {
            name: rule.name.clone(),
            index: place,
            matches: rule.matches.clone(),
            narrowings: extensions.map_or_else(|_| Vec::new(), |found| found.narrowings),
            cors: None,
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            action: Action::Forward {
                backends: Vec::new(),
                rewrite: None,
            },
            timeouts: ExchangeTimeouts::default(),
            retry: Sourced::default(),
            faults: None,
            mirrors: Vec::new(),
            mirroring: Sourced::default(),
            stickiness: None,
        }
    });
    Some(Route {
        kind: kind_of(key.kind),
        name: key.name.clone(),
        created: dated.created,
        rules: rules.collect(),
    })
}
