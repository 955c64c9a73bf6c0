//! The configuration in force as JSON, for people and `meshctl proxy-config`.

use mesh_api::decide::route::{path_text, value_text};
use mesh_api::model::authorization::{self, Authorization};
use mesh_api::model::backend::{Backend, Endpoint, Transport};
use mesh_api::model::breaker::Limits;
use mesh_api::model::connection::ConnectionRoute;
use mesh_api::model::health::{HealthCheck, Question};
use mesh_api::model::inbound::Inbound;
use mesh_api::model::mesh::{MeshFacts, UnknownDestinations};
use mesh_api::model::narrowing::Narrowing;
use mesh_api::model::origin::Sourced;
use mesh_api::model::outlier::OutlierDetection;
use mesh_api::model::path::PathMatch;
use mesh_api::model::policy::{ExchangeTimeouts, MutualTls, RetryPolicy};
use mesh_api::model::ratelimit::{RateLimiting, Reach};
use mesh_api::model::route::{
    Action, HeaderChanges, PathRewrite, Redirect, Rewrite, Route, RouteMatch, Rule, Target,
    WeightedBackend,
};
use mesh_api::name::DestinationName;
use mesh_api::snapshot::{DestinationTable, FaultTable, Known};
use serde_json::{Value, json};

use super::listeners::listeners;
use crate::bootstrap::Bootstrap;
use crate::config::Config;

/// Everything in force.
pub(super) fn config(config: &Config, bootstrap: &Bootstrap) -> Value {
    let snapshot = config.snapshot();
    let mut destinations: Vec<_> = snapshot.destinations.iter().collect();
    destinations.sort_by(|a, b| a.0.cmp(b.0));
    let destinations = destinations.into_iter();
    json!({
        "workload": bootstrap.workload,
        "serviceAccount": bootstrap.service_account,
        "status": config.status(),
        "listeners": listeners(bootstrap, &snapshot),
        "mesh": snapshot.mesh.as_deref().map(mesh),
        "inbound": snapshot.inbound.values().map(|held| inbound(held)).collect::<Vec<_>>(),
        "destinations": destinations.map(|(name, known)| known_json(name, known)).collect::<Vec<_>>(),
    })
}

fn mesh(facts: &MeshFacts) -> Value {
    json!({
        "trustDomain": facts.trust_domain,
        "trustDomainAliases": facts.trust_domain_aliases,
        "clusterDomain": facts.cluster_domain,
        "ranges": facts.ranges,
        "unknownDestinations": match facts.unknown_destinations {
            UnknownDestinations::Allow => "Allow",
            UnknownDestinations::Deny => "Deny",
        },
    })
}

fn inbound(held: &Inbound) -> Value {
    let mode = |mode: MutualTls| match mode {
        MutualTls::Disabled => "Disabled",
        MutualTls::Permissive => "Permissive",
        MutualTls::Strict => "Strict",
    };
    let ports = held.ports.iter().map(|port| {
        json!({
            "port": port.port,
            "protocol": port.protocol.as_str(),
            "mutualTLS": sourced(&port.mutual_tls, |value| json!(mode(*value))),
            "services": port.services,
        })
    });
    json!({
        "workload": held.workload,
        "identity": held.identity,
        "addresses": held.addresses,
        "tunnelPort": held.tunnel_port,
        "ports": ports.collect::<Vec<_>>(),
        "unlisted": held.unlisted.as_ref().map(|unlisted| sourced(unlisted, |value| json!(mode(*value)))),
        "rateLimits": held.rate_limits.iter().map(rate_limiting).collect::<Vec<_>>(),
        "authorizations": held.authorizations.iter().map(authorization).collect::<Vec<_>>(),
    })
}

fn rate_limiting(held: &RateLimiting) -> Value {
    let reach = held.reach.iter().map(|reach| match reach {
        Reach::Workload => json!({ "workload": true }),
        Reach::Port(port) => json!({ "port": port }),
        Reach::Rules(rules) => json!({
            "port": rules.port,
            "route": rules.route,
            "rule": rules.rule,
        }),
    });
    let limits = held.limits.iter().map(|limit| {
        json!({
            "name": limit.name,
            "rate": limit.rate.to_string(),
            "by": limit.by.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "matches": limit.matches.len(),
            "status": limit.status,
            "origin": format!("RateLimitPolicy {} spec.limits[{}]", held.policy, limit.place),
        })
    });
    json!({
        "policy": held.policy,
        "reach": reach.collect::<Vec<_>>(),
        "limits": limits.collect::<Vec<_>>(),
        "connections": held.connections.map(|rate| rate.to_string()),
    })
}

