//! Entries there and back, and noise.

mod affinity;
mod breakers;
mod extension;
mod faults;
mod inbound;
mod locality;
mod ratelimit;

use std::net::SocketAddr;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::decide::tests::{destination, redirect, route, rule};
use crate::model::backend::{Backend, Endpoint, Transport};
use crate::model::connection::*;
use crate::model::destination::{Destination, Protocol};
use crate::model::grpc::GrpcCode;
use crate::model::mesh::{MeshFacts, UnknownDestinations};
use crate::model::origin::{Origin, Sourced};
use crate::model::policy::*;
use crate::model::route::*;
use crate::name::Port;

fn sourced<T: Clone + std::fmt::Debug>(
    value: impl Strategy<Value = T>,
) -> impl Strategy<Value = Sourced<T>> {
    let origin = prop_oneof![
        Just(Origin::Default),
        "[a-z]{1,8}".prop_map(|name| Origin::Field {
            kind: "TrafficPolicy".into(),
            object: format!("demo/{name}").parse().unwrap(),
            path: "spec.timeout".into(),
        }),
    ];
    (value, origin).prop_map(|(value, origin)| Sourced::new(value, origin))
}

fn duration() -> impl Strategy<Value = Duration> {
    (1..u64::MAX).prop_map(Duration::from_nanos)
}

fn timeouts() -> impl Strategy<Value = ExchangeTimeouts> {
    (
        sourced(option::of(duration())),
        sourced(option::of(duration())),
        sourced(option::of(duration())),
        sourced(option::of(duration())),
        sourced(any::<bool>()),
    )
        .prop_map(
            |(request, per_try, stream_idle, max_stream_duration, propagate_deadline)| {
                ExchangeTimeouts {
                    request,
                    per_try,
                    stream_idle,
                    max_stream_duration,
                    propagate_deadline,
                }
            },
        )
}

fn retry() -> impl Strategy<Value = RetryPolicy> {
    let methods = prop_oneof![
        Just(RetryMethods::Safe),
        Just(RetryMethods::Idempotent),
        Just(RetryMethods::Any),
        vec("[A-Z]{1,5}", 0..3).prop_map(RetryMethods::Listed),
    ];
    let jitter = prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated)
    ];
    let after = prop_oneof![Just(RetryAfter::Respect), Just(RetryAfter::Ignore)];
    let header = option::of("x-[a-z]{1,5}".prop_map(|name| name.parse().unwrap()));
    let statuses = vec(
        (100u16..400, 400u16..600).prop_map(|(from, to)| StatusRange { from, to }),
        0..3,
    );
    let codes = prop::sample::subsequence(GrpcCode::ALL.to_vec(), 0..4);
    (
        0u32..=100,
        (statuses, codes, header, after),
        any::<[bool; 4]>(),
        methods,
        duration(),
        duration(),
        jitter,
        0u8..=100,
        any::<(u32, u64)>(),
    )
        .prop_map(
            |(
                attempts,
                (statuses, grpc_codes, response_header, retry_after),
                on,
                methods,
                base,
                max,
                jitter,
                percent,
                (least, body),
            )| {
                RetryPolicy {
                    attempts,
                    statuses,
                    grpc_codes,
                    response_header,
                    conditions: Conditions {
                        connect_failure: on[0],
                        reset: on[1],
                        per_try_timeout: on[2],
                        refused_stream: on[3],
                    },
                    methods,
                    backoff: Backoff {
                        base,
                        max,
                        jitter,
                        jitter_min: max,
                    },
                    retry_after,
                    budget: Budget {
                        percent,
                        min_per_second: least,
                        window: base,
                    },
                    max_body_bytes: body,
                }
            },
        )
}

