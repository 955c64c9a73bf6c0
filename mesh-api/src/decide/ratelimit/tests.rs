use std::collections::BTreeMap;
use std::hash::DefaultHasher;

use super::*;
use crate::decide::ratelimit::bucket::Bucket;
use crate::decide::tests::{conditions, route, rule, with_request};
use crate::error::Faults;
use crate::model::narrowing::Sources;
use crate::model::ratelimit::ReceivedRoutes;
use crate::model::route::RouteKind;

const SECOND: Duration = Duration::from_secs(1);

/// Buckets at a time of their own.
#[derive(Default)]
struct Held {
    now: Duration,
    buckets: BTreeMap<(usize, Option<u128>), Bucket>,
}

impl Buckets for Held {
    fn key(&self, write: &dyn Fn(&mut dyn Hasher)) -> u128 {
        let mut hasher = DefaultHasher::new();
        write(&mut hasher);
        hasher.finish().into()
    }

    fn take(&mut self, place: usize, key: Option<u128>, rate: Rate) -> Result<Room, Duration> {
        let bucket = self.buckets.entry((place, key)).or_default();
        bucket.take(rate, self.now)
    }

    fn give_back(&mut self, place: usize, key: Option<u128>, rate: Rate) {
        self.buckets
            .entry((place, key))
            .or_default()
            .give_back(rate);
    }
}

fn limit(name: &str, requests: u32, by: &[KeyPart]) -> RateLimit {
    RateLimit {
        place: 0,
        name: name.parse().unwrap(),
        rate: Rate::new(requests, SECOND, requests).unwrap(),
        by: by.to_vec(),
        matches: Vec::new(),
        status: 429,
    }
}

fn policy(name: &str, reach: Vec<Reach>, limits: Vec<RateLimit>) -> RateLimiting {
    RateLimiting {
        policy: format!("demo/{name}").parse().unwrap(),
        reach,
        limits,
        connections: None,
    }
}

fn inbound(rate_limits: Vec<RateLimiting>, received_routes: Vec<ReceivedRoutes>) -> Inbound {
    Inbound {
        workload: "demo/w".parse().unwrap(),
        identity: "spiffe://cluster.local/ns/demo/sa/w".parse().unwrap(),
        labels: BTreeMap::new(),
        addresses: Vec::new(),
        tunnel_port: Port::new(15008).unwrap(),
        ports: Vec::new(),
        unlisted: None,
        authorizations: Vec::new(),
        rate_limits,
        received_routes,
    }
}

fn table(
    policies: Vec<RateLimiting>,
    routes: Vec<ReceivedRoutes>,
) -> std::sync::Arc<RateLimitTable> {
    let mut faults = Faults::default();
    let table = RateLimitTable::compile(&inbound(policies, routes), &mut faults);
    assert!(faults.is_empty());
    table.unwrap()
}

/// Who calls: a port, a namespace (`-` in the clear) and an address.
type Who<'a> = (u16, &'a str, &'a str);

const SHOP: Who<'static> = (8080, "shop", "10.0.0.1");

fn ask(
    table: &RateLimitTable,
    held: &mut Held,
    (port, namespace, address): Who<'_>,
    (line, fields): (&str, &[(&str, &str)]),
) -> String {
    let peer = format!("spiffe://cluster.local/ns/{namespace}/sa/x");
    let peer: Option<Identity> = (namespace != "-").then(|| peer.parse().unwrap());
    let own = caller_namespace(peer.as_ref());
    with_request(line, fields, |request, _| {
        let caller = crate::decide::Caller {
            namespace: own,
            ..request.caller
        };
        let received = Received {
            request: Request { caller, ..*request },
            port: Port::new(port).unwrap(),
            peer: peer.as_ref(),
            address: address.parse().unwrap(),
        };
        match decide(table, &received, held) {
            Outcome::Unlimited => "-".to_owned(),
            Outcome::Pass(fields) => format!("{} | {}", fields.limit, fields.policy),
            Outcome::Refuse(refusal) => format!("{} {}", refusal.policy, refusal.fields.limit),
        }
    })
}

fn is_passed(said: &str) -> bool {
    !said.starts_with("demo/")
}

#[test]
fn answers_tell_what_is_left_of_every_limit() {
    let minutes = RateLimit {
        rate: Rate::new(100, Duration::from_millis(1500), 2).unwrap(),
        ..limit("short", 100, &[])
    };
    let both = policy(
        "p",
        vec![Reach::Workload],
        vec![limit("all", 3, &[]), minutes],
    );
    let table = table(vec![both], Vec::new());
    let mut held = Held::default();
    let mut get = || ask(&table, &mut held, SHOP, ("GET /", &[]));
    assert_eq!(
        get(),
        "\"all\";r=2;t=1, \"short\";r=1;t=1 | \"all\";q=3;w=1, \"short\";q=100"
    );
    assert!(is_passed(&get()));
    assert_eq!(get(), "demo/p \"short\";r=0;t=1");
}

#[test]
fn what_is_refused_takes_nothing_from_other_limits() {
    let wide = policy("wide", vec![Reach::Workload], vec![limit("wide", 10, &[])]);
    let narrow = policy(
        "narrow",
        vec![Reach::Workload],
        vec![limit("narrow", 1, &[])],
    );
    let table = table(vec![wide, narrow], Vec::new());
    let mut held = Held::default();
    for _ in 0..100 {
        ask(&table, &mut held, SHOP, ("GET /", &[]));
    }
    held.now += SECOND;
    let said = ask(&table, &mut held, SHOP, ("GET /", &[]));
    assert!(
        said.starts_with("\"wide\";r=9;t=1, \"narrow\";r=0;t=1 |"),
        "{said}"
    );
}

