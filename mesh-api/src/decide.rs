//! Every decision, as pure functions: time, randomness and load are arguments.
//!
//! Order of a request: [`target`] normalises, [`route`] matches, [`cors`] answers preflights,
//! [`fault`] injects, the backend is chosen by weight,
//! then [`balance`] picks an endpoint and [`retry`] says whether to try again. May use everything
//! above it; does no I/O.

pub mod affinity;
pub mod attempt_count;
pub mod authorise;
pub mod balance;
pub mod budget;
pub mod change;
mod choose;
pub mod client_hello;
pub mod connection;
pub mod cookie;
pub mod cors;
pub mod deadline;
mod decision;
pub mod destination;
pub mod eject;
pub mod explanation;
pub mod fault;
pub mod grpc;
pub mod health;
pub mod mirror;
pub mod pushback;
pub mod ratelimit;
pub mod refusal;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod target;
pub mod version;

use std::net::IpAddr;

pub use affinity::Affinity;
pub use connection::connection;
pub use cors::CorsField;
pub use decision::{Abort, Decision, Forward, Injected, Mirrors, Refusal, Respond};

use crate::decide::affinity::Keys;
use crate::decide::choose::{backend_name, backend_of, by_weight, keep};
use crate::explain::{Note, Recorder};
use crate::model::affinity::Scope;
use crate::model::narrowing::Labels;
use crate::model::route::{Action, Redirect, Rewrite, Rule, UNCHANGED, WeightedBackend};
use crate::name::{Name, Namespace};
use crate::snapshot::{BackendTable, DestinationTable, MatchTable, RuleTable};

/// A source of random numbers; the caller owns the seed.
pub trait Random {
    /// A uniform number in `0..bound`; 0 if `bound` is 0.
    fn below(&mut self, bound: u64) -> u64;
}

/// The header fields of a request, as received.
pub trait HeaderFields {
    /// Calls `visit` with the value of each field named `name` (lower case), in order.
    fn each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8]));
}

/// A request to decide on. The path is normalised: see [`target::normalise`].
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method, as received.
    pub method: &'a str,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'a str,
    /// The Host as received, with its port if any.
    pub authority: &'a str,
    /// The port the client dialled.
    pub port: u16,
    /// The path, without the query.
    pub path: &'a str,
    /// What follows `?`.
    pub query: Option<&'a str>,
    /// Its header fields.
    pub headers: &'a dyn HeaderFields,
    /// Who calls.
    pub caller: Caller<'a>,
}

/// The workload whose request it is.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Its namespace.
    pub namespace: &'a Namespace,
    /// What it carries. `None` where that is not known, and where no rule of the destination asks:
    /// see [`DestinationTable::reads_labels`].
    pub labels: Option<&'a Labels>,
    /// Its service account, where that is known.
    pub service_account: Option<&'a Name>,
    /// Its address, where that is known.
    pub address: Option<IpAddr>,
}

/// The next step: a decision, or a question only the shell can answer.
#[derive(Debug)]
pub enum Step<D> {
    /// Decided.
    Done(D),
    /// Answer, then ask again with the same snapshot.
    Ask(Question),
}

/// What must be known first. None is asked yet: external authorisation, global quotas and keys come.
#[derive(Debug)]
pub enum Question {}

/// Decides on a request to `destination`.
pub fn request<'s>(
    destination: &'s DestinationTable,
    request: &Request<'_>,
    random: &mut dyn Random,
    recorder: &mut dyn Recorder,
) -> Step<Decision<'s>> {
    let found = find(destination, request, recorder);
    let injected = match injected(destination, &found, request, random) {
        Ok(injected) => injected,
        Err(abort) => return Step::Done(Decision::Abort(abort)),
    };
    let mut keys = Keys::new(request);
    let found = match found {
        Found::Plain => return Step::Done(plain(destination, injected, keys, random)),
        Found::Decided(decision) => return Step::Done(decision),
        Found::Match(found) => found,
    };
    let rule = &found.table.rule;
    let sticky = keys.of(rule.rule.stickiness.as_ref(), random);
    let kept = sticky.and_then(|(_, key)| keep(destination, found.backends, key?));
    let chosen = kept.or_else(|| {
        let weights = found.backends.iter().map(|backend| backend.weight);
        by_weight(rule.total_weight, weights, random)
    });
    let Some(chosen) = chosen.and_then(|at| found.backends.get(at)) else {
        let refusal = Respond::refused(Some(rule), Refusal::NoBackend);
        return Step::Done(Decision::Respond(refusal));
    };
    recorder.note(&|| Note::Chose {
        backend: backend_name(destination, &chosen.target),
    });
    let settle = |backend: &BackendTable| keys.settle(backend, sticky, random);
    let mut decision = assemble(destination, &found, (chosen, injected), request, settle);
    let rule = &found.table.rule.rule;
    if let Decision::Forward(forward) = &mut decision
        && !rule.mirrors.is_empty()
    {
        forward.mirrors = mirrors(destination, rule, random);
    }
    Step::Done(decision)
}

