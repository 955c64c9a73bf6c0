//! What an entry asks of the proxy that takes it. A proxy that lacks a feature refuses the entry,
//! instead of dropping in silence a condition it cannot read.

use std::collections::BTreeSet;

use crate::model::breaker::Limits;
use crate::model::connection::ConnectionRouteKind;
use crate::model::destination::Destination;
use crate::model::entry::Entry;
use crate::model::path::{PathMatch, TextMatch};
use crate::model::policy::{Algorithm, Backoff, ExchangeTimeouts, Jitter, RetryPolicy};
use crate::model::route::{Action, RouteKind, Rule};

/// What this build knows, sorted.
pub const KNOWN: &[&str] = &[
    AUTHORIZATION,
    BACKEND_REWRITE,
    CONNECTION_AGE,
    CORS,
    DEADLINE,
    DIRECT_RESPONSE,
    FAULT,
    GRPC_RETRY,
    GRPC_ROUTE,
    HEALTH_CHECK,
    HTTP_ROUTE,
    INBOUND,
    LEAST_REQUEST,
    LIMITS,
    LOCALITY,
    MAGLEV,
    MIRROR,
    OUTLIER_DETECTION,
    PEAK_EWMA,
    RANDOM,
    RATE_LIMIT,
    REDIRECT,
    REGULAR_EXPRESSION,
    RETRY_HEADER,
    RETRY_JITTER,
    RETRY_POLICY,
    REWRITE,
    RING_HASH,
    ROUND_ROBIN,
    ROUTE_MATCH,
    SLOW_START,
    STICKINESS,
    STREAM_TIMEOUT,
    TCP_IDLE,
    TCP_ROUTE,
    TIMEOUT,
    TLS_ROUTE,
    UNLISTED_PORTS,
];

const AUTHORIZATION: &str = "authorization";
const BACKEND_REWRITE: &str = "backend-rewrite";
const CONNECTION_AGE: &str = "connection-age";
const CORS: &str = "cors";
const DEADLINE: &str = "deadline";
const DIRECT_RESPONSE: &str = "direct-response";
const FAULT: &str = "fault";
const GRPC_RETRY: &str = "grpc-retry";
const GRPC_ROUTE: &str = "grpc-route";
const HEALTH_CHECK: &str = "health-check";
const HTTP_ROUTE: &str = "http-route";
const INBOUND: &str = "inbound";
const LEAST_REQUEST: &str = "least-request";
const LIMITS: &str = "limits";
const LOCALITY: &str = "locality";
const MAGLEV: &str = "maglev";
const MIRROR: &str = "mirror";
const OUTLIER_DETECTION: &str = "outlier-detection";
const PEAK_EWMA: &str = "peak-ewma";
const RANDOM: &str = "random";
const RATE_LIMIT: &str = "rate-limit";
const REDIRECT: &str = "redirect";
const REGULAR_EXPRESSION: &str = "regular-expression";
const RETRY_HEADER: &str = "retry-header";
const RETRY_JITTER: &str = "retry-jitter";
const RETRY_POLICY: &str = "retry-policy";
const REWRITE: &str = "rewrite";
const RING_HASH: &str = "ring-hash";
const ROUND_ROBIN: &str = "round-robin";
const ROUTE_MATCH: &str = "route-match";
const SLOW_START: &str = "slow-start";
const STICKINESS: &str = "stickiness";
const STREAM_TIMEOUT: &str = "stream-timeout";
const TCP_IDLE: &str = "tcp-idle";
const TCP_ROUTE: &str = "tcp-route";
const TIMEOUT: &str = "timeout";
const TLS_ROUTE: &str = "tls-route";
const UNLISTED_PORTS: &str = "unlisted-ports";

/// The features `entry` needs, sorted.
pub fn features_needed(entry: &Entry) -> Vec<String> {
    let mut needed = BTreeSet::new();
    match entry {
        Entry::Mesh(_) | Entry::Address(_) => {}
        Entry::Inbound(inbound) => {
            needed.insert(INBOUND);
            needed.extend(inbound.unlisted.as_ref().map(|_| UNLISTED_PORTS));
            needed.extend((!inbound.authorizations.is_empty()).then_some(AUTHORIZATION));
            needed.extend((!inbound.rate_limits.is_empty()).then_some(RATE_LIMIT));
        }
        Entry::Destination(destination) => of_destination(destination, &mut needed),
    }
    needed.into_iter().map(str::to_owned).collect()
}

