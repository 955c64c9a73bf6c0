//! From a request to a plan: look the destination up, then let `mesh_api::decide` decide.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mesh_api::decide::deadline::{self, Said, Telling};
use mesh_api::decide::destination::{self, Resolution};
use mesh_api::decide::grpc;
use mesh_api::decide::target::{self, Target};
use mesh_api::decide::version::{self, HttpVersion};
use mesh_api::decide::{
    self, Abort, Affinity, Caller, Decision, Forward, Injected, Mirrors, Request, Respond, Step,
};
use mesh_api::explain::Silent;
use mesh_api::model::backend::Backend;
use mesh_api::model::destination::Protocol;
use mesh_api::model::inbound::Inbound;
use mesh_api::model::mesh::UnknownDestinations;
use mesh_api::model::policy::{DEFAULTS, ExchangeTimeouts, MutualTls, RetryPolicy};
use mesh_api::model::route::UNCHANGED;
use mesh_api::name::DestinationName;
use mesh_api::snapshot::{BackendTable, DestinationTable, Known, RateLimitTable, Snapshot};

use super::{Receiving, Scope};
use crate::attempt::Plan;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::h1::{RequestHead, Version};
use crate::upstream::Group;

/// Everything a decision reads, held for the exchange.
pub(super) struct Sources<'h> {
    target: Target<'h>,
    host: Cow<'h, str>,
    toward: Toward,
    /// Limits of what is received, where there are any.
    pub(super) limits: Option<Arc<RateLimitTable>>,
}

/// Where a request may go.
enum Toward {
    /// A destination of the mesh.
    Destination(Arc<DestinationTable>),
    /// The local app, or an address outside the mesh: one backend, no rules.
    Backend(Arc<BackendTable>),
}

/// What was decided.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every one is the largest, and a box for each request would cost more"
)]
pub(super) enum Planned<'s> {
    Forward(Plan<'s>),
    Respond(Respond<'s>),
    Abort(Box<Abort<'s>>),
}

/// Normalises the target and finds the destination, waiting for its configuration if need be.
pub(super) async fn gather<'h>(
    context: &Rc<Context>,
    head: &'h RequestHead,
    scope: &Scope,
) -> Result<Sources<'h>, Error> {
    let bad = |error| Error::downstream(Kind::BadTarget).because(error);
    let target = target::normalise(head.target()).map_err(bad)?;
    let host = match target.authority {
        Some(authority) => authority,
        None => head.authority(),
    };
    let mut limits = None;
    let toward = match scope {
        Scope::Receiving(receiving) => {
            limits = check_still_open(context, receiving)?;
            Toward::Backend(Arc::clone(&receiving.backend))
        }
        Scope::Calling(name) => Toward::Destination(find(context, name).await?),
        Scope::ForwardProxy => Box::pin(by_host(context, host)).await?,
    };
    // HTTP/1.0 may come without a Host; upstream is HTTP/1.1, which may not.
    let host = match host {
        "" => Cow::Owned(toward.name().host()),
        host => Cow::Borrowed(host),
    };
    Ok(Sources {
        target,
        host,
        toward,
        limits,
    })
}

/// A connection is served only while what is in force takes its caller, and plaintext if that is what
/// came. The limits in force, if there are any.
fn check_still_open(
    context: &Context,
    receiving: &Receiving,
) -> Result<Option<Arc<RateLimitTable>>, Error> {
    context.with_snapshot(|snapshot| {
        is_still_open(context, snapshot, receiving)?;
        let limits = &snapshot.rate_limits;
        let limits = (!limits.is_empty()).then(|| limits.get(&receiving.entry.workload));
        Ok(limits.flatten().cloned())
    })
}

fn is_still_open(
    context: &Context,
    snapshot: &Snapshot,
    receiving: &Receiving,
) -> Result<(), Error> {
    let entry = snapshot.inbound.get(&receiving.entry.workload);
    let peer = receiving.peer.as_ref();
    if peer.is_none() {
        let port = entry.and_then(|entry| entry.port(receiving.port));
        match port.map(|known| known.mutual_tls.value) {
            Some(MutualTls::Disabled | MutualTls::Permissive) => {}
            Some(MutualTls::Strict) | None => return Err(Error::downstream(Kind::TlsRequired)),
        }
    }
    // The same entry decided when the connection came.
    let changed = entry.filter(|entry| !Arc::ptr_eq(entry, &receiving.entry));
    match changed.map(|entry| context.authorise(entry, receiving.port, peer)) {
        Some(Err(denial)) => Err(Error::downstream(Kind::Denied).because(denial.to_string())),
        Some(Ok(())) | None => Ok(()),
    }
}