/// Draws which copies are made. A reference that does not resolve gets none (Gateway API
/// `HTTPRequestMirrorFilter`, `backendRef`).
fn mirrors<'s>(
    destination: &'s DestinationTable,
    rule: &'s Rule,
    random: &mut dyn Random,
) -> Mirrors<'s> {
    let drawn = rule.mirrors.iter();
    let drawn = drawn.filter(|mirror| fault::hits(mirror.share, random));
    Mirrors {
        backends: drawn
            .filter_map(|mirror| backend_of(destination, &mirror.target).ok())
            .collect(),
        settings: &rule.mirroring.value,
    }
}

/// Every decision that [`request`] may come to, with the place of the backend in the rule's list:
/// one for each backend with a weight, or a single one, without a place, where no choice is made. Where a key makes the
/// choice, that one alone. A cookie that would be made is not.
pub fn outcomes<'s>(
    destination: &'s DestinationTable,
    request: &Request<'_>,
    recorder: &mut dyn Recorder,
) -> Vec<(Option<usize>, Decision<'s>)> {
    let injected = Injected::default();
    let keys = || Keys::present(request);
    let found = match find(destination, request, recorder) {
        Found::Plain => {
            let decision = plain(destination, injected, keys(), &mut Undrawn);
            return vec![(None, decision)];
        }
        Found::Decided(decision) => return vec![(None, decision)],
        Found::Match(found) => found,
    };
    let rule = &found.table.rule;
    if rule.total_weight == 0 {
        let refusal = Respond::refused(Some(rule), Refusal::NoBackend);
        return vec![(None, Decision::Respond(refusal))];
    }
    let sticky = keys().of(rule.rule.stickiness.as_ref(), &mut Undrawn);
    let kept = sticky.and_then(|(_, key)| keep(destination, found.backends, key?));
    let weighted = found.backends.iter().enumerate();
    let possible = weighted.filter(|(at, backend)| match kept {
        Some(kept) => *at == kept,
        None => backend.weight > 0,
    });
    let settle = |backend: &BackendTable| keys().settle(backend, sticky, &mut Undrawn);
    possible
        .map(|(at, chosen)| {
            let decision = assemble(destination, &found, (chosen, injected), request, settle);
            (Some(at), decision)
        })
        .collect()
}

/// Where nothing is drawn.
struct Undrawn;

impl Random for Undrawn {
    fn below(&mut self, _: u64) -> u64 {
        0
    }
}

enum Found<'s> {
    Decided(Decision<'s>),
    /// The destination has no routes.
    Plain,
    Match(Match<'s>),
}

/// A rule that forwards and matched.
struct Match<'s> {
    table: &'s MatchTable,
    backends: &'s [WeightedBackend],
    rewrite: Option<&'s Rewrite>,
}

fn find<'s>(
    destination: &'s DestinationTable,
    request: &Request<'_>,
    recorder: &mut dyn Recorder,
) -> Found<'s> {
    if destination.routing.routes.is_empty() {
        return Found::Plain;
    }
    let Some(table) = route::find(&destination.routing, request, recorder) else {
        let refusal = Respond::refused(None, Refusal::NoRoute);
        return Found::Decided(Decision::Respond(refusal));
    };
    let rule = &table.rule.rule;
    if let Some(cors) = &rule.cors
        && let Some(fields) = cors::preflight(cors, request)
    {
        let mut answer = Respond::asked(&table.rule, 200);
        answer.cors = fields;
        return Found::Decided(Decision::Respond(answer));
    }
    match &rule.action {
        Action::Forward { backends, rewrite } => Found::Match(Match {
            table,
            backends,
            rewrite: rewrite.as_ref(),
        }),
        Action::Redirect(redirect) => Found::Decided(redirected(table, redirect, request)),
        Action::Respond(content) => {
            let mut answer = Respond::asked(&table.rule, content.status);
            answer.content = Some(content);
            answer.cors = cors_of(&table.rule, request).unwrap_or_default();
            Found::Decided(Decision::Respond(answer))
        }
        Action::Broken { reason } => {
            let refusal = Refusal::BrokenFilter(reason.into());
            let refused = Respond::refused(Some(&table.rule), refusal);
            Found::Decided(Decision::Respond(refused))
        }
    }
}