/// Those of `features` that this build does not know.
pub fn missing_features(features: &[String]) -> Vec<String> {
    let unknown = |feature: &&String| !KNOWN.contains(&feature.as_str());
    features.iter().filter(unknown).cloned().collect()
}

fn of_destination(destination: &Destination, needed: &mut BTreeSet<&'static str>) {
    needed.extend(retry(&destination.retry.value));
    needed.extend(destination.stickiness.as_ref().map(|_| STICKINESS));
    for backend in &destination.backends {
        needed.insert(match backend.settings.algorithm.value {
            Algorithm::PeakEwma => PEAK_EWMA,
            Algorithm::LeastRequest => LEAST_REQUEST,
            Algorithm::RoundRobin => ROUND_ROBIN,
            Algorithm::Random => RANDOM,
            Algorithm::RingHash => RING_HASH,
            Algorithm::Maglev => MAGLEV,
        });
        let settings = &backend.settings;
        needed.extend(settings.max_connection_age.value.map(|_| CONNECTION_AGE));
        needed.extend(settings.tcp_idle.value.map(|_| TCP_IDLE));
        let outliers = settings.outlier_detection.as_ref();
        needed.extend(outliers.map(|_| OUTLIER_DETECTION));
        needed.extend(settings.health_check.as_ref().map(|_| HEALTH_CHECK));
        needed.extend(settings.slow_start.value.map(|_| SLOW_START));
        needed.extend(settings.locality.value.as_ref().map(|_| LOCALITY));
        let limits = settings.limits.value;
        needed.extend((limits != Limits::default()).then_some(LIMITS));
    }
    needed.extend(timeouts(&destination.timeouts));
    needed.extend((!destination.faults.is_empty()).then_some(FAULT));
    for route in &destination.connection_routes {
        needed.insert(match route.kind {
            ConnectionRouteKind::Tcp => TCP_ROUTE,
            ConnectionRouteKind::Tls => TLS_ROUTE,
        });
        needed.extend(retry(&route.rule.retry.value));
    }
    needed.extend(destination.routes.iter().map(|route| match route.kind {
        RouteKind::Http => HTTP_ROUTE,
        RouteKind::Grpc => GRPC_ROUTE,
    }));
    for rule in destination.routes.iter().flat_map(|route| &route.rules) {
        needed.extend(timeouts(&rule.timeouts));
        needed.extend(retry(&rule.retry.value));
        of_rule(rule, needed);
    }
}

fn of_rule(rule: &Rule, needed: &mut BTreeSet<&'static str>) {
    needed.extend(rule.stickiness.as_ref().map(|_| STICKINESS));
    match &rule.action {
        Action::Redirect(_) => {
            needed.insert(REDIRECT);
        }
        Action::Forward { rewrite, backends } => {
            needed.extend(rewrite.as_ref().map(|_| REWRITE));
            let mut backends = backends.iter();
            let rewrites = backends.any(|one| one.rewrite.is_some() || one.redirect.is_some());
            needed.extend(rewrites.then_some(BACKEND_REWRITE));
        }
        Action::Respond(_) | Action::Broken { .. } => {
            needed.insert(DIRECT_RESPONSE);
        }
    }
    needed.extend((!rule.narrowings.is_empty()).then_some(ROUTE_MATCH));
    needed.extend(rule.cors.as_ref().map(|_| CORS));
    needed.extend((!rule.mirrors.is_empty()).then_some(MIRROR));
    let expression = |value: &TextMatch| matches!(value, TextMatch::RegularExpression(_));
    let uses_expressions = rule.matches.iter().any(|conditions| {
        let of_path = match &conditions.path {
            PathMatch::RegularExpression(_) => true,
            PathMatch::Call(call) => {
                let mut parts = [&call.service, &call.method].into_iter().flatten();
                parts.any(expression)
            }
            PathMatch::Exact(_) | PathMatch::Prefix(_) => false,
        };
        of_path
            || conditions
                .headers
                .iter()
                .any(|header| expression(&header.value))
            || conditions
                .query
                .iter()
                .any(|query| expression(&query.value))
    });
    let mut cookies = rule.narrowings.iter().filter_map(|one| one.cookie.as_ref());
    let of_cookies = cookies.any(|cookie| cookie.value.as_ref().is_some_and(expression));
    needed.extend((uses_expressions || of_cookies).then_some(REGULAR_EXPRESSION));
}

