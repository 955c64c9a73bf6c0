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
pub mod client_hello;
pub mod connection;
pub mod cookie;
pub mod cors;
pub mod deadline;
pub mod destination;
pub mod eject;
pub mod explanation;
pub mod fault;
pub mod grpc;
pub mod mirror;
pub mod pushback;
pub mod refusal;
pub mod retry;
pub mod rewrite;
pub mod route;
pub mod target;
pub mod version;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use affinity::Affinity;
pub use connection::connection;
pub use cors::CorsField;

use crate::decide::affinity::Keys;
use crate::decide::balance::rendezvous::{self, Share};
use crate::explain::{Note, Recorder};
use crate::model::affinity::{KeySource, Scope, Stickiness};
use crate::model::fault::AbortAnswer;
use crate::model::mirror::Mirroring;
use crate::model::narrowing::Labels;
use crate::model::origin::{Origin, Sourced};
use crate::model::policy::{ExchangeTimeouts, RetryPolicy};
use crate::model::route::{
    Action, DirectResponse, HeaderChanges, Redirect, Rewrite, Rule, Target, WeightedBackend,
};
use crate::name::{Hostname, Name, Namespace};
use crate::snapshot::{BackendTable, DestinationTable, MatchTable, RuleTable, hash};

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

/// What happens to a request.
#[derive(Debug)]
pub enum Decision<'s> {
    /// It goes to a backend.
    Forward(Box<Forward<'s>>),
    /// It is answered here.
    Respond(Respond<'s>),
    /// It fails, as a policy injects it.
    Abort(Box<Abort<'s>>),
}

/// An injected failure.
#[derive(Debug)]
pub struct Abort<'s> {
    /// The rule that matched; `None` where the destination has no routes.
    pub rule: Option<&'s Arc<RuleTable>>,
    /// What is answered.
    pub answer: AbortAnswer,
    /// After which wait; it counts towards the request's timeout.
    pub delay: Option<Duration>,
    /// The field that lists it.
    pub origin: &'s Origin,
    /// By which the proxy may decide on the request anew instead; `None` where it may not.
    pub retry: Option<&'s RetryPolicy>,
    /// Timeouts in force.
    pub timeouts: &'s ExchangeTimeouts,
}

/// What is injected into a request that is forwarded all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// A wait before it goes on; it counts towards the request's timeout.
    pub delay: Option<Duration>,
    /// Bytes of the response's content per second.
    pub bandwidth: Option<u64>,
}

/// How a request is forwarded.
#[derive(Debug)]
pub struct Forward<'s> {
    /// The rule that matched; `None` where the destination has no routes.
    pub rule: Option<&'s Arc<RuleTable>>,
    /// The backend chosen.
    pub backend: &'s Arc<BackendTable>,
    /// What keeps its user, if anything does.
    pub stickiness: Option<&'s Sourced<Stickiness>>,
    /// What keeps it on an endpoint, and what the client is given for that.
    pub affinity: Affinity,
    /// Changes to the request's head: the rule's, then the backend's.
    pub request_headers: [&'s HeaderChanges; 2],
    /// Changes to the response's head: the backend's, then the rule's.
    pub response_headers: [&'s HeaderChanges; 2],
    /// The new path and query, where they change.
    pub target: Option<String>,
    /// The new Host, where it changes.
    pub host: Option<&'s Hostname>,
    /// Set where the rule has a CORS filter: what the response says, instead of the app's
    /// [`cors::OF_APPS`].
    pub cors: Option<Vec<CorsField>>,
    /// Timeouts in force.
    pub timeouts: &'s ExchangeTimeouts,
    /// Retries in force.
    pub retry: &'s Sourced<RetryPolicy>,
    /// What a policy injects.
    pub injected: Injected,
    /// Copies to make.
    pub mirrors: Mirrors<'s>,
}

/// Copies of a request.
#[derive(Clone, Debug)]
pub struct Mirrors<'s> {
    /// Where they go; empty for most requests.
    pub backends: Vec<&'s Arc<BackendTable>>,
    /// How they are made.
    pub settings: &'s Mirroring,
}

impl Default for Mirrors<'_> {
    fn default() -> Self {
        Self {
            backends: Vec::new(),
            settings: &Mirroring::DEFAULT,
        }
    }
}

/// An answer the mesh makes itself.
#[derive(Debug)]
pub struct Respond<'s> {
    /// The rule that matched, if one did.
    pub rule: Option<&'s Arc<RuleTable>>,
    /// Its status.
    pub status: u16,
    /// The Location of a redirect.
    pub location: Option<String>,
    /// Its content, where a user wrote it.
    pub content: Option<&'s DirectResponse>,
    /// What it says to pages of other origins.
    pub cors: Vec<CorsField>,
    /// Changes to the response's head by the rule; applied to what a user asked for only.
    pub response_headers: Option<&'s HeaderChanges>,
    /// Why, for `mesh-error`, metrics and logs; `None` for what a user asked for (a redirect).
    pub refusal: Option<Refusal<'s>>,
}