/// What is injected into a request that would be forwarded: something beside, or a failure instead.
fn injected<'s>(
    destination: &'s DestinationTable,
    found: &Found<'s>,
    request: &Request<'_>,
    random: &mut dyn Random,
) -> Result<Injected, Box<Abort<'s>>> {
    let (rule, place) = match found {
        Found::Decided(_) => (None, None),
        Found::Plain => (None, destination.own_faults),
        Found::Match(found) => (Some(&found.table.rule), found.table.rule.rule.faults),
    };
    let Some(table) = destination.faults_at(place) else {
        return Ok(Injected::default());
    };
    let drawn = fault::draw(table, request, random);
    let Some((answer, may_retry)) = drawn.abort else {
        return Ok(Injected {
            delay: drawn.delay,
            bandwidth: drawn.bandwidth,
        });
    };
    let (timeouts, retry) = match rule {
        Some(rule) => (&rule.rule.timeouts, &rule.rule.retry),
        None => (&destination.timeouts, &destination.retry),
    };
    Err(Box::new(Abort {
        rule,
        answer,
        delay: drawn.delay,
        origin: &table.faults.origin,
        retry: may_retry.then_some(&retry.value),
        timeouts,
    }))
}

fn assemble<'s>(
    destination: &'s DestinationTable,
    found: &Match<'s>,
    (chosen, injected): (&'s WeightedBackend, Injected),
    request: &Request<'_>,
    settle: impl FnOnce(&BackendTable) -> Affinity,
) -> Decision<'s> {
    let rule = &found.table.rule;
    if let Some(redirect) = &chosen.redirect {
        return redirected(found.table, redirect, request);
    }
    let backend = match backend_of(destination, &chosen.target) {
        Ok(backend) => backend,
        Err(refusal) => return Decision::Respond(Respond::refused(Some(rule), refusal)),
    };
    let own = chosen.rewrite.as_ref();
    let path = own.and_then(|own| own.path.as_ref());
    let path = path.or_else(|| found.rewrite.and_then(|rewrite| rewrite.path.as_ref()));
    let host = own.and_then(|own| own.hostname.as_ref());
    let host = host.or_else(|| found.rewrite.and_then(|rewrite| rewrite.hostname.as_ref()));
    Decision::Forward(Forward {
        rule: Some(rule),
        backend,
        stickiness: rule.rule.stickiness.as_ref(),
        affinity: settle(backend),
        request_headers: [&rule.rule.request_headers, &chosen.request_headers],
        response_headers: [&chosen.response_headers, &rule.rule.response_headers],
        target: path.and_then(|path| rewrite::target(path, found.table, request)),
        host,
        cors: cors_of(rule, request),
        timeouts: &rule.rule.timeouts,
        retry: &rule.rule.retry,
        injected,
        mirrors: Mirrors::default(),
    })
}

/// To the one backend of a destination without routes.
fn plain<'s>(
    destination: &'s DestinationTable,
    injected: Injected,
    mut keys: Keys<'_, '_>,
    random: &mut dyn Random,
) -> Decision<'s> {
    let Some(backend) = destination.backends.first() else {
        return Decision::Respond(Respond::refused(None, Refusal::NoBackend));
    };
    let sticky = destination.stickiness.as_ref();
    let of_endpoint = sticky.filter(|sticky| sticky.value.scope == Scope::Endpoint);
    let of_endpoint = keys.of(of_endpoint, random);
    Decision::Forward(Forward {
        rule: None,
        backend,
        stickiness: sticky,
        affinity: keys.settle(backend, of_endpoint, random),
        request_headers: [&UNCHANGED, &UNCHANGED],
        response_headers: [&UNCHANGED, &UNCHANGED],
        target: None,
        host: None,
        cors: None,
        timeouts: &destination.timeouts,
        retry: &destination.retry,
        injected,
        mirrors: Mirrors::default(),
    })
}

fn redirected<'s>(
    table: &'s MatchTable,
    redirect: &'s Redirect,
    request: &Request<'_>,
) -> Decision<'s> {
    let mut answer = Respond::asked(&table.rule, redirect.status);
    answer.location = Some(rewrite::location(redirect, table, request));
    answer.cors = cors_of(&table.rule, request).unwrap_or_default();
    Decision::Respond(answer)
}

fn cors_of(rule: &RuleTable, request: &Request<'_>) -> Option<Vec<CorsField>> {
    let cors = rule.rule.cors.as_ref()?;
    Some(cors::actual(cors, request))
}

#[cfg(test)]
pub(crate) mod tests;
