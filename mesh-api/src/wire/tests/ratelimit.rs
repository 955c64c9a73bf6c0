//! Limits of receiving sides, by a number that tells which parts they have.

use std::time::Duration;

use super::*;
use crate::model::ratelimit::{
    KeyPart, Rate, RateLimit, RateLimiting, Reach, ReceivedRoutes, RuleReach,
};
use crate::model::route::RouteKind;

/// The policies of a workload, each with a reach of another kind.
pub(super) fn limits(number: u32) -> Vec<RateLimiting> {
    let port = Port::new(8080).unwrap();
    let reach = [
        Reach::Workload,
        Reach::Port(port),
        Reach::Rules(RuleReach {
            port,
            routing: 0,
            kind: RouteKind::Grpc,
            route: "demo/r".parse().unwrap(),
            rule: None,
        }),
        Reach::Rules(RuleReach {
            port,
            routing: 0,
            kind: RouteKind::Http,
            route: "demo/r".parse().unwrap(),
            rule: Some("first".parse().unwrap()),
        }),
    ];
    let policies = reach.into_iter().zip(0..number % 5);
    policies
        .map(|(reach, place)| RateLimiting {
            policy: format!("demo/p{place}").parse().unwrap(),
            reach: vec![reach],
            limits: (0..place).map(limit).collect(),
            connections: (place != 1).then(|| rate(place + 1)),
        })
        .collect()
}

/// The routes that [`limits`] names.
pub(super) fn routes() -> Vec<ReceivedRoutes> {
    vec![ReceivedRoutes {
        destination: "demo/catalog:80".parse().unwrap(),
        routes: vec![route("r", 1, vec![rule(&["exact /a, header x-a=~b"], &[])])],
    }]
}

fn limit(place: u32) -> RateLimit {
    let parts = [
        KeyPart::Identity,
        KeyPart::Header("x-tenant".parse().unwrap()),
        KeyPart::SourceIp,
    ];
    let injected = extension::faults(3).value;
    RateLimit {
        place,
        name: format!("l{place}").parse().unwrap(),
        rate: rate(place + 7),
        by: parts.into_iter().take(place as usize).collect(),
        matches: injected
            .into_iter()
            .flat_map(|fault| fault.matches)
            .collect(),
        status: 429 + u16::try_from(place).unwrap(),
    }
}

fn rate(number: u32) -> Rate {
    Rate::new(number, Duration::from_millis(1500), number * 2).unwrap()
}

#[test]
fn absurd_limits_are_refused() {
    let entry = |change: &dyn Fn(&mut generated::Inbound)| {
        let inbound = inbound::with_limits(4);
        let mut message = super::super::inbound::write(&inbound);
        change(&mut message);
        let kind = generated::entry::Kind::Inbound(message);
        let bytes = generated::Entry { kind: Some(kind) }.encode_to_vec();
        let name = EntryName::Inbound(inbound.workload);
        let faults = decode(&name, &bytes).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(entry(&|_| {}), [""; 0]);
    let rate = |change: fn(&mut generated::Rate)| {
        entry(&move |inbound| {
            if let Some(rate) = &mut inbound.rate_limits[3].limits[0].rate {
                change(rate);
            }
        })
        .concat()
    };
    for (said, reason) in [
        (
            rate(|rate| rate.requests = 0),
            "is not between 1 and 1000000",
        ),
        (rate(|rate| rate.burst = 0), "is not between 1 and 1000000"),
        (
            rate(|rate| rate.per_nanos = 1),
            "is not between 1ms and 24h",
        ),
        (
            rate(|rate| rate.per_nanos = u64::MAX),
            "is not between 1ms and 24h",
        ),
    ] {
        assert!(
            said.contains("rateLimits[3].limits[0].rate") && said.contains(reason),
            "{said}"
        );
    }
    let said = entry(&|inbound| inbound.received_routes.clear()).concat();
    assert!(said.contains("routing: 0 is not one of 0"), "{said}");
}
