//! Checks of Mesh, `TrafficPolicy` and `MutualTLSPolicy`.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use jiff::civil::Date;

use crate::error::Faults;
use crate::model::mesh::UnknownDestinations;
use crate::model::policy::{DEFAULTS, MutualTls};
use crate::name::{Name, Namespace, Port};
use crate::resource::duration::Duration;
use crate::resource::mesh::{MeshIdentity, MeshSpec, UnknownDestinations as UnknownField};
use crate::resource::mtls::MutualTLSMode;
use crate::resource::object::WorkloadSelector;
use crate::resource::traffic::RetryCondition;
use crate::resource::{Kind, Labels, Mesh, MutualTLSPolicy, TargetRef, TrafficPolicy};
use crate::translate::check::{asks, not_yet};
use crate::translate::check_locality;
use crate::translate::check_reference::at_most;
use crate::translate::check_section::sections;
use crate::translate::checked::{
    CheckedMesh, CheckedMutualTls, CheckedTraffic, Sections, TrafficTarget,
};
use crate::translate::index::MESH_NAME;

/// Most targets of a policy (Gateway API).
pub(super) const MAX_TARGETS: usize = 16;
/// Most ports that have a mode of their own.
const MAX_PORTS: usize = 64;

/// Checks the Mesh.
pub(super) fn mesh(mesh: &Mesh, faults: &mut Faults) -> Option<CheckedMesh> {
    if mesh.metadata.name.as_deref() != Some(MESH_NAME) {
        faults.field("metadata.name", |faults| {
            faults.refuse("the Mesh is named default");
        });
    }
    if mesh.metadata.namespace.is_some() {
        faults.field("metadata.namespace", |faults| {
            faults.refuse("the Mesh has no namespace");
        });
    }
    let spec = &mesh.spec;
    faults.field("spec", |faults| {
        mesh_not_yet(spec, faults);
        let outbound = spec.outbound.clone().unwrap_or_default();
        let mut ranges: Vec<IpNet> = Vec::new();
        faults.field("outbound", |faults| {
            faults.field("ranges", |faults| {
                for (index, text) in outbound.ranges.iter().enumerate() {
                    ranges.extend(faults.index(index, |faults| faults.take(text.parse::<IpNet>())));
                }
            });
        });
        let parse_domain = |faults: &mut Faults| {
            spec.trust_domain
                .as_ref()
                .and_then(|text| faults.take(text.parse()))
        };
        Some(CheckedMesh {
            trust_domain: faults.field("trustDomain", parse_domain),
            cluster_domain: faults.field("clusterDomain", |faults| {
                spec.cluster_domain
                    .as_ref()
                    .and_then(|text| faults.take(text.parse()))
            }),
            mutual_tls: spec.mutual_tls.as_ref().map(|tls| mode(tls.mode)),
            ranges,
            unknown_destinations: match outbound.unknown_destinations {
                Some(UnknownField::Deny) => UnknownDestinations::Deny,
                Some(UnknownField::Allow) | None => UnknownDestinations::Allow,
            },
            failover: faults.field("localities", |faults| {
                let localities = spec.localities.clone().unwrap_or_default();
                faults.field("failover", |faults| {
                    check_locality::failover(&localities.failover, faults)
                })
            }),
            traffic: faults.field("traffic", |faults| {
                spec.traffic
                    .as_ref()
                    .map_or_else(Sections::default, |traffic| sections(traffic, faults))
            }),
        })
    })
}

fn mesh_not_yet(spec: &MeshSpec, faults: &mut Faults) {
    not_yet(
        faults,
        "trustDomainAliases",
        !spec.trust_domain_aliases.is_empty(),
    );
    not_yet(faults, "discovery", asks(spec.discovery.as_ref()));
    not_yet(faults, "telemetry", asks(spec.telemetry.as_ref()));
    let Some(MeshIdentity {
        leaf_lifetime,
        key_algorithm,
    }) = &spec.identity
    else {
        return;
    };
    faults.field("identity", |faults| {
        if let Some(text) = leaf_lifetime {
            let lifetime =
                faults.field("leafLifetime", |faults| faults.take(Duration::parse(text)));
            not_yet(
                faults,
                "leafLifetime",
                lifetime.is_some_and(|lifetime| lifetime != DEFAULTS.leaf_lifetime),
            );
        }
        not_yet(
            faults,
            "keyAlgorithm",
            key_algorithm
                .as_deref()
                .is_some_and(|name| name != "ECDSA-P256"),
        );
    });
}

