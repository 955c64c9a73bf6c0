//! Merging of settings: the most specific level wins, section by section, each value with its origin.
//!
//! Of two policies at one level the older wins, then the first by name; the other is `Conflicted`.

use crate::model::affinity::Stickiness;
use crate::model::fault::Fault;
use crate::model::mirror::Mirroring;
use crate::model::origin::{Origin, Sourced};
use crate::model::policy::{BackendSettings, Backoff, Conditions, ExchangeTimeouts, RetryPolicy};
use crate::name::{DestinationName, Name, Namespace, ObjectName};
use crate::translate::checked::{
    CheckedRule, RuleRetry, Sections, ServicePort, Timeouts, TrafficTarget,
};
use crate::translate::index::{Index, RouteKey};

/// A section of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Timeout,
    Retry,
    LoadBalancing,
    Limits,
    OutlierDetection,
    HealthCheck,
    Fault,
    Mirror,
    Stickiness,
}

impl Section {
    pub(super) const ALL: [Self; 9] = [
        Self::Timeout,
        Self::Retry,
        Self::LoadBalancing,
        Self::Limits,
        Self::OutlierDetection,
        Self::HealthCheck,
        Self::Fault,
        Self::Mirror,
        Self::Stickiness,
    ];

    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Retry => "retry",
            Self::LoadBalancing => "loadBalancing",
            Self::Limits => "limits",
            Self::OutlierDetection => "outlierDetection",
            Self::HealthCheck => "healthCheck",
            Self::Fault => "fault",
            Self::Mirror => "mirror",
            Self::Stickiness => "stickiness",
        }
    }

    pub(super) fn is_in(self, sections: &Sections) -> bool {
        match self {
            Self::Timeout => sections.timeout.is_some(),
            Self::Retry => sections.retry.is_some(),
            Self::LoadBalancing => sections.load_balancing.is_some(),
            Self::Stickiness => sections.stickiness.is_some(),
            Self::Limits => sections.limits.is_some(),
            Self::OutlierDetection => sections.outlier_detection.is_some(),
            Self::HealthCheck => sections.health_check.is_some(),
            Self::Fault => sections.fault.is_some(),
            Self::Mirror => sections.mirror.is_some(),
        }
    }
}

/// A rule of a route, for which settings are merged.
pub(super) struct RuleAt<'a> {
    pub(super) route: &'a RouteKey,
    pub(super) index: u32,
    pub(super) rule: &'a CheckedRule,
}

impl RuleAt<'_> {
    fn origin(&self, field: &str) -> Origin {
        Origin::Field {
            kind: self.route.kind.to_string(),
            object: self.route.name.clone(),
            path: format!("spec.rules[{}].{field}", self.index),
        }
    }
}

/// The sections in force somewhere, and who set them.
struct Found<'a> {
    sections: &'a Sections,
    kind: &'static str,
    object: Option<ObjectName>,
    prefix: &'static str,
}

impl Found<'_> {
    fn origin(&self, path: &str) -> Origin {
        let object = self.object.clone().or_else(|| "mesh/default".parse().ok());
        object.map_or(Origin::Default, |object| Origin::Field {
            kind: self.kind.to_owned(),
            object,
            path: format!("{}.{path}", self.prefix),
        })
    }
}

/// How the endpoints of a backend are reached.
pub(super) fn backend(
    index: &Index,
    name: &DestinationName,
    port: &ServicePort,
) -> BackendSettings {
    backend_at(index, &service_levels(name, port))
}

/// How an endpoint is reached that is no Service's.
pub(super) fn backend_within(index: &Index, namespace: &Namespace) -> BackendSettings {
    backend_at(index, &[namespace_level(namespace)])
}

