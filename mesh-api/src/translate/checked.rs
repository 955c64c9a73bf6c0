//! Resources after their checks, before references between them are resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::civil::Date;

use crate::model::affinity::{KeySource, Stickiness};
use crate::model::authorization::{Action, AuthorizationRule};
use crate::model::breaker::Limits;
use crate::model::cors::Cors;
use crate::model::destination::Protocol;
use crate::model::fault::Fault;
use crate::model::health::HealthCheck;
use crate::model::locality::{Failover, LocalityPreference};
use crate::model::mesh::UnknownDestinations;
use crate::model::mirror::Mirroring;
use crate::model::narrowing::{CookieMatch, Sources};
use crate::model::outlier::OutlierDetection;
use crate::model::policy::{Algorithm, MutualTls, RetryPolicy, StatusRange};
use crate::model::ratelimit::{Rate, RateLimit};
use crate::model::route::{DirectResponse, HeaderChanges, Redirect, Rewrite, RouteMatch};
use crate::model::share::Share;
use crate::model::workload::Workload;
use crate::name::{DestinationName, Hostname, Name, ObjectName, Port, TrustDomain};
use crate::resource::{Kind, Labels};

/// A checked resource.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives between a check and the index, which keeps each kind by itself"
)]
pub(super) enum Checked {
    /// Mesh-wide settings.
    Mesh(Box<CheckedMesh>),
    /// A namespace exists.
    Namespace,
    /// A Service.
    Service(CheckedService),
    /// An `EndpointSlice`.
    EndpointSlice(CheckedSlice),
    /// A pod.
    Pod(CheckedPod),
    /// A workload.
    Workload(Workload),
    /// A route of any kind.
    Route(CheckedRoute),
    /// A `TrafficPolicy`.
    TrafficPolicy(CheckedTraffic),
    /// A `MutualTLSPolicy`.
    MutualTLSPolicy(CheckedMutualTls),
    /// An `AuthorizationPolicy`.
    AuthorizationPolicy(CheckedAuthorization),
    /// A `RateLimitPolicy`.
    RateLimitPolicy(CheckedRateLimits),
    /// A `RouteMatch`.
    RouteMatch(CheckedRouteMatch),
    /// A `DirectResponse`.
    DirectResponse(DirectResponse),
}

/// A checked `Mesh`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CheckedMesh {
    /// The root of trust, if it says.
    pub(super) trust_domain: Option<TrustDomain>,
    /// The suffix of service names, if it says.
    pub(super) cluster_domain: Option<Hostname>,
    /// The mesh's mode, if it says.
    pub(super) mutual_tls: Option<MutualTls>,
    /// The mesh's addresses.
    pub(super) ranges: Vec<IpNet>,
    /// Calls to what is not known.
    pub(super) unknown_destinations: UnknownDestinations,
    /// Which regions come after a caller's own.
    pub(super) failover: Vec<Failover>,
    /// Defaults for everything.
    pub(super) traffic: Sections,
}

/// A checked Service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckedService {
    /// The labels of its workloads; empty selects nothing.
    pub(super) selector: Labels,
    /// Its virtual IPs.
    pub(super) addresses: Vec<IpAddr>,
    /// Its TCP ports.
    pub(super) ports: Vec<ServicePort>,
}

/// A TCP port of a Service. Ports of other transports are not the mesh's and are left out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ServicePort {
    /// Its name; empty if it has none.
    pub(super) name: String,
    /// As clients dial it.
    pub(super) port: Port,
    /// Where the app listens.
    pub(super) target: TargetPort,
    /// What the app speaks.
    pub(super) protocol: Protocol,
}

/// Where the app listens.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TargetPort {
    /// This port.
    Number(Port),
    /// The workload's port of this name.
    Named(String),
}

/// A checked `EndpointSlice`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckedSlice {
    /// The Service it belongs to.
    pub(super) service: Option<ObjectName>,
    /// The app's ports by the Service's port name.
    pub(super) ports: BTreeMap<String, Port>,
    /// Its addresses that may serve.
    pub(super) endpoints: Vec<SliceEndpoint>,
}

/// An address of an `EndpointSlice`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SliceEndpoint {
    /// The address.
    pub(super) address: IpAddr,
    /// The pod it is said to be of, in the slice's namespace.
    pub(super) pod: Option<Name>,
    /// Whether it serves.
    pub(super) serving: Serving,
    /// The zone it is said to be in; empty where that is not said.
    pub(super) zone: String,
}

/// Whether an endpoint serves; one that does not is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    /// It does.
    Ready,
    /// It does, but ends soon: taken only where nothing else is ready.
    Leaving,
}

