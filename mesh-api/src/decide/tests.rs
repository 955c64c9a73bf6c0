//! Requests and what is decided on them.

mod affinity;
mod calls;
mod paths;

use super::explanation::{Explanation, Fields, Result as Outcome, explain};
use super::*;
use crate::explain::{Silent, Trace};
use crate::model::backend::{Backend, Endpoint, Transport};
use crate::model::destination::{Destination, Protocol};
use crate::model::grpc::CallMatch;
use crate::model::origin::Sourced;
use crate::model::path::{PathMatch, Pattern, TextMatch};
use crate::model::policy::{BackendSettings, ExchangeTimeouts};
use crate::model::route::{
    HeaderChanges, HeaderMatch, PathRewrite, QueryMatch, Route, RouteKind, RouteMatch, Rule, Target,
};

/// A small generator (splitmix64) with a fixed seed.
pub(crate) struct Seeded(pub(crate) u64);

impl Random for Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if bound == 0 { 0 } else { z % bound }
    }
}

/// `prefix /a, method GET, header x-user=~a.*, query page=2`; `exact` and `expression` are paths too,
/// and so is `call pricing.Pricing/*` of gRPC.
pub(crate) fn conditions(text: &str) -> RouteMatch {
    let mut conditions = RouteMatch {
        path: PathMatch::Prefix(String::new()),
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    };
    let value = |text: &str| match text.strip_prefix('~') {
        Some(pattern) => TextMatch::RegularExpression(Pattern::new(pattern).unwrap()),
        None => TextMatch::Exact(text.into()),
    };
    for part in text.split(", ").filter(|part| !part.is_empty()) {
        let (kind, rest) = part.split_once(' ').unwrap();
        let named = rest.split_once('=');
        match kind {
            "exact" => conditions.path = PathMatch::Exact(rest.into()),
            "prefix" => conditions.path = PathMatch::Prefix(rest.trim_end_matches('/').into()),
            "expression" => {
                conditions.path = PathMatch::RegularExpression(Pattern::new(rest).unwrap());
            }
            "call" => {
                let (service, method) = rest.split_once('/').unwrap();
                let part = |text: &str| (text != "*").then(|| value(text));
                conditions.path = PathMatch::Call(CallMatch {
                    service: part(service),
                    method: part(method),
                });
            }
            "method" => conditions.method = Some(rest.into()),
            "header" => conditions.headers.push(HeaderMatch {
                name: named.unwrap().0.parse().unwrap(),
                value: value(named.unwrap().1),
            }),
            "query" => conditions.query.push(QueryMatch {
                name: named.unwrap().0.into(),
                value: value(named.unwrap().1),
            }),
            other => unreachable!("{other}"),
        }
    }
    conditions
}

/// A rule with these matches that forwards to backends by these weights.
pub(crate) fn rule(matches: &[&str], weights: &[(u32, u32)]) -> Rule {
    let backends = weights.iter().map(|&(index, weight)| WeightedBackend {
        weight,
        target: Target::Backend(index),
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        rewrite: None,
        redirect: None,
    });
    Rule {
        name: None,
        index: 0,
        matches: matches.iter().map(|text| conditions(text)).collect(),
        narrowings: Vec::new(),
        cors: None,
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        action: Action::Forward {
            backends: backends.collect(),
            rewrite: None,
        },
        timeouts: ExchangeTimeouts::default(),
        retry: Sourced::default(),
        faults: None,
        mirrors: Vec::new(),
        mirroring: Sourced::default(),
        stickiness: None,
    }
}

/// A redirect of everything under a prefix.
pub(crate) fn redirect(matches: &str, redirect: Redirect) -> Rule {
    Rule {
        action: Action::Redirect(redirect),
        ..rule(&[matches], &[])
    }
}

/// A route of `demo`, its rules numbered.
pub(crate) fn route(name: &str, created: i64, rules: Vec<Rule>) -> Route {
    let number = |(index, rule)| Rule { index, ..rule };
    Route {
        kind: RouteKind::Http,
        name: format!("demo/{name}").parse().unwrap(),
        created,
        rules: (0..).zip(rules).map(number).collect(),
    }
}

/// `demo/catalog:80` with its own backend and those of two versions, two endpoints each.
pub(crate) fn destination(routes: Vec<Route>) -> Destination {
    let endpoint = |backend: u8, at: u8| Endpoint {
        address: format!("10.0.{backend}.{at}:8080").parse().unwrap(),
        workload: Some(format!("demo/catalog-{backend}-{at}").parse().unwrap()),
        transport: Transport::Hbone {
            identity: "spiffe://cluster.local/ns/demo/sa/catalog".parse().unwrap(),
            port: crate::name::Port::new(15008).unwrap(),
        },
        weight: 100,
        stale: false,
        locality: None,
    };
    let backend = |(number, name): (u8, &str)| Backend {
        name: format!("demo/{name}:80").parse().unwrap(),
        protocol: Protocol::Http,
        settings: BackendSettings::default(),
        endpoints: vec![endpoint(number, 1), endpoint(number, 2)],
    };
    Destination {
        name: "demo/catalog:80".parse().unwrap(),
        consumer: "demo".parse().unwrap(),
        protocol: Protocol::Http,
        addresses: vec!["10.96.0.7".parse().unwrap()],
        routes,
        connection_routes: Vec::new(),
        backends: [(0, "catalog"), (1, "catalog-v1"), (2, "catalog-v2")]
            .map(backend)
            .into(),
        timeouts: ExchangeTimeouts::default(),
        retry: Sourced::default(),
        faults: Vec::new(),
        own_faults: None,
        stickiness: None,
    }
}