fn authorization(held: &Authorization) -> Value {
    let rules = held.rules.iter().map(|rule| {
        let from = rule.callers.iter().map(|callers| {
            json!({
                "identities": callers.identities,
                "namespaces": callers.namespaces,
                "not": { "identities": callers.not_identities, "namespaces": callers.not_namespaces },
            })
        });
        let to = rule.operations.iter().map(|operations| {
            json!({ "ports": operations.ports, "not": { "ports": operations.not_ports } })
        });
        json!({ "from": from.collect::<Vec<_>>(), "to": to.collect::<Vec<_>>() })
    });
    json!({
        "policy": held.policy,
        "action": match held.action {
            authorization::Action::Allow => "Allow",
            authorization::Action::Deny => "Deny",
        },
        "enforcement": if held.audit { "Audit" } else { "Enforce" },
        "rules": rules.collect::<Vec<_>>(),
    })
}

fn known_json(name: &DestinationName, known: &Known) -> Value {
    match known {
        Known::Absent => json!({ "name": name, "state": "absent" }),
        Known::Failed(reason) => json!({ "name": name, "state": "failed", "reason": reason }),
        Known::Present(table) => present(table),
    }
}

fn present(table: &DestinationTable) -> Value {
    let source = table.destination();
    json!({
        "name": table.name,
        "state": "present",
        "consumer": table.consumer,
        "protocol": table.protocol.as_str(),
        "addresses": table.addresses,
        "routes": source.routes.iter().map(|route| route_json(route, table)).collect::<Vec<_>>(),
        "connectionRoutes": source
            .connection_routes
            .iter()
            .map(|route| connection_route(route, table))
            .collect::<Vec<_>>(),
        "backends": table.backends.iter().map(|held| backend(held)).collect::<Vec<_>>(),
        "timeouts": timeouts(&table.timeouts),
        "retry": retry(&table.retry),
        "faults": table.faults_at(table.own_faults).map(faults_json),
    })
}

fn route_json(route: &Route, table: &DestinationTable) -> Value {
    let rules = route.rules.iter().map(|rule| rule_json(rule, table));
    json!({
        "kind": route.kind.as_str(),
        "name": route.name,
        "created": route.created,
        "rules": rules.collect::<Vec<_>>(),
    })
}

fn connection_route(route: &ConnectionRoute, table: &DestinationTable) -> Value {
    let backends = route
        .rule
        .backends
        .iter()
        .map(|one| json!({ "weight": one.weight, "backend": target_json(&one.target, table) }));
    json!({
        "kind": route.kind.as_str(),
        "name": route.name,
        "created": route.created,
        "ruleName": route.rule.name,
        "hostnames": route.hostnames,
        "backends": backends.collect::<Vec<_>>(),
        "retry": retry(&route.rule.retry),
    })
}

fn target_json(target: &Target, table: &DestinationTable) -> Value {
    match target {
        Target::Backend(index) => {
            let held = table.backends.get(*index as usize);
            json!(held.map(|held| held.name.clone()))
        }
        Target::Broken { reason } => json!({ "broken": reason }),
    }
}

fn rule_json(rule: &Rule, table: &DestinationTable) -> Value {
    let mut json = json!({
        "index": rule.index,
        "matches": rule.matches.iter().map(match_text).collect::<Vec<_>>(),
        "timeouts": timeouts(&rule.timeouts),
        "retry": retry(&rule.retry),
    });
    let mut set = |field: &str, value: Value| {
        if let Some(object) = json.as_object_mut() {
            object.insert(field.to_owned(), value);
        }
    };
    if let Some(name) = &rule.name {
        set("name", json!(name));
    }
    for (field, changes) in [
        ("requestHeaders", &rule.request_headers),
        ("responseHeaders", &rule.response_headers),
    ] {
        if !changes.is_empty() {
            set(field, header_changes(changes));
        }
    }
    for (field, value) in action_json(&rule.action, table) {
        set(field, value);
    }
    if !rule.narrowings.is_empty() {
        set(
            "narrowings",
            rule.narrowings.iter().map(narrowing_json).collect(),
        );
    }
    if let Some(list) = table.faults_at(rule.faults) {
        set("faults", faults_json(list));
    }
    if let Some(cors) = &rule.cors {
        let origins: Vec<_> = cors.origins.iter().map(ToString::to_string).collect();
        set(
            "cors",
            json!({ "origins": origins, "credentials": cors.credentials, "maxAge": cors.max_age }),
        );
    }
    json
}