/// A checked pod.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckedPod {
    /// What it is to the mesh. It has no addresses once it ended.
    pub(super) workload: Workload,
    /// It ends soon.
    pub(super) leaving: bool,
    /// It has the node's addresses, which are not its own: the workload has none.
    pub(super) is_on_host: bool,
}

/// A checked route.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckedRoute {
    /// Its kind.
    pub(super) kind: Kind,
    /// The Services it applies to; none if it is all other controllers'.
    pub(super) parents: Vec<Parent>,
    /// Server names that it takes; empty but for a `TLSRoute`.
    pub(super) hostnames: Vec<Hostname>,
    /// Its rules, as written.
    pub(super) rules: Vec<CheckedRule>,
}

/// A Service that a route applies to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parent {
    /// Its place in `spec.parentRefs`.
    pub(super) place: usize,
    /// The Service.
    pub(super) service: ObjectName,
    /// One port by number.
    pub(super) port: Option<Port>,
    /// One port by name.
    pub(super) section_name: Option<String>,
}

impl CheckedRoute {
    /// A route without a parent of ours: it decides nothing.
    pub(super) fn foreign(kind: Kind) -> Self {
        Self {
            kind,
            parents: Vec::new(),
            hostnames: Vec::new(),
            rules: Vec::new(),
        }
    }
}

impl Parent {
    /// True if it takes in this port of its Service.
    pub(super) fn takes_in(&self, port: &ServicePort) -> bool {
        self.port.is_none_or(|number| number == port.port)
            && self
                .section_name
                .as_ref()
                .is_none_or(|name| *name == port.name)
    }
}

/// A checked rule.
#[expect(clippy::option_option, reason = "not set and no limit differ")]
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CheckedRule {
    /// Its name.
    pub(super) name: Option<Name>,
    /// Its conditions; empty only for a route of connections.
    pub(super) matches: Vec<RouteMatch>,
    /// Changes to the request's head.
    pub(super) request_headers: HeaderChanges,
    /// Changes to the response's head.
    pub(super) response_headers: HeaderChanges,
    /// A redirect instead of backends.
    pub(super) redirect: Option<Redirect>,
    /// Changes to host and path.
    pub(super) rewrite: Option<Rewrite>,
    /// Which pages of other origins may call it.
    pub(super) cors: Option<Cors>,
    /// Filters of ours that it names.
    pub(super) extensions: Vec<ExtensionRef>,
    /// Where copies go.
    pub(super) mirrors: Vec<MirrorRef>,
    /// Its backends.
    pub(super) backends: Vec<BackendRef>,
    /// Its request timeout, `Some(None)` for no limit.
    pub(super) request_timeout: Option<Option<Duration>>,
    /// Its per-try timeout, `Some(None)` for no limit.
    pub(super) per_try_timeout: Option<Option<Duration>>,
    /// Its retries.
    pub(super) retry: Option<RuleRetry>,
    /// What keeps its clients.
    pub(super) session: Option<Stickiness>,
}

/// A reference to a backend that is not resolved yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BackendRef {
    /// What it names.
    pub(super) target: RefTarget,
    /// Its share.
    pub(super) weight: u32,
    /// Changes to the request's head.
    pub(super) request_headers: HeaderChanges,
    /// Changes to the response's head.
    pub(super) response_headers: HeaderChanges,
    /// Changes to host and path.
    pub(super) rewrite: Option<Rewrite>,
    /// A redirect instead of it.
    pub(super) redirect: Option<Redirect>,
}

/// Where copies go, not resolved yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MirrorRef {
    /// The backend.
    pub(super) reference: BackendRef,
    /// The share of requests that is copied.
    pub(super) share: Share,
}

/// A filter of ours in the route's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExtensionRef {
    /// `RouteMatch` or `DirectResponse`.
    pub(super) kind: Kind,
    /// Its name.
    pub(super) name: Name,
}

/// A checked `RouteMatch`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckedRouteMatch {
    /// On a cookie.
    pub(super) cookie: Option<CookieMatch>,
    /// On the caller.
    pub(super) sources: Sources,
    /// On the Service's port.
    pub(super) port: Option<Port>,
}

/// What a backendRef names.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RefTarget {
    /// A Service's port.
    Service(DestinationName),
    /// Another kind, as `group/kind`.
    Other(String),
}

/// Why a reference does not resolve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BrokenRef {
    /// The reason of the condition `ResolvedRefs`.
    pub(super) reason: &'static str,
    /// In words.
    pub(super) message: String,
}

/// `retry` of an `HTTPRoute` rule: replaces these parts of the policy in force.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RuleRetry {
    /// Tries after the first.
    pub(super) attempts: Option<u32>,
    /// Statuses that are retried.
    pub(super) statuses: Vec<StatusRange>,
    /// The first wait.
    pub(super) backoff: Option<Duration>,
}