fn backend_at(index: &Index, levels: &[Level]) -> BackendSettings {
    let mut settings = BackendSettings::default();
    if let Some(found) = find(index, levels, Section::Timeout)
        && let Some(timeout) = &found.sections.timeout
    {
        if let Some(connect) = timeout.connect {
            settings.connect_timeout = Sourced::new(connect, found.origin("timeout.connect"));
        }
        if let Some(idle) = timeout.idle {
            settings.pool_idle = Sourced::new(idle, found.origin("timeout.idle"));
            settings.tcp_idle = Sourced::new(Some(idle), found.origin("timeout.idle"));
        }
        if let Some(age) = timeout.max_connection_age {
            settings.max_connection_age =
                Sourced::new(age, found.origin("timeout.maxConnectionAge"));
        }
    }
    if let Some(found) = find(index, levels, Section::LoadBalancing)
        && let Some(section) = &found.sections.load_balancing
    {
        settings.algorithm =
            Sourced::new(section.algorithm, found.origin("loadBalancing.algorithm"));
        if !section.hash_on.is_empty() {
            let hash_on = section.hash_on.clone();
            settings.hash_on = Sourced::new(hash_on, found.origin("loadBalancing.hashOn"));
        }
        if section.slow_start.is_some() {
            let origin = found.origin("loadBalancing.slowStart");
            settings.slow_start = Sourced::new(section.slow_start, origin);
        }
        if let Some(checked) = &section.locality {
            let mut preference = checked.preference.clone();
            if preference.prefer_local && !checked.says_failover {
                preference.failover.clone_from(&index.mesh.failover);
            }
            let origin = found.origin("loadBalancing.locality");
            settings.locality = Sourced::new(Some(preference), origin);
        }
    }
    if let Some(found) = find(index, levels, Section::Limits)
        && let Some(limits) = found.sections.limits
    {
        settings.limits = Sourced::new(limits, found.origin("limits"));
    }
    if let Some(found) = find(index, levels, Section::OutlierDetection) {
        let policy = found.sections.outlier_detection;
        let origin = found.origin("outlierDetection");
        settings.outlier_detection = policy.map(|policy| Sourced::new(policy, origin));
    }
    if let Some(found) = find(index, levels, Section::HealthCheck) {
        let check = found.sections.health_check.clone();
        let origin = found.origin("healthCheck");
        settings.health_check = check.map(|check| Sourced::new(check, origin));
    }
    settings
}

/// The timeouts and retries of exchanges with a destination, for a rule or where no rule matched.
pub(super) fn exchange(
    index: &Index,
    name: &DestinationName,
    port: &ServicePort,
    rule: Option<&RuleAt<'_>>,
) -> (ExchangeTimeouts, Sourced<RetryPolicy>) {
    let mut levels = rule.map_or_else(Vec::new, route_levels);
    levels.extend(service_levels(name, port));
    let (mut timeouts, mut retry) = exchange_at(index, &levels);
    if let Some(at) = rule {
        let origin = |field: &str| at.origin(field);
        if let Some(request) = at.rule.request_timeout {
            timeouts.request = Sourced::new(request, origin("timeouts.request"));
        }
        if let Some(per_try) = at.rule.per_try_timeout {
            timeouts.per_try = Sourced::new(per_try, origin("timeouts.backendRequest"));
        }
        if let Some(fields) = &at.rule.retry {
            retry = Sourced::new(overlay(retry.value, fields), origin("retry"));
        }
    }
    (timeouts, retry)
}

/// What keeps users of a destination, for a rule or where no rule matched.
pub(super) fn stickiness(
    index: &Index,
    name: &DestinationName,
    port: &ServicePort,
    rule: Option<&RuleAt<'_>>,
) -> Option<Sourced<Stickiness>> {
    let own = rule.and_then(|at| Some((at, at.rule.session.as_ref()?)));
    if let Some((at, session)) = own {
        return Some(Sourced::new(
            session.clone(),
            at.origin("sessionPersistence"),
        ));
    }
    let mut levels = rule.map_or_else(Vec::new, route_levels);
    levels.extend(service_levels(name, port));
    let found = find(index, &levels, Section::Stickiness)?;
    let stickiness = found.sections.stickiness.clone()?;
    Some(Sourced::new(stickiness, found.origin("stickiness")))
}

/// The timeouts and retries of exchanges with an endpoint that is no Service's.
pub(super) fn exchange_within(
    index: &Index,
    namespace: &Namespace,
) -> (ExchangeTimeouts, Sourced<RetryPolicy>) {
    exchange_at(index, &[namespace_level(namespace)])
}

fn exchange_at(index: &Index, levels: &[Level]) -> (ExchangeTimeouts, Sourced<RetryPolicy>) {
    let mut timeouts = ExchangeTimeouts::default();
    if let Some(found) = find(index, levels, Section::Timeout)
        && let Some(Timeouts {
            request,
            per_try,
            stream_idle,
            max_stream_duration,
            propagate_deadline,
            ..
        }) = &found.sections.timeout
    {
        let set = |field: &str| found.origin(&format!("timeout.{field}"));
        if let Some(idle) = stream_idle {
            timeouts.stream_idle = Sourced::new(*idle, set("streamIdle"));
        }
        if let Some(longest) = max_stream_duration {
            timeouts.max_stream_duration = Sourced::new(*longest, set("maxStreamDuration"));
        }
        if let Some(propagate) = propagate_deadline {
            timeouts.propagate_deadline = Sourced::new(*propagate, set("propagateDeadline"));
        }
        if let Some(request) = request {
            timeouts.request = Sourced::new(*request, found.origin("timeout.request"));
        }
        if let Some(per_try) = per_try {
            timeouts.per_try = Sourced::new(*per_try, found.origin("timeout.perTry"));
        }
    }
    let mut retry = Sourced::default_value(RetryPolicy::default());
    if let Some(found) = find(index, levels, Section::Retry)
        && let Some(policy) = &found.sections.retry
    {
        retry = Sourced::new(policy.clone(), found.origin("retry"));
    }
    (timeouts, retry)
}