fn action_json(action: &Action, table: &DestinationTable) -> Vec<(&'static str, Value)> {
    match action {
        Action::Redirect(redirect) => vec![("redirect", redirect_json(redirect))],
        Action::Respond(answer) => vec![(
            "answer",
            json!({ "by": answer.name, "status": answer.status, "bytes": answer.body.len() }),
        )],
        Action::Broken { reason } => vec![("broken", json!(reason))],
        Action::Forward { backends, rewrite } => {
            let backends = backends.iter().map(|one| weighted_json(one, table));
            let mut fields = vec![("backends", backends.collect())];
            fields.extend(
                rewrite
                    .as_ref()
                    .map(|rewrite| ("rewrite", rewrite_json(rewrite))),
            );
            fields
        }
    }
}

fn weighted_json(weighted: &WeightedBackend, table: &DestinationTable) -> Value {
    let mut json =
        json!({ "weight": weighted.weight, "backend": target_json(&weighted.target, table) });
    if let Some(rewrite) = &weighted.rewrite {
        json["rewrite"] = rewrite_json(rewrite);
    }
    if let Some(redirect) = &weighted.redirect {
        json["redirect"] = redirect_json(redirect);
    }
    json
}

fn redirect_json(redirect: &Redirect) -> Value {
    json!({ "status": redirect.status, "hostname": redirect.hostname, "scheme": redirect.scheme, "port": redirect.port, "path": redirect.path.as_ref().map(path_change) })
}

fn rewrite_json(rewrite: &Rewrite) -> Value {
    json!({ "hostname": rewrite.hostname, "path": rewrite.path.as_ref().map(path_change) })
}

fn faults_json(list: &FaultTable) -> Value {
    let texts = list.faults.value.iter().map(ToString::to_string);
    json!({ "value": texts.collect::<Vec<_>>(), "origin": list.faults.origin.to_string() })
}

fn narrowing_json(narrowing: &Narrowing) -> Value {
    let sources = &narrowing.sources;
    json!({
        "by": narrowing.name,
        "cookie": narrowing.cookie.as_ref().map(|cookie| cookie.name.clone()),
        "sourceNamespaces": sources.namespaces,
        "sourceLabels": sources.labels,
        "port": narrowing.port,
    })
}

fn match_text(conditions: &RouteMatch) -> String {
    let mut parts = vec![match &conditions.path {
        PathMatch::Call(_) => format!("call {}", path_text(&conditions.path)),
        path => format!("path {}", path_text(path)),
    }];
    if let Some(method) = &conditions.method {
        parts.push(format!("method {method}"));
    }
    let headers = conditions.headers.iter();
    parts.extend(headers.map(|h| format!("header {} {}", h.name, value_text(&h.value))));
    let query = conditions.query.iter();
    parts.extend(query.map(|q| format!("query {} {}", q.name, value_text(&q.value))));
    parts.join(", ")
}

fn path_change(path: &PathRewrite) -> Value {
    match path {
        PathRewrite::Full(text) => json!({ "full": text }),
        PathRewrite::Prefix(text) => json!({ "prefix": text }),
    }
}

fn header_changes(changes: &HeaderChanges) -> Value {
    json!({ "set": changes.set, "add": changes.add, "remove": changes.remove })
}

