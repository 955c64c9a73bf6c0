//! Limits of the receiving side: which of them a request meets, its key in each, and whether it passes.
//!
//! A request passes if every limit that it meets has room; one that is refused takes nothing from any.
//! Buckets live with whoever asks, and time comes from there: see [`Buckets`]. May use `model`, `snapshot`
//! and [`super::route`].

pub mod bucket;
mod fields;

use std::fmt;
use std::hash::Hasher;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;

use serde::Serialize;

use crate::decide::{HeaderFields, Request, route};
use crate::explain::Silent;
use crate::model::fault::FaultMatch;
use crate::model::inbound::Inbound;
use crate::model::ratelimit::{KeyPart, Rate, RateLimit, RateLimiting, Reach, RuleReach};
use crate::name::{Identity, Namespace, ObjectName, Port};
use crate::snapshot::{LimitTable, RateLimitTable};
use bucket::Room;
pub use fields::{RATE_LIMIT, RATE_LIMIT_POLICY, RateFields, retry_after_ms, retry_after_secs};

/// The `reason` of `mesh-error`, metrics and logs.
pub const REASON: &str = "rate-limited";

/// The namespace of a caller in the clear where a rule asks for namespaces: the prefix `kube-` belongs to
/// Kubernetes, so that nobody has it.
static NOBODY: LazyLock<Namespace> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the text is a namespace")]
    "kube-outside-the-mesh".parse().expect("a namespace")
});

/// A request as its receiver sees it.
#[derive(Clone, Copy)]
pub struct Received<'a> {
    /// The request; who calls and the port of the Service are not known by it.
    pub request: Request<'a>,
    /// The app's port.
    pub port: Port,
    /// Who calls, as authenticated; `None` in the clear.
    pub peer: Option<&'a Identity>,
    /// The address of the caller's connection.
    pub address: IpAddr,
}

/// The namespace that a request is said to come from, to rules that ask for one.
pub fn caller_namespace(peer: Option<&Identity>) -> &Namespace {
    peer.map_or(&NOBODY, |peer| &peer.namespace)
}

/// Buckets of limits, each named by its place in a table and by a key.
pub trait Buckets {
    /// The number that stands for what `write` says.
    fn key(&self, write: &dyn Fn(&mut dyn Hasher)) -> u128;
    /// Takes one from a bucket of a limit; `None` is the bucket of all.
    ///
    /// # Errors
    /// It is empty: how long until it has one.
    fn take(&mut self, place: usize, key: Option<u128>, rate: Rate) -> Result<Room, Duration>;
    /// Gives back what was taken.
    fn give_back(&mut self, place: usize, key: Option<u128>, rate: Rate);
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Outcome<'t> {
    /// No limit is about it.
    Unlimited,
    /// It passes; its response tells so.
    Pass(RateFields),
    /// It is refused.
    Refuse(Box<RateRefusal<'t>>),
}

/// A limit without room.
#[derive(Debug)]
pub struct RateRefusal<'t> {
    /// The policy.
    pub policy: &'t ObjectName,
    /// The limit.
    pub limit: &'t RateLimit,
    /// How long until there is room.
    pub wait: Duration,
    /// What the answer tells.
    pub fields: RateFields,
}

/// Decides on a request.
pub fn decide<'t>(
    table: &'t RateLimitTable,
    received: &Received<'_>,
    buckets: &mut dyn Buckets,
) -> Outcome<'t> {
    let mut fields = RateFields::default();
    for (count, (place, found)) in applying(table, received).enumerate() {
        let limit = &found.limit;
        let key = key_of(limit, received, buckets);
        match buckets.take(place, key, limit.rate) {
            Ok(room) => fields.add(limit, room.left, room.full_in),
            Err(wait) => {
                for (place, earlier) in applying(table, received).take(count) {
                    let key = key_of(&earlier.limit, received, buckets);
                    buckets.give_back(place, key, earlier.limit.rate);
                }
                let mut fields = RateFields::default();
                fields.add(limit, 0, wait);
                return Outcome::Refuse(Box::new(RateRefusal {
                    policy: &found.name,
                    limit,
                    wait,
                    fields,
                }));
            }
        }
    }
    if fields.is_empty() {
        Outcome::Unlimited
    } else {
        Outcome::Pass(fields)
    }
}

/// The limits that a request meets, with their places.
pub fn applying<'t>(
    table: &'t RateLimitTable,
    received: &Received<'_>,
) -> impl Iterator<Item = (usize, &'t LimitTable)> {
    // Limits of one policy follow each other: where it reaches is looked at once.
    let mut known: Option<(usize, bool)> = None;
    let limits = table.limits.iter().enumerate();
    limits.filter(move |(_, limit)| {
        let reached = match known {
            Some((policy, reached)) if policy == limit.policy => reached,
            _ => {
                let policy = table.policies.get(limit.policy);
                policy.is_some_and(|policy| reaches(table, policy, received))
            }
        };
        known = Some((limit.policy, reached));
        reached && meets(limit, received)
    })
}