/// Why the mesh answers instead of the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<'s> {
    /// The destination has routes and none matches: 404.
    NoRoute,
    /// The chosen backendRef does not resolve: 500 (Gateway API `BackendRefs`).
    BrokenBackend(Cow<'s, str>),
    /// The rule has no backend with a weight: 500.
    NoBackend,
    /// A filter of the rule does not resolve: 500 (Gateway API `HTTPRouteFilter`, `extensionRef`).
    BrokenFilter(Cow<'s, str>),
}

impl Refusal<'_> {
    /// The status that a caller of HTTP sees.
    pub fn status(&self) -> u16 {
        match self {
            Self::NoRoute => 404,
            Self::BrokenBackend(_) | Self::NoBackend | Self::BrokenFilter(_) => 500,
        }
    }

    /// The `reason` of `mesh-error`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::BrokenBackend(_) => "broken-backend",
            Self::NoBackend => "no-backend",
            Self::BrokenFilter(_) => "broken-filter",
        }
    }
}

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
        Found::Plain => {
            let settle = |backend: &BackendTable| {
                let sticky = value_of(destination.stickiness.as_ref());
                let sticky = sticky.filter(|sticky| sticky.scope == Scope::Endpoint);
                let sticky = sticky.map(|sticky| (sticky, keys.find_or_make(by(sticky), random)));
                keys.settle(backend, sticky, random)
            };
            return Step::Done(forward_plain(destination, injected, settle));
        }
        Found::Decided(decision) => return Step::Done(decision),
        Found::Match(found) => found,
    };
    let rule = &found.table.rule;
    let sticky = value_of(rule.rule.stickiness.as_ref());
    let sticky = sticky.map(|sticky| (sticky, keys.find_or_make(by(sticky), random)));
    let kept = sticky.and_then(|(_, key)| keep(destination, found.backends, key?));
    let chosen = kept.or_else(|| {
        let weights = found.backends.iter().map(|backend| backend.weight);
        choose(rule.total_weight, weights, random)
    });
    let Some(chosen) = chosen.and_then(|at| found.backends.get(at)) else {
        return Step::Done(refuse(Some(rule), Refusal::NoBackend));
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
    let found = match find(destination, request, recorder) {
        Found::Plain => {
            let sticky = value_of(destination.stickiness.as_ref());
            let sticky = sticky.map(|sticky| (sticky, affinity::key(by(sticky), request)));
            let settle = |backend: &BackendTable| affinity::known(request, backend, sticky);
            return vec![(None, forward_plain(destination, injected, settle))];
        }
        Found::Decided(decision) => return vec![(None, decision)],
        Found::Match(found) => found,
    };
    let rule = &found.table.rule;
    if rule.total_weight == 0 {
        return vec![(None, refuse(Some(rule), Refusal::NoBackend))];
    }
    let sticky = value_of(rule.rule.stickiness.as_ref());
    let sticky = sticky.map(|sticky| (sticky, affinity::key(by(sticky), request)));
    let kept = sticky.and_then(|(_, key)| keep(destination, found.backends, key?));
    let weighted = found.backends.iter().enumerate();
    let possible = weighted.filter(|(at, backend)| match kept {
        Some(kept) => *at == kept,
        None => backend.weight > 0,
    });
    let settle = |backend: &BackendTable| affinity::known(request, backend, sticky);
    possible
        .map(|(at, chosen)| {
            let decision = assemble(destination, &found, (chosen, injected), request, settle);
            (Some(at), decision)
        })
        .collect()
}

fn value_of(from: Option<&Sourced<Stickiness>>) -> Option<&Stickiness> {
    from.map(|found| &found.value)
}

fn by(sticky: &Stickiness) -> &[KeySource] {
    std::slice::from_ref(&sticky.by)
}

