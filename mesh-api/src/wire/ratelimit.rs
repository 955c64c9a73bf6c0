//! How much a workload takes.

use std::time::Duration;

use crate::error::Faults;
use crate::model::ratelimit::{
    KeyPart, Rate, RateLimit, RateLimiting, Reach, ReceivedRoutes, RuleReach,
};
use crate::model::route::RouteKind;
use crate::name::Port;
use crate::wire::generated as wire;
use crate::wire::generated::{rate_part, reach};
use crate::wire::{destination, fault, read, route};

pub(super) fn write(from: &RateLimiting) -> wire::RateLimiting {
    wire::RateLimiting {
        policy: from.policy.to_string(),
        reach: from.reach.iter().map(write_reach).collect(),
        limits: from.limits.iter().map(write_limit).collect(),
        connections: from.connections.map(write_rate),
    }
}

pub(super) fn write_routes(from: &ReceivedRoutes) -> wire::ReceivedRoutes {
    wire::ReceivedRoutes {
        destination: from.destination.to_string(),
        routes: from.routes.iter().map(route::write).collect(),
    }
}

/// Both lists of an entry, which belong together.
pub(super) fn read_all(
    from: &wire::Inbound,
    faults: &mut Faults,
) -> (Option<Vec<RateLimiting>>, Option<Vec<ReceivedRoutes>>) {
    let routes = &from.received_routes;
    let received = read::list("receivedRoutes", routes, MAX_ROUTINGS, faults, |m, f| {
        let destination = read::text("destination", &m.destination, f);
        let routes = read::list("routes", &m.routes, MAX_ROUTES, f, |m, f| {
            route::read(m, 0, f)
        });
        Some(ReceivedRoutes {
            destination: destination?,
            routes: routes?,
        })
    });
    let count = routes.len();
    let limits = read::list(
        "rateLimits",
        &from.rate_limits,
        MAX_POLICIES,
        faults,
        |m, f| read(m, count, f),
    );
    let lists = limits.iter().flatten().flat_map(|one| &one.limits);
    let matches = lists.flat_map(|limit| &limit.matches);
    let of_routes = received.iter().flatten();
    let of_routes: usize = of_routes
        .map(|one| destination::expressions(&one.routes))
        .sum();
    let expressions = fault::expressions_of(matches) + of_routes;
    destination::refuse_expressions("rateLimits", expressions, faults);
    (limits, received)
}

fn read(from: &wire::RateLimiting, routings: usize, faults: &mut Faults) -> Option<RateLimiting> {
    let policy = read::text("policy", &from.policy, faults);
    let reach = read::list("reach", &from.reach, MAX_REACH, faults, |m, f| {
        read_reach(m, routings, f)
    });
    let most = RateLimit::MAX_LISTED;
    let limits = read::list("limits", &from.limits, most, faults, read_limit);
    let connections = match &from.connections {
        None => Some(None),
        Some(rate) => faults.field("connections", |f| read_rate(rate, f).map(Some)),
    };
    Some(RateLimiting {
        policy: policy?,
        reach: reach?,
        limits: limits?,
        connections: connections?,
    })
}

fn write_reach(from: &Reach) -> wire::Reach {
    let kind = match from {
        Reach::Workload => reach::Kind::Workload(true),
        Reach::Port(port) => reach::Kind::Port((*port).into()),
        Reach::Rules(rules) => reach::Kind::Rules(wire::RuleReach {
            port: rules.port.into(),
            routing: rules.routing,
            kind: match rules.kind {
                RouteKind::Http => wire::RouteKind::Http,
                RouteKind::Grpc => wire::RouteKind::Grpc,
            }
            .into(),
            route: rules.route.to_string(),
            rule: rules
                .rule
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
        }),
    };
    wire::Reach { kind: Some(kind) }
}

fn read_reach(from: &wire::Reach, routings: usize, faults: &mut Faults) -> Option<Reach> {
    let port =
        |number, faults: &mut Faults| faults.field("port", |f| f.take(Port::try_from(number)));
    match read::required("kind", from.kind.as_ref(), faults)? {
        reach::Kind::Workload(_) => Some(Reach::Workload),
        reach::Kind::Port(number) => port(*number, faults).map(Reach::Port),
        reach::Kind::Rules(rules) => {
            let kind = read::choice("kind", rules.kind, faults, |kind| {
                Some(match kind {
                    wire::RouteKind::Http => RouteKind::Http,
                    wire::RouteKind::Grpc => RouteKind::Grpc,
                })
            });
            let known = usize::try_from(rules.routing).is_ok_and(|place| place < routings);
            if !known {
                faults.field("routing", |f| {
                    f.refuse(format!("{} is not one of {routings}", rules.routing));
                });
            }
            let port = port(rules.port, faults);
            let route = read::text("route", &rules.route, faults);
            let rule = read::optional("rule", &rules.rule, faults);
            Some(Reach::Rules(RuleReach {
                port: port?,
                routing: rules.routing,
                kind: kind?,
                route: route?,
                rule: rule?,
            }))
        }
    }
}

fn write_limit(from: &RateLimit) -> wire::RateLimit {
    wire::RateLimit {
        place: from.place,
        name: from.name.to_string(),
        rate: Some(write_rate(from.rate)),
        by: from.by.iter().map(write_part).collect(),
        matches: from.matches.iter().map(fault::write_match).collect(),
        status: from.status.into(),
    }
}

fn read_limit(from: &wire::RateLimit, faults: &mut Faults) -> Option<RateLimit> {
    let name = read::text("name", &from.name, faults);
    let rate = read::required("rate", from.rate.as_ref(), faults);
    let rate = rate.and_then(|rate| faults.field("rate", |f| read_rate(rate, f)));
    let by = read::list("by", &from.by, RateLimit::MAX_PARTS, faults, read_part);
    let most = RateLimit::MAX_MATCHES;
    let matches = read::list("matches", &from.matches, most, faults, fault::read_match);
    let status = read::number("status", from.status, 400..=599u16, faults);
    Some(RateLimit {
        place: from.place,
        name: name?,
        rate: rate?,
        by: by?,
        matches: matches?,
        status: status?,
    })
}

fn write_part(from: &KeyPart) -> wire::RatePart {
    let kind = match from {
        KeyPart::Identity => rate_part::Kind::Identity(true),
        KeyPart::Header(name) => rate_part::Kind::Header(name.to_string()),
        KeyPart::SourceIp => rate_part::Kind::SourceIp(true),
    };
    wire::RatePart { kind: Some(kind) }
}

fn read_part(from: &wire::RatePart, faults: &mut Faults) -> Option<KeyPart> {
    match read::required("kind", from.kind.as_ref(), faults)? {
        rate_part::Kind::Identity(_) => Some(KeyPart::Identity),
        rate_part::Kind::Header(name) => read::text("header", name, faults).map(KeyPart::Header),
        rate_part::Kind::SourceIp(_) => Some(KeyPart::SourceIp),
    }
}

fn write_rate(from: Rate) -> wire::Rate {
    wire::Rate {
        requests: from.requests(),
        per_nanos: read::nanos(from.per()),
        burst: from.burst(),
    }
}

fn read_rate(from: &wire::Rate, faults: &mut Faults) -> Option<Rate> {
    let per = Duration::from_nanos(from.per_nanos);
    faults.take(Rate::new(from.requests, per, from.burst))
}

/// Policies of a workload; its regular expressions are bounded together.
const MAX_POLICIES: usize = 256;
const MAX_REACH: usize = 4096;
const MAX_ROUTINGS: usize = 1024;
const MAX_ROUTES: usize = 1024;