/// The faults injected into exchanges with a destination, for a rule or where no rule matched.
pub(super) fn faults(
    index: &Index,
    name: &DestinationName,
    port: &ServicePort,
    rule: Option<&RuleAt<'_>>,
) -> Sourced<Vec<Fault>> {
    let mut levels = rule.map_or_else(Vec::new, route_levels);
    levels.extend(service_levels(name, port));
    faults_at(index, &levels)
}

/// How copies of a rule's requests are made.
pub(super) fn mirroring(
    index: &Index,
    name: &DestinationName,
    port: &ServicePort,
    rule: &RuleAt<'_>,
) -> Sourced<Mirroring> {
    let mut levels = route_levels(rule);
    levels.extend(service_levels(name, port));
    match find(index, &levels, Section::Mirror) {
        Some(found) => {
            let settings = found.sections.mirror.clone().unwrap_or_default();
            Sourced::new(settings, found.origin("mirror"))
        }
        None => Sourced::default(),
    }
}

/// The faults injected into exchanges with an endpoint that is no Service's.
pub(super) fn faults_within(index: &Index, namespace: &Namespace) -> Sourced<Vec<Fault>> {
    faults_at(index, &[namespace_level(namespace)])
}

fn faults_at(index: &Index, levels: &[Level]) -> Sourced<Vec<Fault>> {
    match find(index, levels, Section::Fault) {
        Some(found) => {
            let faults = found.sections.fault.clone().unwrap_or_default();
            Sourced::new(faults, found.origin("fault"))
        }
        None => Sourced::default(),
    }
}

/// `HTTPRoute` can say three parts of a retry policy; the others stay as the policy beneath has
/// them. Connection faults and timeouts of a try are retried too, as the Gateway API asks
/// (`HTTPRouteRetry`).
fn overlay(policy: RetryPolicy, fields: &RuleRetry) -> RetryPolicy {
    let backoff = fields.backoff.map_or(policy.backoff, |base| Backoff {
        base,
        max: policy.backoff.max.max(base.saturating_mul(10)),
        ..policy.backoff
    });
    RetryPolicy {
        attempts: fields.attempts.unwrap_or(policy.attempts),
        statuses: if fields.statuses.is_empty() {
            policy.statuses
        } else {
            fields.statuses.clone()
        },
        conditions: Conditions {
            connect_failure: true,
            reset: true,
            refused_stream: true,
            per_try_timeout: true,
        },
        backoff,
        ..policy
    }
}

/// One level: policies of this namespace with one of these targets.
struct Level {
    namespace: Namespace,
    targets: Vec<TrafficTarget>,
}

fn route_levels(at: &RuleAt<'_>) -> Vec<Level> {
    let RouteKey { kind, name } = at.route;
    let level = |target| Level {
        namespace: name.namespace.clone(),
        targets: vec![target],
    };
    let rule = at
        .rule
        .name
        .clone()
        .map(|rule: Name| level(TrafficTarget::Rule(*kind, name.name.clone(), rule)));
    rule.into_iter()
        .chain([level(TrafficTarget::Route(*kind, name.name.clone()))])
        .collect()
}

fn service_levels(name: &DestinationName, port: &ServicePort) -> Vec<Level> {
    let service = name.service.name.clone();
    let level = |targets| Level {
        namespace: name.service.namespace.clone(),
        targets,
    };
    vec![
        level(vec![
            TrafficTarget::ServicePort(service.clone(), name.port),
            TrafficTarget::ServicePortNamed(service.clone(), port.name.clone()),
        ]),
        level(vec![TrafficTarget::Service(service)]),
        namespace_level(&name.service.namespace),
    ]
}

fn namespace_level(namespace: &Namespace) -> Level {
    Level {
        namespace: namespace.clone(),
        targets: vec![TrafficTarget::Namespace],
    }
}

/// The section in force: of the first level that has it, else of the Mesh.
fn find<'a>(index: &'a Index, levels: &[Level], section: Section) -> Option<Found<'a>> {
    let of_policy = levels.iter().find_map(|level| {
        let policies = index.traffic.within(&level.namespace).filter(|(_, dated)| {
            section.is_in(&dated.value.sections)
                && dated
                    .value
                    .targets
                    .iter()
                    .any(|target| level.targets.contains(target))
        });
        let (name, dated) = policies.min_by_key(|(name, dated)| (dated.created, *name))?;
        Some(Found {
            sections: &dated.value.sections,
            kind: "TrafficPolicy",
            object: Some(ObjectName::new(level.namespace.clone(), name.clone())),
            prefix: "spec",
        })
    });
    of_policy.or_else(|| {
        let sections = &index.mesh.traffic;
        section.is_in(sections).then_some(Found {
            sections,
            kind: "Mesh",
            object: None,
            prefix: "spec.traffic",
        })
    })
}