pub(crate) fn table(routes: Vec<Route>) -> DestinationTable {
    DestinationTable::compile(destination(routes), None).unwrap()
}

/// Calls `check` with `GET /path?query` as a request.
pub(crate) fn with_request<T>(
    line: &str,
    fields: &[(&str, &str)],
    check: impl FnOnce(&Request<'_>, Fields<'_>) -> T,
) -> T {
    let (method, target) = line.split_once(' ').unwrap();
    let target = target::normalise(target).unwrap();
    let fields = Fields(fields);
    let request = Request {
        method,
        scheme: "http",
        authority: "catalog:80",
        port: 80,
        path: &target.path,
        query: target.query,
        headers: &fields,
        caller: Caller {
            namespace: &"demo".parse().unwrap(),
            labels: None,
            service_account: None,
            address: None,
        },
    };
    check(&request, fields)
}

fn explained(table: &DestinationTable, line: &str, fields: &[(&str, &str)]) -> Explanation {
    with_request(line, fields, |request, fields| {
        explain(table, request, fields)
    })
}

/// `route[rule]` of the rule that wins, `-` if none.
fn winner(table: &DestinationTable, line: &str, fields: &[(&str, &str)]) -> String {
    match explained(table, line, fields).matched {
        Some(matched) => format!("{}[{}]", matched.place.route, matched.place.rule),
        None => "-".into(),
    }
}

#[test]
fn precedence_holds_across_routes() {
    let own: &[(u32, u32)] = &[(0, 1)];
    let table = table(vec![
        route(
            "young",
            200,
            vec![
                rule(&["prefix /items"], own),
                rule(&["prefix /a, method GET"], own),
            ],
        ),
        route(
            "b-old",
            100,
            vec![
                rule(&["prefix /items"], own),
                rule(&["prefix /items/new"], own),
                rule(&["exact /items/new"], own),
                rule(&["expression /items/[a-z]+"], own),
            ],
        ),
        route(
            "a-old",
            100,
            vec![
                rule(&["prefix /items"], own),
                rule(&["prefix /a, header x-a=1"], own),
                rule(&["prefix /a, query q=1", "prefix /b"], own),
                rule(&["prefix /a, header x-a=1, header x-b=2"], own),
                rule(&["prefix /b"], own),
            ],
        ),
    ]);
    for (line, fields, expected) in [
        ("GET /items", &[][..], "demo/a-old[0]"),
        ("GET /items/9", &[], "demo/a-old[0]"),
        ("GET /itemsx", &[], "-"),
        ("GET /items/new", &[], "demo/b-old[2]"),
        ("GET /items/old", &[], "demo/b-old[3]"),
        ("GET /items/new/1", &[], "demo/b-old[1]"),
        ("GET /a", &[("x-a", "1")], "demo/young[1]"),
        ("PUT /a?q=1", &[("x-a", "1")], "demo/a-old[1]"),
        ("PUT /a?q=1", &[("X-A", "1"), ("x-b", "2")], "demo/a-old[3]"),
        ("PUT /a?q=1", &[], "demo/a-old[2]"),
        ("PUT /a", &[], "-"),
        ("GET /b/c", &[], "demo/a-old[2]"),
        ("GET /%69tems/./x/..", &[], "demo/a-old[0]"),
    ] {
        assert_eq!(winner(&table, line, fields), expected, "{line} {fields:?}");
    }
}

#[test]
fn conditions_on_values() {
    let own: &[(u32, u32)] = &[(0, 1)];
    let table = table(vec![route(
        "r",
        1,
        vec![
            rule(&["prefix /h, header x-a=1,2"], own),
            rule(&["prefix /e, header x-a=~a|b"], own),
            rule(&["prefix /q, query a b=c&d"], own),
            rule(&["prefix /empty, query flag="], own),
        ],
    )]);
    for (line, fields, expected) in [
        ("GET /h", &[("x-a", "1"), ("X-A", "2")][..], "demo/r[0]"),
        ("GET /h", &[("x-a", "1")], "-"),
        ("GET /e", &[("x-a", "b")], "demo/r[1]"),
        ("GET /e", &[("x-a", "ab")], "-"),
        ("GET /q?x=1&a%20b=c%26d&a%20b=no", &[], "demo/r[2]"),
        ("GET /q?a+b=c%26d", &[], "-"),
        ("GET /empty?flag", &[], "demo/r[3]"),
        ("GET /empty", &[], "-"),
    ] {
        assert_eq!(winner(&table, line, fields), expected, "{line} {fields:?}");
    }
}