/// A destination that the control plane is expected to know.
async fn find(
    context: &Rc<Context>,
    name: &DestinationName,
) -> Result<Arc<DestinationTable>, Error> {
    lookup(context, name)
        .await?
        .ok_or_else(|| Error::internal(Kind::UnknownDestination))
}

/// A destination, or `None` where the control plane says that there is none.
async fn lookup(
    context: &Rc<Context>,
    name: &DestinationName,
) -> Result<Option<Arc<DestinationTable>>, Error> {
    let now = context.with_snapshot(|snapshot| snapshot.destinations.get(name).map(table_of));
    if let Some(known) = now {
        return known;
    }
    let known = context.shared.config.known(name, DEFAULTS.config_wait);
    let snapshot = Box::pin(known).await;
    match snapshot.destinations.get(name) {
        Some(known) => table_of(known),
        None => Err(Error::internal(Kind::ConfigPending)),
    }
}

fn table_of(known: &Known) -> Result<Option<Arc<DestinationTable>>, Error> {
    match known {
        Known::Present(table) => Ok(Some(Arc::clone(table))),
        Known::Absent => Ok(None),
        Known::Failed(reason) => {
            Err(Error::internal(Kind::BadConfiguration).because(reason.as_str()))
        }
    }
}

/// The destination of a forward-proxy request, by its host.
async fn by_host(context: &Rc<Context>, authority: &str) -> Result<Toward, Error> {
    let (host, port) =
        split_authority(authority).ok_or_else(|| Error::downstream(Kind::BadTarget))?;
    let snapshot = context.snapshot();
    let facts = snapshot
        .mesh
        .as_ref()
        .ok_or_else(|| Error::internal(Kind::ConfigPending))?;
    let consumer = &context.shared.bootstrap.workload.namespace;
    if let Resolution::Service(name) = destination::resolve(facts, consumer, host, port)
        && let Some(table) = lookup(context, &name).await?
    {
        return Ok(Toward::Destination(table));
    }
    match facts.unknown_destinations {
        UnknownDestinations::Deny => Err(Error::internal(Kind::UnknownDestination)),
        UnknownDestinations::Allow => {
            let outside = Box::pin(context.resolve_outside(host, port));
            Ok(Toward::Backend(outside.await?))
        }
    }
}

/// Host and port of `host`, `host:port` or `[v6]:port`; 80 if none is given.
fn split_authority(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, 80),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    (!host.is_empty() && port != 0).then_some((host, port))
}

impl Toward {
    fn name(&self) -> &DestinationName {
        match self {
            Self::Destination(table) => &table.name,
            Self::Backend(backend) => &backend.name,
        }
    }
}