fn changes() -> impl Strategy<Value = HeaderChanges> {
    let pair = || {
        ("x-[a-z]{1,5}", "[!-~]{0,8}").prop_map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
    };
    let names = vec("x-[a-z]{1,5}".prop_map(|name| name.parse().unwrap()), 0..2);
    (vec(pair(), 0..2), vec(pair(), 0..2), names).prop_map(|(set, add, remove)| HeaderChanges {
        set,
        add,
        remove,
    })
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let matches = prop::sample::subsequence(
        vec![
            "prefix /a",
            "prefix /, method GET",
            "prefix /b, header x-a=~a|b, query q=1",
            "prefix /c, query x=~.*",
        ],
        1..4,
    );
    let calls = vec![
        "call a.B/C, header x-a=1",
        "call ~a|b/*",
        "call */~C.*",
        "call */*",
    ];
    let calls = prop::sample::subsequence(calls, 1..4);
    let path = option::of(prop_oneof![
        "/[a-z]{0,4}".prop_map(PathRewrite::Full),
        "(/[a-z]{1,4})?".prop_map(PathRewrite::Prefix),
    ]);
    let target = prop_oneof![
        (0u32..3).prop_map(Target::Backend),
        ".{0,9}".prop_map(|reason| Target::Broken { reason }),
    ];
    let weighted = (0u32..=1_000_000, target, changes(), changes()).prop_map(
        |(weight, target, request_headers, response_headers)| WeightedBackend {
            weight,
            target,
            request_headers,
            response_headers,
            rewrite: extension::rewrite(weight),
            redirect: extension::redirect(weight),
        },
    );
    let rewrite = option::of(
        (option::of("[a-z]{1,5}"), path.clone()).prop_map(|(host, path)| Rewrite {
            hostname: host.map(|host| host.parse().unwrap()),
            path,
        }),
    );
    let forward = (vec(weighted, 0..4), rewrite)
        .prop_map(|(backends, rewrite)| Action::Forward { backends, rewrite });
    let redirect = (
        any::<bool>(),
        option::of("[a-z]{1,5}"),
        path,
        any::<u16>(),
        prop::sample::select(vec![301, 308]),
    )
        .prop_map(|(tls, host, path, port, status)| {
            Action::Redirect(Redirect {
                scheme: tls.then(|| "https".into()),
                hostname: host.map(|host| host.parse().unwrap()),
                path,
                port: Port::new(port),
                status,
            })
        });
    let action = prop_oneof![forward, redirect];
    (
        option::of("[a-z]{1,5}"),
        any::<u32>(),
        prop_oneof![matches, calls],
        changes(),
        changes(),
        action,
        timeouts(),
        (
            sourced(retry()),
            option::of(sourced(affinity::stickiness())),
        ),
    )
        .prop_map(
            |(
                name,
                index,
                matches,
                request_headers,
                response_headers,
                action,
                timeouts,
                (retry, stickiness),
            )| {
                let of_calls = matches.iter().any(|text| text.starts_with("call"));
                let action = match action {
                    Action::Forward { backends, rewrite } => Action::Forward {
                        backends,
                        rewrite: rewrite.filter(|_| !of_calls),
                    },
                    Action::Redirect(_) if of_calls => rule(&[], &[]).action,
                    other => other,
                };
                let action = if index.is_multiple_of(7) {
                    extension::answer(index)
                } else {
                    action
                };
                Rule {
                    name: name.map(|name| name.parse().unwrap()),
                    narrowings: extension::narrowings(index),
                    cors: extension::cors(index),
                    index,
                    request_headers,
                    response_headers,
                    action,
                    timeouts,
                    retry,
                    faults: (index % 3 > 0).then_some(index % 2),
                    mirrors: extension::mirrors(index),
                    mirroring: extension::mirroring(index),
                    stickiness,
                    ..rule(&matches, &[])
                }
            },
        )
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let transport = option::of(1u16..).prop_map(|port| match port {
        None => Transport::Plain,
        Some(port) => Transport::Hbone {
            identity: "spiffe://cluster.local/ns/demo/sa/x".parse().unwrap(),
            port: Port::new(port).unwrap(),
        },
    });
    (
        any::<std::net::IpAddr>(),
        1u16..,
        option::of("[a-z]{1,9}"),
        transport,
        1u32..=10_000,
        any::<bool>(),
        option::of(locality::locality()),
    )
        .prop_map(
            |(ip, port, workload, transport, weight, stale, locality)| Endpoint {
                address: SocketAddr::new(ip, port),
                workload: workload.map(|name| format!("demo/{name}").parse().unwrap()),
                transport,
                weight,
                stale,
                locality,
            },
        )
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![
        Protocol::Http,
        Protocol::Http2,
        Protocol::Grpc,
        Protocol::Tls,
        Protocol::Tcp,
        Protocol::Detect,
    ])
}

fn settings() -> impl Strategy<Value = BackendSettings> {
    (
        sourced(duration()),
        sourced(affinity::algorithm()),
        sourced(vec(affinity::source(), 0..3)),
        sourced(option::of(duration())),
        locality::preference(),
        sourced(duration()),
        breakers::limits(),
        sourced(option::of(duration())),
        sourced(option::of(duration())),
        option::of(sourced(breakers::outlier_detection())),
        option::of(sourced(breakers::health_check())),
    )
        .prop_map(
            |(
                connect_timeout,
                algorithm,
                hash_on,
                slow_start,
                locality,
                pool_idle,
                limits,
                tcp_idle,
                max_connection_age,
                outlier_detection,
                health_check,
            )| {
                BackendSettings {
                    connect_timeout,
                    algorithm,
                    hash_on,
                    slow_start,
                    locality,
                    pool_idle,
                    limits,
                    tcp_idle,
                    max_connection_age,
                    outlier_detection,
                    health_check,
                }
            },
        )
}