#[test]
fn redirects_say_where() {
    let to = |scheme: Option<&str>, host: Option<&str>, port: u16, path| Redirect {
        scheme: scheme.map(str::to_owned),
        hostname: host.map(|host| host.parse().unwrap()),
        path,
        port: crate::name::Port::new(port),
        status: 302,
    };
    let full = Some(PathRewrite::Full("/new".into()));
    let prefix = Some(PathRewrite::Prefix("/p".into()));
    let table = table(vec![route(
        "r",
        1,
        vec![
            redirect("prefix /tls", to(Some("https"), None, 0, None)),
            redirect("prefix /host", to(None, Some("example.org"), 8080, full)),
            redirect("prefix /prefix", to(Some("http"), None, 443, prefix)),
            redirect("prefix /same", to(None, None, 0, None)),
        ],
    )]);
    for (target, expected) in [
        ("/tls/a?b=c", "https://catalog/tls/a?b=c"),
        ("/host/x?q", "http://example.org:8080/new?q"),
        ("/prefix/x", "http://catalog:443/p/x"),
        ("/same", "http://catalog/same"),
    ] {
        let explained = explained(&table, &format!("GET {target}"), &[]);
        let Outcome::Redirect {
            status: 302,
            location,
            ..
        } = &explained.outcomes[0].result
        else {
            panic!("{explained:?}");
        };
        assert_eq!(location, expected, "{target}");
    }
    let dialled = |port, authority| {
        with_request("GET /same", &[], |request, _| {
            let request = Request {
                authority,
                port,
                ..*request
            };
            let Step::Done(decision) =
                super::request(&table, &request, &mut Seeded(1), &mut Silent);
            let Decision::Respond(respond) = decision else {
                panic!("{decision:?}")
            };
            respond.location.unwrap()
        })
    };
    assert_eq!(dialled(9080, "catalog:9080"), "http://catalog:9080/same");
    assert_eq!(dialled(9080, ""), "/same");
}

#[test]
fn weights_hold_and_broken_backends_answer() {
    let mut broken = rule(&["prefix /broken"], &[(0, 1), (1, 1)]);
    if let Action::Forward { backends, .. } = &mut broken.action {
        backends[0].target = Target::Broken {
            reason: "Service demo/x not found".into(),
        };
    }
    let table = table(vec![route(
        "r",
        1,
        vec![
            rule(&["prefix /canary"], &[(1, 900), (2, 100)]),
            broken,
            rule(&["prefix /zero"], &[(1, 0)]),
            rule(&["prefix /none"], &[]),
        ],
    )]);
    let mut random = Seeded(11);
    let mut count = |target: &str| {
        let mut counts = std::collections::BTreeMap::<String, u32>::new();
        for _ in 0..10_000 {
            let step = with_request(target, &[], |request, _| {
                let Step::Done(decision) =
                    super::request(&table, request, &mut random, &mut Silent);
                match decision {
                    Decision::Forward(forward) => forward.backend.name.to_string(),
                    Decision::Respond(respond) => {
                        format!("{} {}", respond.status, respond.refusal.unwrap().reason())
                    }
                    Decision::Abort(abort) => abort.answer.to_string(),
                }
            });
            *counts.entry(step).or_default() += 1;
        }
        counts
    };
    let canary = count("GET /canary");
    assert!(
        (850..1150).contains(&canary["demo/catalog-v2:80"]),
        "{canary:?}"
    );
    let broken = count("GET /broken");
    assert!(
        (4700..5300).contains(&broken["500 broken-backend"]),
        "{broken:?}"
    );
    for (target, expected) in [
        ("GET /zero", "500 no-backend"),
        ("GET /none", "500 no-backend"),
        ("GET /else", "404 no-route"),
    ] {
        assert_eq!(count(target).keys().collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn without_routes_all_goes_to_the_destination_itself() {
    let table = table(Vec::new());
    let explained = explained(&table, "OPTIONS *", &[("host", "catalog"), ("x-a", "1")]);
    let Outcome::Forward(forward) = &explained.outcomes[0].result else {
        panic!("{explained}")
    };
    assert_eq!(
        (forward.backend.as_str(), forward.request.target.as_str()),
        ("demo/catalog:80", "*")
    );
    assert_eq!(forward.request.fields, [("x-a".to_owned(), "1".to_owned())]);
}

#[test]
fn an_outcome_is_what_a_request_comes_to() {
    let table = table(vec![route(
        "r",
        1,
        vec![rule(&["prefix /"], &[(1, 1), (2, 3), (0, 0)])],
    )]);
    with_request("GET /x", &[], |request, _| {
        let all = outcomes(&table, request, &mut Silent);
        assert_eq!(
            all.iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            [Some(0), Some(1)]
        );
        let mut trace = Trace::default();
        let Step::Done(decision) = super::request(&table, request, &mut Seeded(5), &mut trace);
        assert!(
            all.iter()
                .any(|(_, one)| format!("{one:?}") == format!("{decision:?}"))
        );
        assert!(matches!(
            &trace.notes[..],
            [Note::Matched { .. }, Note::Chose { .. }]
        ));
    });
}
