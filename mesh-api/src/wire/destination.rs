//! A destination: its own fields; its parts are in `route`, `backend` and `policy`.

use std::collections::BTreeSet;

use crate::error::Faults;
use crate::model::destination::{Destination, Protocol};
use crate::model::path::{PathMatch, TextMatch};
use crate::model::route::Route;
use crate::wire::generated as wire;
use crate::wire::{affinity, backend, connection, fault, policy, read, route};

pub(super) fn write(from: &Destination) -> wire::Destination {
    wire::Destination {
        name: from.name.to_string(),
        consumer: from.consumer.to_string(),
        protocol: write_protocol(from.protocol).into(),
        addresses: from.addresses.iter().map(ToString::to_string).collect(),
        routes: from.routes.iter().map(route::write).collect(),
        connection_routes: from
            .connection_routes
            .iter()
            .map(connection::write)
            .collect(),
        backends: from.backends.iter().map(backend::write).collect(),
        timeouts: Some(policy::write_timeouts(&from.timeouts)),
        retry: Some(policy::write_retry(&from.retry)),
        faults: from.faults.iter().map(fault::write).collect(),
        own_faults: from.own_faults,
        stickiness: affinity::write(from.stickiness.as_ref()),
    }
}

pub(super) fn read(from: &wire::Destination, faults: &mut Faults) -> Option<Destination> {
    let name = read::text("name", &from.name, faults);
    let consumer = read::text("consumer", &from.consumer, faults);
    let protocol = read::choice("protocol", from.protocol, faults, read_protocol);
    let addresses = read::list(
        "addresses",
        &from.addresses,
        MAX_ADDRESSES,
        faults,
        |text, f| f.take(text.parse()),
    );
    let count = from.backends.len();
    let routes = read::list("routes", &from.routes, MAX_ROUTES, faults, |m, f| {
        route::read(m, count, f)
    });
    let connection_routes = read::list(
        "connectionRoutes",
        &from.connection_routes,
        MAX_ROUTES,
        faults,
        |m, f| connection::read(m, count, f),
    );
    let backends = read::list(
        "backends",
        &from.backends,
        MAX_BACKENDS,
        faults,
        backend::read,
    );
    let timeouts = policy::read_timeouts(from.timeouts.as_ref(), faults);
    let retry = policy::read_retry(from.retry.as_ref(), faults);
    let injected = read::list("faults", &from.faults, MAX_LISTS, faults, fault::read);
    let stickiness = affinity::read(from.stickiness.as_ref(), faults);
    let read = Destination {
        name: name?,
        consumer: consumer?,
        protocol: protocol?,
        addresses: addresses?,
        routes: routes?,
        connection_routes: connection_routes?,
        backends: backends?,
        timeouts: timeouts?,
        retry: retry?,
        faults: injected?,
        own_faults: from.own_faults,
        stickiness: stickiness?,
    };
    check_faults(&read, faults);
    check_backends(&read, faults);
    check_expressions(&read, faults);
    Some(read)
}

fn check_backends(destination: &Destination, faults: &mut Faults) {
    faults.field("backends", |f| {
        match destination.backends.first() {
            None => f.refuse("is empty"),
            Some(own) if own.name != destination.name => {
                f.refuse(format!(
                    "start with {}, not with the destination's own",
                    own.name
                ));
            }
            Some(_) => {}
        }
        let mut names = BTreeSet::new();
        for (at, backend) in destination.backends.iter().enumerate() {
            if !names.insert(&backend.name) {
                f.index(at, |f| f.refuse(format!("{} comes twice", backend.name)));
            }
        }
    });
}

fn check_faults(destination: &Destination, faults: &mut Faults) {
    let count = destination.faults.len();
    let is_there = |place: &u32| usize::try_from(*place).is_ok_and(|place| place < count);
    let rules = destination.routes.iter().flat_map(|route| &route.rules);
    let mut named = rules
        .filter_map(|rule| rule.faults)
        .chain(destination.own_faults);
    if !named.all(|place| is_there(&place)) {
        faults.field("faults", |f| {
            f.refuse(format!("are {count}, and one beyond them is named"));
        });
    }
}

/// A compiled expression may take up to `path::REGEX_SIZE_LIMIT` bytes: their number is bounded.
fn check_expressions(destination: &Destination, faults: &mut Faults) {
    let of_faults: usize = destination.faults.iter().map(fault::expressions).sum();
    refuse_expressions(
        "routes",
        expressions(&destination.routes) + of_faults,
        faults,
    );
}

/// Refuses more regular expressions than a proxy holds of one entry.
pub(super) fn refuse_expressions(field: &str, count: usize, faults: &mut Faults) {
    if count > MAX_EXPRESSIONS {
        faults.field(field, |f| {
            f.refuse(format!(
                "hold {count} regular expressions, more than {MAX_EXPRESSIONS}"
            ));
        });
    }
}

/// How many regular expressions routes hold.
pub(super) fn expressions(routes: &[Route]) -> usize {
    let rules = routes.iter().flat_map(|route| &route.rules);
    let matches = rules.clone().flat_map(|rule| &rule.matches);
    let expression = |value: &TextMatch| matches!(value, TextMatch::RegularExpression(_));
    let count: usize = matches
        .map(|conditions| {
            let path = match &conditions.path {
                PathMatch::RegularExpression(_) => 1,
                PathMatch::Call(call) => {
                    let parts = [&call.service, &call.method].into_iter().flatten();
                    parts.filter(|part| expression(part)).count()
                }
                PathMatch::Exact(_) | PathMatch::Prefix(_) => 0,
            };
            let headers = conditions.headers.iter().filter(|h| expression(&h.value));
            let query = conditions.query.iter().filter(|q| expression(&q.value));
            path + headers.count() + query.count()
        })
        .sum();
    let narrowings = rules.flat_map(|rule| &rule.narrowings);
    let cookies = narrowings.filter_map(|one| one.cookie.as_ref()?.value.as_ref());
    count + cookies.filter(|value| expression(value)).count()
}

pub(super) fn write_protocol(protocol: Protocol) -> wire::Protocol {
    match protocol {
        Protocol::Http => wire::Protocol::Http,
        Protocol::Http2 => wire::Protocol::Http2,
        Protocol::Grpc => wire::Protocol::Grpc,
        Protocol::Tls => wire::Protocol::Tls,
        Protocol::Tcp => wire::Protocol::Tcp,
        Protocol::Detect => wire::Protocol::Detect,
    }
}

pub(super) fn read_protocol(protocol: wire::Protocol) -> Option<Protocol> {
    match protocol {
        wire::Protocol::Unspecified => None,
        wire::Protocol::Http => Some(Protocol::Http),
        wire::Protocol::Http2 => Some(Protocol::Http2),
        wire::Protocol::Grpc => Some(Protocol::Grpc),
        wire::Protocol::Tls => Some(Protocol::Tls),
        wire::Protocol::Tcp => Some(Protocol::Tcp),
        wire::Protocol::Detect => Some(Protocol::Detect),
    }
}

const MAX_ADDRESSES: usize = 64;
const MAX_ROUTES: usize = 1024;
const MAX_LISTS: usize = 1024;
const MAX_BACKENDS: usize = 4096;
const MAX_EXPRESSIONS: usize = 512;