/// A checked `TrafficPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckedTraffic {
    /// What it applies to.
    pub(super) targets: Vec<TrafficTarget>,
    /// What it sets.
    pub(super) sections: Sections,
}

/// What a `TrafficPolicy` applies to, in its own namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TrafficTarget {
    /// The whole namespace.
    Namespace,
    /// A Service.
    Service(Name),
    /// A port of a Service by number.
    ServicePort(Name, Port),
    /// A port of a Service by name.
    ServicePortNamed(Name, String),
    /// A route of this kind.
    Route(Kind, Name),
    /// A rule of a route.
    Rule(Kind, Name, Name),
}

/// The sections of a policy; each is replaced whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sections {
    /// Time allowed.
    pub(super) timeout: Option<Timeouts>,
    /// Retries, every field filled in.
    pub(super) retry: Option<RetryPolicy>,
    /// How an endpoint is chosen, every field filled in.
    pub(super) load_balancing: Option<LoadBalancing>,
    /// What keeps a user on a backend.
    pub(super) stickiness: Option<Stickiness>,
    /// Bounds on what is in flight.
    pub(super) limits: Option<Limits>,
    /// When endpoints are taken out for what they answer.
    pub(super) outlier_detection: Option<OutlierDetection>,
    /// How endpoints are asked whether they work.
    pub(super) health_check: Option<HealthCheck>,
    /// Injected faults.
    pub(super) fault: Option<Vec<Fault>>,
    /// How copies are made.
    pub(super) mirror: Option<Mirroring>,
}

/// The `loadBalancing` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LoadBalancing {
    /// By what.
    pub(super) algorithm: Algorithm,
    /// What of a request picks the endpoint.
    pub(super) hash_on: Vec<KeySource>,
    /// How long an endpoint is new.
    pub(super) slow_start: Option<Duration>,
    /// Which endpoints are preferred by where they are.
    pub(super) locality: Option<CheckedPreference>,
}

/// The `locality` part of that.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckedPreference {
    /// What is preferred.
    pub(super) preference: LocalityPreference,
    /// Whether it has an order of failover of its own.
    pub(super) says_failover: bool,
}

/// The `timeout` section: `None` leaves the default, `Some(None)` is no limit.
#[expect(clippy::option_option, reason = "not set and no limit differ")]
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Timeouts {
    /// For the whole exchange.
    pub(super) request: Option<Option<Duration>>,
    /// For one try.
    pub(super) per_try: Option<Option<Duration>>,
    /// To connect.
    pub(super) connect: Option<Duration>,
    /// After which a pooled connection is closed, and an opaque one.
    pub(super) idle: Option<Duration>,
    /// Between two bytes of an exchange.
    pub(super) stream_idle: Option<Option<Duration>>,
    /// For all of an exchange.
    pub(super) max_stream_duration: Option<Option<Duration>>,
    /// Of a connection to an endpoint.
    pub(super) max_connection_age: Option<Option<Duration>>,
    /// Whether the next hop is told.
    pub(super) propagate_deadline: Option<bool>,
}

/// A checked `MutualTLSPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckedMutualTls {
    /// The workloads; `None` for the whole namespace.
    pub(super) selector: Option<Labels>,
    /// The mode.
    pub(super) mode: MutualTls,
    /// Other modes by port.
    pub(super) ports: BTreeMap<Port, MutualTls>,
    /// Dates by which it, or a port of it, is to end.
    pub(super) until: BTreeSet<Date>,
}

/// A checked `AuthorizationPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckedAuthorization {
    /// The workloads; `None` for the whole namespace.
    pub(super) selector: Option<Labels>,
    /// What becomes of a call that a rule takes in.
    pub(super) action: Action,
    /// It only counts.
    pub(super) audit: bool,
    /// Its rules.
    pub(super) rules: Vec<AuthorizationRule>,
}

/// A checked `RateLimitPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CheckedRateLimits {
    /// What it applies to.
    pub(super) targets: RateTargets,
    /// Its limits on requests.
    pub(super) limits: Vec<RateLimit>,
    /// Its limit on connections.
    pub(super) connections: Option<Rate>,
}

/// What a `RateLimitPolicy` applies to, in its own namespace.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RateTargets {
    /// Workloads with these labels.
    Workloads(Labels),
    /// What it names: no route of connections.
    Objects(Vec<TrafficTarget>),
}

impl CheckedRateLimits {
    /// True if it is about rules of routes.
    pub(super) fn names_routes(&self) -> bool {
        let is_route = |target: &TrafficTarget| {
            matches!(target, TrafficTarget::Route(..) | TrafficTarget::Rule(..))
        };
        match &self.targets {
            RateTargets::Workloads(_) => false,
            RateTargets::Objects(targets) => targets.iter().any(is_route),
        }
    }
}