impl Sources<'_> {
    /// What metrics and logs call where it went.
    pub(super) fn label(&self) -> DestinationName {
        self.toward.name().clone()
    }

    /// The request by `caller`, as decisions see it.
    pub(super) fn request<'a>(&'a self, head: &'a RequestHead, caller: Caller<'a>) -> Request<'a> {
        Request {
            method: head.method(),
            scheme: "http",
            authority: &self.host,
            port: self.toward.name().port.number(),
            path: &self.target.path,
            query: self.target.query,
            headers: head,
            caller,
        }
    }

    /// Decides.
    pub(super) fn decide(
        &self,
        context: &Context,
        head: &RequestHead,
        scope: &Scope,
        started: Instant,
    ) -> Planned<'_> {
        let (asked, telling) = asked(head, scope, started);
        let table = match &self.toward {
            Toward::Backend(backend) => {
                let plan = self.direct(context.group(backend), head, scope, started);
                let bounds = deadline::bounds(&UNLIMITED, asked);
                return Planned::Forward(plan.within(&bounds, telling));
            }
            Toward::Destination(table) => table,
        };
        // Only where a rule asks: else nothing is looked up.
        let own = table.reads_labels.then(|| own_entry(context));
        let labels = own.as_ref().and_then(|own| Some(&own.as_ref()?.labels));
        let caller = Caller {
            labels,
            ..context.caller()
        };
        let request = self.request(head, caller);
        let step =
            context.with_random(|random| decide::request(table, &request, random, &mut Silent));
        match step {
            Step::Done(Decision::Forward(forward)) => {
                let bounds = deadline::bounds(forward.timeouts, asked);
                let group = context.group(forward.backend);
                let plan = self.plan(forward, group, head, started);
                Planned::Forward(plan.within(&bounds, telling))
            }
            Step::Done(Decision::Respond(respond)) => Planned::Respond(respond),
            Step::Done(Decision::Abort(abort)) => Planned::Abort(abort),
            Step::Ask(question) => match question {},
        }
    }

    fn plan<'s>(
        &'s self,
        forward: Forward<'s>,
        group: Rc<Group>,
        head: &RequestHead,
        started: Instant,
    ) -> Plan<'s> {
        Plan {
            rule: forward.rule,
            group,
            affinity: forward.affinity,
            started,
            target: forward
                .target
                .map_or_else(|| self.path_and_query(), Cow::Owned),
            host: forward.host.map_or(Cow::Borrowed(&*self.host), |host| {
                Cow::Borrowed(host.as_str())
            }),
            request_headers: forward.request_headers,
            response_headers: forward.response_headers,
            cors: forward.cors,
            limits: None,
            deadline: None,
            stream_end: None,
            stream_idle: forward.timeouts.stream_idle.value,
            told: None,
            per_try: forward.timeouts.per_try.value,
            retry: &forward.retry.value,
            version: upstream_version(forward.backend, forward.backend.protocol, head),
            injected: forward.injected,
            mirrors: forward.mirrors,
        }
    }

    /// Without rules: as it came.
    fn direct<'s>(
        &'s self,
        group: Rc<Group>,
        head: &RequestHead,
        scope: &Scope,
        started: Instant,
    ) -> Plan<'s> {
        let retry = match scope {
            Scope::Receiving(_) => &LOCAL_RETRY,
            Scope::Calling(_) | Scope::ForwardProxy => &OUTSIDE_RETRY,
        };
        let protocol = match scope {
            Scope::Receiving(receiving) => receiving.protocol,
            Scope::Calling(_) | Scope::ForwardProxy => Protocol::Detect,
        };
        let version = upstream_version(group.backend(), protocol, head);
        Plan {
            rule: None,
            group,
            affinity: Affinity::default(),
            started,
            target: self.path_and_query(),
            host: Cow::Borrowed(&self.host),
            request_headers: [&UNCHANGED; 2],
            response_headers: [&UNCHANGED; 2],
            cors: None,
            limits: None,
            deadline: None,
            stream_end: None,
            stream_idle: None,
            told: None,
            per_try: None,
            retry,
            version,
            injected: Injected::default(),
            mirrors: Mirrors::default(),
        }
    }

    fn path_and_query(&self) -> Cow<'_, str> {
        match self.target.query {
            None => Cow::Borrowed(&self.target.path),
            Some(query) => Cow::Owned(format!("{}?{query}", self.target.path)),
        }
    }
}

/// The workload's own receiving side, which says what it carries.
fn own_entry(context: &Context) -> Option<Arc<Inbound>> {
    let workload = &context.shared.bootstrap.workload;
    context.with_snapshot(|snapshot| snapshot.inbound.get(workload).cloned())
}

/// The time that the caller gives, from the exchange's start on, and how the next hop is told of it.
pub(super) fn asked(
    head: &RequestHead,
    scope: &Scope,
    started: Instant,
) -> (Option<Duration>, Telling) {
    let said = Said {
        is_call: head.field("content-type").is_some_and(grpc::is_grpc),
        grpc_timeout: head.field("grpc-timeout"),
        field: head.field(deadline::FIELD),
    };
    let to_app = matches!(scope, Scope::Receiving(_));
    deadline::heard(said, to_app, || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default().saturating_sub(started.elapsed())
    })
}

/// What to speak to the endpoints of `backend`.
pub(super) fn upstream_version(
    backend: &Backend,
    protocol: Protocol,
    head: &RequestHead,
) -> Version {
    let received = match head.version() {
        Version::Http2 => HttpVersion::Http2,
        Version::Http10 | Version::Http11 => HttpVersion::Http1,
    };
    let transport = backend.endpoints.first().map(|first| &first.transport);
    let version = transport.map(|transport| version::upstream(transport, protocol, received));
    match version {
        Some(HttpVersion::Http2) => Version::Http2,
        Some(HttpVersion::Http1) | None => Version::Http11,
    }
}

/// Towards the local app: once more on a new connection, for a pooled one that the app just closed.
static LOCAL_RETRY: std::sync::LazyLock<RetryPolicy> = std::sync::LazyLock::new(|| RetryPolicy {
    attempts: 1,
    ..RetryPolicy::default()
});
static UNLIMITED: std::sync::LazyLock<ExchangeTimeouts> =
    std::sync::LazyLock::new(ExchangeTimeouts::default);
static OUTSIDE_RETRY: std::sync::LazyLock<RetryPolicy> =
    std::sync::LazyLock::new(RetryPolicy::default);