fn any_destination() -> impl Strategy<Value = Destination> {
    let backends = vec((protocol(), settings(), vec(endpoint(), 0..4)), 3).prop_map(|backends| {
        let named = ["catalog", "v1", "v2"].iter().zip(backends);
        named
            .map(|(name, (protocol, settings, endpoints))| Backend {
                name: format!("demo/{name}:80").parse().unwrap(),
                protocol,
                settings,
                endpoints,
            })
            .collect::<Vec<_>>()
    });
    let connection_routes = vec(any_connection_route(), 0..3);
    let routes =
        vec((any::<i64>(), any::<bool>(), vec(any_rule(), 0..3)), 0..3).prop_map(|routes| {
            let named = routes.into_iter().enumerate();
            named
                .map(|(at, (created, grpc, rules))| Route {
                    kind: if grpc {
                        RouteKind::Grpc
                    } else {
                        RouteKind::Http
                    },
                    name: format!("demo/r{at}").parse().unwrap(),
                    created,
                    rules,
                })
                .collect::<Vec<_>>()
        });
    (
        protocol(),
        vec(any::<std::net::IpAddr>(), 0..3),
        routes,
        connection_routes,
        backends,
        timeouts(),
        (
            sourced(retry()),
            option::of(sourced(affinity::stickiness())),
        ),
    )
        .prop_map(
            |(
                protocol,
                addresses,
                routes,
                connection_routes,
                backends,
                timeouts,
                (retry, stickiness),
            )| {
                Destination {
                    protocol,
                    addresses,
                    routes,
                    connection_routes,
                    backends,
                    timeouts,
                    retry,
                    faults: vec![extension::faults(2), extension::faults(3)],
                    own_faults: Some(1),
                    stickiness,
                    ..destination(Vec::new())
                }
            },
        )
}

fn any_connection_route() -> impl Strategy<Value = ConnectionRoute> {
    let target = prop_oneof![
        (0u32..3).prop_map(Target::Backend),
        ".{0,9}".prop_map(|reason| Target::Broken { reason }),
    ];
    let backend = (0u32..=1_000_000, target)
        .prop_map(|(weight, target)| ConnectionBackend { weight, target });
    let hostnames = vec("(\\*\\.)?[a-z]{1,5}\\.[a-z]{1,5}", 0..3);
    (
        "[a-z]{1,5}",
        any::<i64>(),
        hostnames,
        option::of("[a-z]{1,5}"),
        vec(backend, 0..4),
        sourced(retry()),
    )
        .prop_map(
            |(name, created, hostnames, rule, backends, retry)| ConnectionRoute {
                kind: if hostnames.is_empty() {
                    ConnectionRouteKind::Tcp
                } else {
                    ConnectionRouteKind::Tls
                },
                name: format!("demo/{name}").parse().unwrap(),
                created,
                hostnames: hostnames.iter().map(|host| host.parse().unwrap()).collect(),
                rule: ConnectionRule {
                    name: rule.map(|name| name.parse().unwrap()),
                    backends,
                    retry,
                },
            },
        )
}

fn facts() -> MeshFacts {
    MeshFacts {
        trust_domain: "cluster.local".parse().unwrap(),
        trust_domain_aliases: vec!["old.local".parse().unwrap()],
        cluster_domain: "cluster.local".parse().unwrap(),
        ranges: vec![
            "127.64.0.0/10".parse().unwrap(),
            "fd00::/8".parse().unwrap(),
        ],
        unknown_destinations: UnknownDestinations::Deny,
    }
}

fn read_back(entry: &Entry) -> Result<Entry, Vec<Invalid>> {
    let encoded = encode(entry);
    assert_eq!(
        encoded,
        encode(&entry.clone()),
        "equal content, equal bytes"
    );
    assert!(features::missing_features(&encoded.features).is_empty());
    decode(&encoded.name, &encoded.bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn destinations_read_back(destination in any_destination()) {
        let entry = Entry::Destination(destination);
        prop_assert_eq!(read_back(&entry), Ok(entry));
    }

    #[test]
    fn addresses_read_back(address in any::<SocketAddr>()) {
        let destination = "demo/catalog:80".parse().unwrap();
        // A scope is of one machine; it does not travel as a number.
        let address = SocketAddr::new(address.ip(), address.port());
        let entry = Entry::Address(crate::model::entry::VirtualAddress { address, destination });
        prop_assert_eq!(entry.name().to_string().parse(), Ok(entry.name()));
        prop_assert_eq!(read_back(&entry), Ok(entry));
    }

    #[test]
    fn inbound_reads_back(inbound in inbound::any_inbound()) {
        let entry = Entry::Inbound(inbound);
        prop_assert_eq!(read_back(&entry), Ok(entry));
    }

    #[test]
    fn noise_is_refused_or_read(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>(), seed in any_destination()) {
        let encoded = encode(&Entry::Destination(seed));
        let mut bytes = encoded.bytes.clone();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        // Whatever is read back is well formed: it encodes and reads again.
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
            if let Ok(entry) = decode(&encoded.name, bytes) {
                prop_assert_eq!(read_back(&entry), Ok(entry));
            }
        }
    }

    #[test]
    fn bytes_alone_are_refused(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&EntryName::Mesh, &bytes).is_err());
    }
}

#[test]
fn facts_read_back() {
    let entry = Entry::Mesh(facts());
    assert_eq!(read_back(&entry), Ok(entry));
}
