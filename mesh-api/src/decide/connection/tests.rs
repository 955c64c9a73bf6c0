//! Which route takes a connection, and where it goes.

use super::*;
use crate::decide::tests::{Seeded, destination};
use crate::explain::Silent;
use crate::model::connection::{ConnectionRoute, ConnectionRouteKind, ConnectionRule};
use crate::model::route::Target;

/// `name created kind hosts`, with a single backend.
fn route(text: &str, backend: u32) -> ConnectionRoute {
    let parts: Vec<_> = text.split(' ').collect();
    ConnectionRoute {
        kind: if parts[2] == "tls" {
            ConnectionRouteKind::Tls
        } else {
            ConnectionRouteKind::Tcp
        },
        name: format!("demo/{}", parts[0]).parse().unwrap(),
        created: parts[1].parse().unwrap(),
        hostnames: parts[3..]
            .iter()
            .map(|host| host.parse().unwrap())
            .collect(),
        rule: ConnectionRule {
            name: None,
            backends: vec![ConnectionBackend {
                weight: 1,
                target: Target::Backend(backend),
            }],
            retry: Sourced::default(),
        },
    }
}

fn table(routes: Vec<ConnectionRoute>) -> DestinationTable {
    let mut destination = destination(Vec::new());
    destination.connection_routes = routes;
    DestinationTable::compile(destination, None).unwrap()
}

/// The route and backend, or why it is refused.
fn decided(table: &DestinationTable, server_name: Option<&str>, seed: u64) -> String {
    let facts = ConnectionFacts { server_name };
    let step = connection(table, &facts, &mut Seeded(seed), &mut Silent);
    let name = |route: Option<&Arc<ConnectionTable>>| {
        route.map_or_else(|| "-".to_owned(), |table| table.route.name.name.to_string())
    };
    match step {
        Step::Done(ConnectionDecision::Forward(forward)) => {
            format!(
                "{} {}",
                name(forward.route),
                forward.backend.name.service.name
            )
        }
        Step::Done(ConnectionDecision::Refuse(refused)) => {
            format!("{} {}", name(refused.route), refused.refusal.reason())
        }
        Step::Ask(question) => match question {},
    }
}

#[test]
fn the_most_specific_server_name_wins() {
    let table = table(vec![
        route("any 7 tcp", 2),
        route("wide 1 tls *.example.com", 0),
        route("deep 9 tls *.b.example.com example.org", 1),
        route("young 9 tls a.example.com *.example.com", 2),
        route("old 5 tls a.example.com", 1),
        route("a-old 5 tls twin.example.com", 1),
        route("b-old 5 tls twin.example.com", 2),
    ]);
    for (name, expected) in [
        (Some("a.example.com"), "old catalog-v1"),
        (Some("A.Example.COM."), "old catalog-v1"),
        (Some("b.example.com"), "wide catalog"),
        (Some("x.b.example.com"), "deep catalog-v1"),
        (Some("y.x.b.example.com"), "deep catalog-v1"),
        (Some("twin.example.com"), "a-old catalog-v1"),
        (Some("example.com"), "any catalog-v2"),
        (Some("example.org"), "deep catalog-v1"),
        (Some("an.example.org"), "any catalog-v2"),
        (Some(""), "any catalog-v2"),
        (Some("."), "any catalog-v2"),
        (None, "any catalog-v2"),
    ] {
        assert_eq!(decided(&table, name, 1), expected, "{name:?}");
    }
}

#[test]
fn without_a_route_it_is_refused_or_goes_to_the_own_backend() {
    let none = table(Vec::new());
    assert_eq!(decided(&none, None, 1), "- catalog");
    assert_eq!(decided(&none, Some("a.b"), 1), "- catalog");
    let tls = table(vec![route("r 1 tls a.b", 1)]);
    assert_eq!(decided(&tls, Some("a.b"), 1), "r catalog-v1");
    assert_eq!(decided(&tls, Some("c.a.b"), 1), "- no-route");
    assert_eq!(decided(&tls, None, 1), "- no-route");
    let tcp = table(vec![route("young 2 tcp", 1), route("old 1 tcp", 2)]);
    assert_eq!(decided(&tcp, Some("a.b"), 1), "old catalog-v2");
    // Routes of requests say nothing about bytes.
    let requests = crate::decide::tests::table(vec![crate::decide::tests::route(
        "http",
        1,
        vec![crate::decide::tests::rule(&["prefix /"], &[(2, 1)])],
    )]);
    assert_eq!(decided(&requests, None, 1), "- catalog");
}

#[test]
fn weights_and_broken_backends_keep_their_share() {
    let backend = |weight, target| ConnectionBackend { weight, target };
    let broken = || Target::Broken {
        reason: "Service demo/x not found".into(),
    };
    let mut split = route("split 1 tcp", 0);
    split.rule.backends = vec![
        backend(70, Target::Backend(1)),
        backend(0, Target::Backend(2)),
        backend(30, broken()),
    ];
    let split = table(vec![split]);
    let count = (0..1000)
        .filter(|seed| decided(&split, None, *seed) == "split broken-backend")
        .count();
    assert!((230..370).contains(&count), "{count} of 1000 at 30 %");
    assert!((0..1000).all(|seed| !decided(&split, None, seed).contains("v2")));
    let facts = ConnectionFacts::default();
    let places: Vec<_> = outcomes(&split, &facts).iter().map(|(at, _)| *at).collect();
    assert_eq!(places, [Some(0), Some(2)]);
    for backends in [Vec::new(), vec![backend(0, Target::Backend(1))]] {
        let mut closed = route("closed 1 tcp", 0);
        closed.rule.backends = backends;
        let closed = table(vec![closed]);
        assert_eq!(decided(&closed, None, 1), "closed no-backend");
        assert_eq!(outcomes(&closed, &facts).len(), 1);
    }
    let mut beyond = destination(Vec::new());
    beyond.connection_routes = vec![route("far 1 tcp", 7)];
    let faults = DestinationTable::compile(beyond, None).unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "connectionRoutes: demo/far backends[0] names backend 7 of 3"
    );
}