#[test]
fn keys_have_buckets_of_their_own() {
    let header = KeyPart::Header("x-tenant".parse().unwrap());
    for (by, first, second, is_other) in [
        (
            vec![KeyPart::Identity],
            SHOP,
            (8080, "web", "10.0.0.1"),
            true,
        ),
        (vec![KeyPart::Identity], SHOP, (8080, "-", "10.0.0.1"), true),
        (
            vec![KeyPart::Identity],
            SHOP,
            (8080, "shop", "10.0.0.2"),
            false,
        ),
        (
            vec![KeyPart::SourceIp],
            SHOP,
            (8080, "shop", "10.0.0.2"),
            true,
        ),
        (
            vec![KeyPart::SourceIp],
            SHOP,
            (8080, "web", "10.0.0.1"),
            false,
        ),
        (
            vec![header.clone(), KeyPart::Identity],
            SHOP,
            (8080, "web", "10.0.0.1"),
            true,
        ),
        (vec![header.clone()], SHOP, (8080, "web", "10.0.0.1"), false),
    ] {
        let name = format!("{by:?} {second:?}");
        let table = table(
            vec![policy(
                "p",
                vec![Reach::Workload],
                vec![limit("one", 1, &by)],
            )],
            Vec::new(),
        );
        let mut held = Held::default();
        assert!(is_passed(&ask(&table, &mut held, first, ("GET /", &[]))));
        let said = ask(&table, &mut held, second, ("GET /", &[]));
        assert_eq!(is_passed(&said), is_other, "{name}");
    }
    // Values are told apart by their lengths, and none from an empty one.
    let limits = vec![limit("one", 1, &[header])];
    let table = table(vec![policy("p", vec![Reach::Workload], limits)], Vec::new());
    let mut held = Held::default();
    let named = |value| [("x-tenant", value)];
    for fields in [
        &[][..],
        &named(""),
        &named("ab"),
        &[("x-tenant", "a"), ("x-tenant", "b")],
    ] {
        for is_first in [true, false] {
            let said = ask(&table, &mut held, SHOP, ("GET /", fields));
            assert_eq!(is_passed(&said), is_first, "{fields:?}");
        }
    }
}

#[test]
fn only_what_a_policy_reaches_and_a_match_takes_is_counted() {
    let of_posts = RateLimit {
        matches: vec![FaultMatch {
            conditions: conditions("prefix /a, method POST"),
            sources: Sources {
                namespaces: vec!["shop".parse().unwrap()],
                ..Sources::default()
            },
        }],
        ..limit("posts", 1, &[])
    };
    let port = Port::new(8080).unwrap();
    let table = table(
        vec![policy("p", vec![Reach::Port(port)], vec![of_posts])],
        Vec::new(),
    );
    for (from, line, is_counted) in [
        (SHOP, "POST /a/b", true),
        (SHOP, "GET /a/b", false),
        (SHOP, "POST /b", false),
        ((8080, "web", "10.0.0.1"), "POST /a", false),
        ((8080, "-", "10.0.0.1"), "POST /a", false),
        ((8081, "shop", "10.0.0.1"), "POST /a", false),
    ] {
        let said = ask(&table, &mut Held::default(), from, (line, &[]));
        assert_eq!(said != "-", is_counted, "{from:?} {line}");
    }
}

#[test]
fn requests_fall_to_rules_as_at_the_caller() {
    let mut dear = rule(&["exact /dear"], &[]);
    dear.name = Some("dear".parse().unwrap());
    let cheap = rule(&["prefix /"], &[]);
    let routes = vec![ReceivedRoutes {
        destination: "demo/catalog:80".parse().unwrap(),
        routes: vec![route("r", 1, vec![cheap, dear])],
    }];
    let reach = |rule: Option<&str>| {
        vec![Reach::Rules(RuleReach {
            port: Port::new(8080).unwrap(),
            routing: 0,
            kind: RouteKind::Http,
            route: "demo/r".parse().unwrap(),
            rule: rule.map(|rule| rule.parse().unwrap()),
        })]
    };
    let policies = vec![
        policy("dear", reach(Some("dear")), vec![limit("dear", 1, &[])]),
        policy("any", reach(None), vec![limit("any", 5, &[])]),
    ];
    let table = table(policies, routes);
    for (line, expected) in [
        ("GET /dear", "\"dear\";r=0;t=1, \"any\";r=4;t=1"),
        ("GET /dear/more", "\"any\";r=4;t=1"),
    ] {
        let said = ask(&table, &mut Held::default(), SHOP, (line, &[]));
        assert_eq!(said.split(" | ").next(), Some(expected), "{line}");
    }
}

#[test]
fn waits_are_told_rounded_up() {
    for (millis, secs, pushback) in [(0, 1, 1), (1, 1, 1), (1000, 1, 1000), (1001, 2, 1001)] {
        let wait = Duration::from_millis(millis);
        assert_eq!(
            (retry_after_secs(wait), retry_after_ms(wait)),
            (secs, pushback)
        );
    }
    assert_eq!(retry_after_ms(Duration::from_micros(1500)), 2);
}