/// The place of the backend that a key belongs to.
fn keep(destination: &DestinationTable, backends: &[WeightedBackend], key: u64) -> Option<usize> {
    let share = |(at, backend): (usize, &WeightedBackend)| {
        let seed = match backend_of(destination, &backend.target) {
            Ok(found) => found.seed,
            Err(Refusal::BrokenBackend(reason)) => hash::key(reason.as_bytes()),
            Err(_) => 0,
        };
        // A backend that is named again has a share of its own.
        let before = backends.iter().take(at);
        let again = before.filter(|other| other.target == backend.target);
        Share {
            seed: seed.wrapping_add(again.count() as u64),
            weight: backend.weight,
        }
    };
    rendezvous::choose(key, backends.iter().enumerate().map(share))
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
        return Found::Decided(refuse(None, Refusal::NoRoute));
    };
    let rule = &table.rule.rule;
    if let Some(cors) = &rule.cors
        && let Some(fields) = cors::preflight(cors, request)
    {
        let mut answer = answered(&table.rule, 200);
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
            let mut answer = answered(&table.rule, content.status);
            answer.content = Some(content);
            answer.cors = cors_of(&table.rule, request).unwrap_or_default();
            Found::Decided(Decision::Respond(answer))
        }
        Action::Broken { reason } => {
            let refusal = Refusal::BrokenFilter(reason.into());
            Found::Decided(refuse(Some(&table.rule), refusal))
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

/// Chooses a place by weight; `None` if all weights are 0.
fn choose(
    total: u64,
    weights: impl ExactSizeIterator<Item = u32>,
    random: &mut dyn Random,
) -> Option<usize> {
    if total == 0 {
        return None;
    }
    if weights.len() == 1 {
        return Some(0);
    }
    let mut left = random.below(total);
    let mut places = weights.map(u64::from);
    places.position(|weight| {
        let chosen = left < weight;
        left = left.saturating_sub(weight);
        chosen
    })
}

/// The backend that a target means, or why there is none.
fn backend_of<'s>(
    destination: &'s DestinationTable,
    target: &'s Target,
) -> Result<&'s Arc<BackendTable>, Refusal<'s>> {
    let index = match target {
        Target::Broken { reason } => return Err(Refusal::BrokenBackend(reason.into())),
        Target::Backend(index) => usize::try_from(*index).ok(),
    };
    let backend = index.and_then(|index| destination.backends.get(index));
    backend
        .ok_or_else(|| Refusal::BrokenBackend("the entry names a backend it does not carry".into()))
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
        Err(refusal) => return refuse(Some(rule), refusal),
    };
    let own = chosen.rewrite.as_ref();
    let path = own.and_then(|own| own.path.as_ref());
    let path = path.or_else(|| found.rewrite.and_then(|rewrite| rewrite.path.as_ref()));
    let host = own.and_then(|own| own.hostname.as_ref());
    let host = host.or_else(|| found.rewrite.and_then(|rewrite| rewrite.hostname.as_ref()));
    Decision::Forward(Box::new(Forward {
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
    }))
}

fn cors_of(rule: &RuleTable, request: &Request<'_>) -> Option<Vec<CorsField>> {
    let cors = rule.rule.cors.as_ref()?;
    Some(cors::actual(cors, request))
}

fn forward_plain(
    destination: &DestinationTable,
    injected: Injected,
    settle: impl FnOnce(&BackendTable) -> Affinity,
) -> Decision<'_> {
    let Some(backend) = destination.backends.first() else {
        return refuse(None, Refusal::NoBackend);
    };
    Decision::Forward(Box::new(Forward {
        rule: None,
        backend,
        stickiness: destination.stickiness.as_ref(),
        affinity: settle(backend),
        request_headers: [&NO_CHANGES, &NO_CHANGES],
        response_headers: [&NO_CHANGES, &NO_CHANGES],
        target: None,
        host: None,
        cors: None,
        timeouts: &destination.timeouts,
        retry: &destination.retry,
        injected,
        mirrors: Mirrors::default(),
    }))
}

fn redirected<'s>(
    table: &'s MatchTable,
    redirect: &'s Redirect,
    request: &Request<'_>,
) -> Decision<'s> {
    let mut answer = answered(&table.rule, redirect.status);
    answer.location = Some(rewrite::location(redirect, table, request));
    answer.cors = cors_of(&table.rule, request).unwrap_or_default();
    Decision::Respond(answer)
}

/// An answer that a user asked for.
fn answered(rule: &Arc<RuleTable>, status: u16) -> Respond<'_> {
    Respond {
        rule: Some(rule),
        status,
        location: None,
        content: None,
        cors: Vec::new(),
        response_headers: Some(&rule.rule.response_headers),
        refusal: None,
    }
}

fn refuse<'s>(rule: Option<&'s Arc<RuleTable>>, refusal: Refusal<'s>) -> Decision<'s> {
    Decision::Respond(Respond {
        rule,
        status: refusal.status(),
        location: None,
        content: None,
        cors: Vec::new(),
        response_headers: None,
        refusal: Some(refusal),
    })
}

fn backend_name(destination: &DestinationTable, target: &Target) -> String {
    match backend_of(destination, target) {
        Ok(backend) => backend.name.to_string(),
        Err(Refusal::BrokenBackend(reason)) => reason.into_owned(),
        Err(refusal) => refusal.reason().to_owned(),
    }
}

static NO_CHANGES: HeaderChanges = HeaderChanges {
    set: Vec::new(),
    add: Vec::new(),
    remove: Vec::new(),
};

#[cfg(test)]
pub(crate) mod tests;