fn reaches(table: &RateLimitTable, policy: &RateLimiting, received: &Received<'_>) -> bool {
    policy.reach.iter().any(|reach| match reach {
        Reach::Workload => true,
        Reach::Port(port) => *port == received.port,
        Reach::Rules(rules) => rules.port == received.port && falls_to(table, rules, received),
    })
}

/// True if the request falls to one of `rules`, by the routes of the Service.
fn falls_to(table: &RateLimitTable, rules: &RuleReach, received: &Received<'_>) -> bool {
    let routing = usize::try_from(rules.routing).ok();
    let Some(routing) = routing.and_then(|place| table.routings.get(place)) else {
        return false;
    };
    let request = Request {
        port: routing.port,
        ..received.request
    };
    let found = route::find(&routing.routing, &request, &mut Silent);
    found.is_some_and(|found| {
        let RuleReach {
            kind, route, rule, ..
        } = rules;
        let is_named = |name| found.rule.rule.name.as_ref() == Some(name);
        found.rule.kind == *kind && found.rule.route == *route && rule.as_ref().is_none_or(is_named)
    })
}

fn meets(limit: &LimitTable, received: &Received<'_>) -> bool {
    let matches = &limit.limit.matches;
    let mut each = matches.iter().zip(&limit.expressions);
    matches.is_empty()
        || each.any(|(one, expressions)| {
            let FaultMatch {
                conditions,
                sources,
            } = one;
            let is_from = match received.peer {
                Some(peer) => sources.takes_namespace(&peer.namespace),
                None => sources.namespaces.is_empty(),
            };
            is_from && route::meets(conditions, expressions, &received.request)
        })
}

fn key_of(limit: &RateLimit, received: &Received<'_>, buckets: &dyn Buckets) -> Option<u128> {
    let parts = &limit.by;
    (!parts.is_empty()).then(|| {
        buckets.key(&|hasher| {
            for part in parts {
                write_part(part, received, hasher);
            }
        })
    })
}

/// Tells a part apart from all others of any length: each text with its length, what is absent by 0.
fn write_part(part: &KeyPart, received: &Received<'_>, hasher: &mut dyn Hasher) {
    let mut text = |bytes: &[u8]| {
        hasher.write_u8(1);
        hasher.write_usize(bytes.len());
        hasher.write(bytes);
    };
    match part {
        KeyPart::Identity => {
            if let Some(peer) = received.peer {
                text(peer.trust_domain.as_str().as_bytes());
                text(peer.namespace.as_str().as_bytes());
                text(peer.service_account.as_str().as_bytes());
            }
        }
        KeyPart::Header(name) => {
            let headers: &dyn HeaderFields = received.request.headers;
            headers.each(name.as_str(), &mut text);
        }
        KeyPart::SourceIp => match received.address {
            IpAddr::V4(address) => text(&address.octets()),
            IpAddr::V6(address) => text(&address.octets()),
        },
    }
    hasher.write_u8(0);
}

/// A limit that a request meets, or one on connections, as people read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitExplanation {
    /// The workload, `namespace/name`.
    pub workload: String,
    /// Its port.
    pub port: u16,
    /// The limit: `per-client: 100 per 1s, 50 at once, by identity`.
    pub limit: String,
    /// The field that sets it: `RateLimitPolicy demo/a spec.limits[0]`.
    pub origin: String,
}

impl fmt::Display for LimitExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            workload,
            port,
            limit,
            origin,
        } = self;
        write!(f, "at {workload}:{port}: {limit} ({origin})")
    }
}

/// The limits that a request meets, and that its connection met.
pub fn explain(
    inbound: &Inbound,
    table: &RateLimitTable,
    received: Option<&Received<'_>>,
    port: Port,
) -> Vec<LimitExplanation> {
    let one = |policy: &ObjectName, limit: String, path: String| LimitExplanation {
        workload: inbound.workload.to_string(),
        port: port.number(),
        limit,
        origin: format!("RateLimitPolicy {policy} {path}"),
    };
    let policies = table.policies.iter();
    let connections = policies.filter_map(|policy| {
        let rate = policy.connections_to(port)?;
        let path = "spec.connections".to_owned();
        Some(one(&policy.policy, format!("connections: {rate}"), path))
    });
    let requests = received
        .into_iter()
        .flat_map(|received| applying(table, received));
    let requests = requests.map(|(_, found)| {
        let path = format!("spec.limits[{}]", found.limit.place);
        one(&found.name, found.limit.to_string(), path)
    });
    connections.chain(requests).collect()
}

#[cfg(test)]
mod tests;