fn backend(held: &Backend) -> Value {
    let settings = &held.settings;
    json!({
        "name": held.name,
        "connectTimeout": sourced(&settings.connect_timeout, |value| json!(value.as_secs_f64())),
        "poolIdle": sourced(&settings.pool_idle, |value| json!(value.as_secs_f64())),
        "tcpIdle": sourced(&settings.tcp_idle, seconds),
        "maxConnectionAge": sourced(&settings.max_connection_age, seconds),
        "loadBalancing": sourced(&settings.algorithm, |value| json!(value.as_str())),
        "slowStart": sourced(&settings.slow_start, seconds),
        "locality": sourced(&settings.locality, |value| json!(value.as_ref().map(ToString::to_string))),
        "limits": sourced(&settings.limits, limits),
        "outlierDetection": settings
            .outlier_detection
            .as_ref()
            .map(|policy| sourced(policy, outlier_detection)),
        "healthCheck": settings
            .health_check
            .as_ref()
            .map(|check| sourced(check, health_check)),
        "endpoints": held.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

fn limits(held: &Limits) -> Value {
    json!({
        "connections": held.connections,
        "pendingRequests": held.pending_requests,
        "requests": held.requests,
        "retries": held.retries,
        "queueTimeout": held.queue_timeout.as_secs_f64(),
    })
}

fn health_check(held: &HealthCheck) -> Value {
    let question = match &held.question {
        Question::Http(http) => json!({ "http": {
            "method": http.method,
            "path": http.path,
            "host": http.host.as_ref().map(ToString::to_string),
            "expectedStatus": http.expected.iter().map(|range| [range.from, range.to]).collect::<Vec<_>>(),
        } }),
        Question::Tcp => json!({ "tcp": {} }),
        Question::Grpc(service) => json!({ "grpc": { "service": service } }),
    };
    json!({
        "question": question,
        "interval": held.interval.as_secs_f64(),
        "jitter": held.jitter_percent,
        "timeout": held.timeout.as_secs_f64(),
        "unhealthyAfter": held.unhealthy_after,
        "healthyAfter": held.healthy_after,
    })
}

fn outlier_detection(held: &OutlierDetection) -> Value {
    json!({
        "consecutive": {
            "errors5xx": held.errors_5xx,
            "gatewayErrors": held.gateway_errors,
            "localOriginFailures": held.local_origin_failures,
        },
        "successRate": held.success_rate.map(|rule| json!({
            "minimumHosts": rule.minimum_hosts,
            "requestVolume": rule.request_volume,
            "stdevFactor": f64::from(rule.stdev_factor) / 1000.0,
        })),
        "failurePercentage": held.failure_percentage.map(|rule| json!({
            "threshold": rule.threshold,
            "minimumHosts": rule.minimum_hosts,
            "requestVolume": rule.request_volume,
        })),
        "interval": held.interval.as_secs_f64(),
        "baseEjection": held.base_ejection.as_secs_f64(),
        "maxEjection": held.max_ejection.as_secs_f64(),
        "maxEjectedPercent": held.max_ejected_percent,
        "panicThreshold": held.panic_threshold,
    })
}

fn endpoint(held: &Endpoint) -> Value {
    let transport = match &held.transport {
        Transport::Plain => json!("plain"),
        Transport::Hbone { identity, port } => json!({ "identity": identity, "tunnelPort": port }),
    };
    json!({
        "address": held.address,
        "locality": held.locality.as_ref().map(ToString::to_string),
        "workload": held.workload,
        "transport": transport,
        "weight": held.weight,
        "stale": held.stale,
    })
}

fn timeouts(held: &ExchangeTimeouts) -> Value {
    json!({
        "request": sourced(&held.request, seconds),
        "perTry": sourced(&held.per_try, seconds),
        "streamIdle": sourced(&held.stream_idle, seconds),
        "maxStreamDuration": sourced(&held.max_stream_duration, seconds),
        "propagateDeadline": sourced(&held.propagate_deadline, |told| json!(told)),
    })
}

#[expect(clippy::ref_option, reason = "sourced hands out references")]
fn seconds(value: &Option<std::time::Duration>) -> Value {
    json!(value.map(|value| value.as_secs_f64()))
}

fn retry(held: &Sourced<RetryPolicy>) -> Value {
    sourced(held, |policy| {
        let codes: Vec<&str> = policy.grpc_codes.iter().map(|code| code.as_str()).collect();
        json!({
            "attempts": policy.attempts,
            "statuses": policy.statuses.iter().map(|range| [range.from, range.to]).collect::<Vec<_>>(),
            "connectFailure": policy.conditions.connect_failure,
            "reset": policy.conditions.reset,
            "refusedStream": policy.conditions.refused_stream,
            "perTryTimeout": policy.conditions.per_try_timeout,
            "grpcCodes": Some(codes.join(" ")).filter(|codes| !codes.is_empty()),
            "responseHeader": policy.response_header,
            "methods": format!("{:?}", policy.methods),
            "backoffBase": policy.backoff.base.as_secs_f64(),
            "backoffMax": policy.backoff.max.as_secs_f64(),
            "jitter": policy.backoff.jitter.as_str(),
            "jitterMin": policy.backoff.jitter_min.as_secs_f64(),
            "retryAfter": format!("{:?}", policy.retry_after),
            "budgetPercent": policy.budget.percent,
            "budgetMinPerSecond": policy.budget.min_per_second,
            "budgetWindow": policy.budget.window.as_secs_f64(),
            "maxBodyBytes": policy.max_body_bytes,
        })
    })
}

/// A value with the field that set it; times in seconds.
fn sourced<T>(held: &Sourced<T>, value: impl Fn(&T) -> Value) -> Value {
    json!({ "value": value(&held.value), "origin": held.origin.to_string() })
}
