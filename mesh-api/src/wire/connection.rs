//! A route of connections.

use crate::error::Faults;
use crate::model::connection::{
    ConnectionBackend, ConnectionRoute, ConnectionRouteKind, ConnectionRule,
};
use crate::name::Hostname;
use crate::wire::generated as wire;
use crate::wire::generated::connection_backend;
use crate::wire::{policy, read, route};

pub(super) fn write(from: &ConnectionRoute) -> wire::ConnectionRoute {
    let kind = match from.kind {
        ConnectionRouteKind::Tls => wire::ConnectionRouteKind::Tls,
        ConnectionRouteKind::Tcp => wire::ConnectionRouteKind::Tcp,
    };
    let backends = from
        .rule
        .backends
        .iter()
        .map(|backend| wire::ConnectionBackend {
            weight: backend.weight,
            target: Some(match route::write_target(&backend.target) {
                Ok(index) => connection_backend::Target::Backend(index),
                Err(reason) => connection_backend::Target::Broken(reason),
            }),
        });
    wire::ConnectionRoute {
        name: from.name.to_string(),
        created: from.created,
        kind: kind.into(),
        hostnames: from.hostnames.iter().map(ToString::to_string).collect(),
        rule: Some(wire::ConnectionRule {
            name: from
                .rule
                .name
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            backends: backends.collect(),
            retry: Some(policy::write_retry(&from.rule.retry)),
        }),
    }
}

/// Reads a route of a destination with `backends` backends.
pub(super) fn read(
    from: &wire::ConnectionRoute,
    backends: usize,
    faults: &mut Faults,
) -> Option<ConnectionRoute> {
    let name = read::text("name", &from.name, faults);
    let kind = read::choice("kind", from.kind, faults, |value| match value {
        wire::ConnectionRouteKind::Unspecified => None,
        wire::ConnectionRouteKind::Tls => Some(ConnectionRouteKind::Tls),
        wire::ConnectionRouteKind::Tcp => Some(ConnectionRouteKind::Tcp),
    });
    let hostnames = read::list(
        "hostnames",
        &from.hostnames,
        MAX_HOSTNAMES,
        faults,
        |text, f| f.take(text.parse::<Hostname>()),
    );
    let by_name = kind == Some(ConnectionRouteKind::Tls);
    if by_name == from.hostnames.is_empty() {
        faults.field("hostnames", |f| {
            f.refuse("belong to a TLSRoute, which has at least one");
        });
    }
    let rule = read::required("rule", from.rule.as_ref(), faults)
        .and_then(|rule| faults.field("rule", |f| read_rule(rule, backends, f)));
    Some(ConnectionRoute {
        kind: kind?,
        name: name?,
        created: from.created,
        hostnames: hostnames?,
        rule: rule?,
    })
}

fn read_rule(
    from: &wire::ConnectionRule,
    backends: usize,
    faults: &mut Faults,
) -> Option<ConnectionRule> {
    let name = read::optional("name", &from.name, faults);
    let weighted = read::list("backends", &from.backends, MAX_WEIGHTED, faults, |m, f| {
        let weight = read::number("weight", m.weight, 0..=1_000_000, f);
        let target =
            read::required("target", m.target.as_ref(), f).and_then(|target| match target {
                connection_backend::Target::Backend(index) => {
                    route::read_index(*index, backends, f)
                }
                connection_backend::Target::Broken(reason) => route::read_broken(reason, f),
            });
        Some(ConnectionBackend {
            weight: weight?,
            target: target?,
        })
    });
    let retry = policy::read_retry(from.retry.as_ref(), faults);
    Some(ConnectionRule {
        name: name?,
        backends: weighted?,
        retry: retry?,
    })
}

const MAX_HOSTNAMES: usize = 1024;
const MAX_WEIGHTED: usize = 256;