fn timeouts(timeouts: &ExchangeTimeouts) -> impl Iterator<Item = &'static str> {
    let ExchangeTimeouts {
        request,
        per_try,
        stream_idle,
        max_stream_duration,
        propagate_deadline,
    } = timeouts;
    let of_requests = request.value.or(per_try.value).map(|_| TIMEOUT);
    let streams = stream_idle.value.or(max_stream_duration.value);
    let of_streams = streams.map(|_| STREAM_TIMEOUT);
    let told = propagate_deadline.value.then_some(DEADLINE);
    [of_requests, of_streams, told].into_iter().flatten()
}

fn retry(policy: &RetryPolicy) -> impl Iterator<Item = &'static str> {
    let changed = (*policy != RetryPolicy::default()).then_some(RETRY_POLICY);
    let by_code = (!policy.grpc_codes.is_empty()).then_some(GRPC_RETRY);
    let by_header = policy.response_header.as_ref().map(|_| RETRY_HEADER);
    let Backoff {
        jitter, jitter_min, ..
    } = policy.backoff;
    let jittered = jitter == Jitter::Decorrelated || !jitter_min.is_zero();
    let by_jitter = jittered.then_some(RETRY_JITTER);
    [changed, by_code, by_header, by_jitter]
        .into_iter()
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{destination, route, rule};
    use crate::model::connection::{ConnectionRoute, ConnectionRule};
    use crate::model::grpc::GrpcCode;
    use crate::model::origin::Sourced;

    fn needed(change: impl FnOnce(&mut Destination)) -> String {
        let mut changed = destination(Vec::new());
        change(&mut changed);
        features_needed(&Entry::Destination(changed)).join(" ")
    }

    fn connections(kind: ConnectionRouteKind) -> ConnectionRoute {
        ConnectionRoute {
            kind,
            name: "demo/r".parse().unwrap(),
            created: 1,
            hostnames: Vec::new(),
            rule: ConnectionRule {
                name: None,
                backends: Vec::new(),
                retry: Sourced::default(),
            },
        }
    }

    #[test]
    fn each_kind_of_route_is_a_feature() {
        assert_eq!(needed(|_| {}), "peak-ewma");
        for (kind, expected) in [
            (RouteKind::Http, "http-route peak-ewma"),
            (RouteKind::Grpc, "grpc-route peak-ewma"),
        ] {
            let mut route = route("r", 1, vec![rule(&["prefix /"], &[(0, 1)])]);
            route.kind = kind;
            assert_eq!(needed(|d| d.routes.push(route)), expected);
        }
        let calls = rule(&["call ~a.*/*"], &[(0, 1)]);
        let mut route = route("r", 1, vec![calls]);
        route.kind = RouteKind::Grpc;
        assert_eq!(
            needed(|d| d.routes.push(route)),
            "grpc-route peak-ewma regular-expression"
        );
        for (kind, expected) in [
            (ConnectionRouteKind::Tcp, "peak-ewma tcp-route"),
            (ConnectionRouteKind::Tls, "peak-ewma tls-route"),
        ] {
            let route = connections(kind);
            assert_eq!(needed(|d| d.connection_routes.push(route)), expected);
        }
        let codes = vec![GrpcCode::Unavailable];
        assert_eq!(
            needed(|d| d.retry.value.grpc_codes = codes),
            "grpc-retry peak-ewma retry-policy"
        );
        // What an older proxy says of them.
        let asked = ["http-route", "grpc-route", "new-route"].map(str::to_owned);
        assert_eq!(missing_features(&asked), ["new-route"]);
        assert!(KNOWN.is_sorted());
    }
}