/// Checks a `TrafficPolicy`.
pub(super) fn traffic(
    policy: &TrafficPolicy,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<CheckedTraffic> {
    let spec = &policy.spec;
    faults.field("spec", |faults| {
        let mut targets = Vec::new();
        faults.field("targetRefs", |faults| {
            if spec.target_refs.is_empty() {
                faults.refuse("is empty: the policy would apply to nothing");
            }
            at_most(spec.target_refs.len(), MAX_TARGETS, "targets", faults);
            for (index, target) in spec.target_refs.iter().enumerate().take(MAX_TARGETS) {
                targets.extend(
                    faults.index(index, |faults| traffic_target(target, namespace, faults)),
                );
            }
        });
        let sections = sections(&spec.sections(), faults);
        let kinds = targets.iter().filter_map(|target| match target {
            TrafficTarget::Route(kind, _) | TrafficTarget::Rule(kind, ..) => Some(*kind),
            _ => None,
        });
        if let Some(kind) = kinds.max() {
            refuse_backend_settings(policy, faults);
            if matches!(kind, Kind::TLSRoute | Kind::TCPRoute) {
                refuse_request_settings(policy, kind, faults);
            }
        }
        Some(CheckedTraffic { targets, sections })
    })
}

/// What reaches an endpoint belongs to its Service: connections are shared by all routes.
fn refuse_backend_settings(policy: &TrafficPolicy, faults: &mut Faults) {
    const REASON: &str = "applies to a Service or a Namespace, not to a route";
    let timeout = policy.spec.timeout.clone().unwrap_or_default();
    for (field, is_set) in [
        ("connect", timeout.connect.is_some()),
        ("idle", timeout.idle.is_some()),
        ("maxConnectionAge", timeout.max_connection_age.is_some()),
    ] {
        if is_set {
            faults.field("timeout", |faults| {
                faults.field(field, |faults| faults.refuse(REASON));
            });
        }
    }
    for (field, is_set) in [
        ("loadBalancing", policy.spec.load_balancing.is_some()),
        ("limits", policy.spec.limits.is_some()),
        ("outlierDetection", policy.spec.outlier_detection.is_some()),
        ("healthCheck", policy.spec.health_check.is_some()),
    ] {
        if is_set {
            faults.field(field, |faults| faults.refuse(REASON));
        }
    }
}

/// Of a route of connections only connects are tried again.
fn refuse_request_settings(policy: &TrafficPolicy, kind: Kind, faults: &mut Faults) {
    let reason = format!("is about requests, which a {kind} does not see");
    let timeout = policy.spec.timeout.clone().unwrap_or_default();
    let retry = policy.spec.retry.clone().unwrap_or_default();
    let on = retry.retry_on.unwrap_or_default();
    let connect = |condition: &RetryCondition| *condition == RetryCondition::ConnectFailure;
    let others = on
        .conditions
        .as_ref()
        .is_some_and(|listed| !listed.iter().all(connect));
    for (path, is_set) in [
        (&["timeout", "request"][..], timeout.request.is_some()),
        (&["timeout", "perTry"], timeout.per_try.is_some()),
        (&["timeout", "streamIdle"], timeout.stream_idle.is_some()),
        (
            &["timeout", "maxStreamDuration"],
            timeout.max_stream_duration.is_some(),
        ),
        (
            &["timeout", "propagateDeadline"],
            timeout.propagate_deadline.is_some(),
        ),
        (&["retry", "retryOn", "status"], on.status.is_some()),
        (&["retry", "retryOn", "grpc"], on.grpc.is_some()),
        (&["retry", "retryOn", "conditions"], others),
        (
            &["retry", "retryOn", "responseHeader"],
            on.response_header.is_some(),
        ),
        (&["retry", "retryAfter"], retry.retry_after.is_some()),
        (&["retry", "methods"], retry.methods.is_some()),
        (&["retry", "budget"], retry.budget.is_some()),
        (&["retry", "maxBodyBytes"], retry.max_body_bytes.is_some()),
        (&["fault"], policy.spec.fault.is_some()),
        (&["mirror"], policy.spec.mirror.is_some()),
        (&["stickiness"], policy.spec.stickiness.is_some()),
    ] {
        if is_set {
            refuse_at(path, &reason, faults);
        }
    }
}

fn refuse_at(path: &[&str], reason: &str, faults: &mut Faults) {
    match path.split_first() {
        Some((field, rest)) => faults.field(field, |faults| refuse_at(rest, reason, faults)),
        None => faults.refuse(reason),
    }
}

/// Checks what a policy names.
pub(super) fn traffic_target(
    target: &TargetRef,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<TrafficTarget> {
    let name = faults.field("name", |faults| faults.take(target.name.parse::<Name>()));
    let port = faults.field("port", |faults| {
        target
            .port
            .and_then(|port| faults.take(Port::try_from(port)))
    });
    let section = target.section_name.clone();
    if target.kind != "Service" && target.port.is_some() {
        faults.field("port", |faults| faults.refuse("is for a Service only"));
    }
    let group = match target.kind.as_str() {
        "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" => "gateway.networking.k8s.io",
        _ => "",
    };
    match target.kind.as_str() {
        "Namespace" | "Service" | "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute" => {
            if target.group.as_deref().is_some_and(|given| given != group) {
                faults.field("group", |faults| {
                    faults.refuse(format!("{} is of the group {group:?}", target.kind));
                });
            }
        }
        "ExternalService" => {
            faults.field("kind", |faults| {
                faults.refuse(format!("{} is not supported yet", target.kind));
            });
            return None;
        }
        other => {
            let other: String = other.chars().take(80).collect();
            faults.field("kind", |faults| {
                faults.refuse(format!("{other:?} is not Namespace, Service or a route"));
            });
            return None;
        }
    }
    let name = name?;
    match (target.kind.as_str(), section, port) {
        ("Namespace", None, _) => {
            own_namespace(&name, namespace, faults).then_some(TrafficTarget::Namespace)
        }
        ("Namespace", Some(_), _) => {
            faults.field("sectionName", |faults| {
                faults.refuse("is for a Service or a route only");
            });
            None
        }
        ("Service", None, None) => Some(TrafficTarget::Service(name)),
        ("Service", None, Some(port)) => Some(TrafficTarget::ServicePort(name, port)),
        ("Service", Some(section), None) => Some(TrafficTarget::ServicePortNamed(name, section)),
        ("Service", Some(_), Some(_)) => {
            faults.refuse("sets one of sectionName and port");
            None
        }
        (kind, None, _) => Some(TrafficTarget::Route(kind.parse().ok()?, name)),
        (kind, Some(rule), _) => {
            let rule = faults.field("sectionName", |faults| faults.take(rule.parse()))?;
            Some(TrafficTarget::Rule(kind.parse().ok()?, name, rule))
        }
    }
}

fn own_namespace(name: &Name, namespace: &Namespace, faults: &mut Faults) -> bool {
    let own = name.as_str() == namespace.as_str();
    if !own {
        faults.field("name", |faults| {
            faults.refuse(format!("a policy targets its own namespace, {namespace}"));
        });
    }
    own
}

/// Checks a `MutualTLSPolicy`.
pub(super) fn mutual_tls(
    policy: &MutualTLSPolicy,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<CheckedMutualTls> {
    let spec = &policy.spec;
    faults.field("spec", |faults| {
        let selector = selection(&spec.target_refs, spec.selector.as_ref(), namespace, faults);
        let mut until: BTreeSet<Date> = end(spec.until.as_deref(), faults).into_iter().collect();
        let mut ports = BTreeMap::new();
        faults.field("ports", |faults| {
            at_most(spec.ports.len(), MAX_PORTS, "ports", faults);
            for (text, port) in &spec.ports {
                let number = faults.field(text, |faults| {
                    until.extend(end(port.until.as_deref(), faults));
                    faults.take(text.parse::<Port>())
                });
                ports.extend(number.map(|number| (number, mode(port.mode))));
            }
        });
        Some(CheckedMutualTls {
            selector,
            mode: mode(spec.mode),
            ports,
            until,
        })
    })
}

/// The date in a field `until`.
fn end(until: Option<&str>, faults: &mut Faults) -> Option<Date> {
    let until = until?;
    let shown: String = until.chars().take(80).collect();
    let date = until
        .parse::<Date>()
        .map_err(|_| format!("{shown:?} is not a date (such as 2026-12-31)"));
    faults.field("until", |faults| faults.take(date))
}

/// What a policy of the receiving side applies to: workloads by their labels, or the whole namespace.
pub(super) fn selection(
    targets: &[TargetRef],
    selector: Option<&WorkloadSelector>,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<Labels> {
    if selector.is_some() != targets.is_empty() {
        faults.refuse("sets one of selector and targetRefs");
    }
    faults.field("targetRefs", |faults| {
        at_most(targets.len(), MAX_TARGETS, "targets", faults);
        for (index, target) in targets.iter().enumerate().take(MAX_TARGETS) {
            faults.index(index, |faults| namespace_target(target, namespace, faults));
        }
    });
    selector.map(|selector| selector.match_labels.clone())
}

fn namespace_target(target: &TargetRef, namespace: &Namespace, faults: &mut Faults) {
    if target.kind != "Namespace" {
        let kind: String = target.kind.chars().take(80).collect();
        faults.field("kind", |faults| {
            faults.refuse(format!(
                "a target of kind {kind:?} is not supported yet; Namespace is"
            ));
        });
        return;
    }
    if target.section_name.is_some() || target.port.is_some() {
        faults.refuse("a Namespace has no sectionName or port");
    }
    if target
        .group
        .as_deref()
        .is_some_and(|group| !group.is_empty())
    {
        faults.field("group", |faults| {
            faults.refuse("Namespace is of the group \"\"");
        });
    }
    if let Some(name) = faults.field("name", |faults| faults.take(target.name.parse::<Name>())) {
        own_namespace(&name, namespace, faults);
    }
}

fn mode(mode: MutualTLSMode) -> MutualTls {
    match mode {
        MutualTLSMode::Disabled => MutualTls::Disabled,
        MutualTLSMode::Permissive => MutualTls::Permissive,
        MutualTLSMode::Strict => MutualTls::Strict,
    }
}
