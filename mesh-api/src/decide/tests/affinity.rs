//! What keeps a user on a backend and on an endpoint.

use super::*;
use crate::model::affinity::{Cookie, CookieTerms, KeySource, SameSite, Scope, Stickiness};
use crate::model::policy::Algorithm;

fn cookie(issued: bool) -> KeySource {
    let terms = CookieTerms {
        ttl: None,
        path: "/".parse().unwrap(),
        same_site: SameSite::Lax,
        secure: false,
    };
    KeySource::Cookie(Cookie {
        name: "canary".parse().unwrap(),
        issue: issued.then_some(terms),
    })
}

/// A canary of three parts in ten that keeps users by `by`.
fn canary(by: KeySource, scope: Scope) -> DestinationTable {
    let mut split = rule(&["prefix /"], &[(1, 7), (2, 3)]);
    split.stickiness = Some(Sourced::default_value(Stickiness { by, scope }));
    table(vec![route("canary", 1, vec![split])])
}

struct Sent {
    backend: String,
    endpoint: Option<u64>,
    cookies: Vec<String>,
}

fn send(table: &DestinationTable, fields: &[(&str, &str)], seed: u64) -> Sent {
    with_request("GET /", fields, |request, _| {
        let Step::Done(decision) = super::request(table, request, &mut Seeded(seed), &mut Silent);
        let Decision::Forward(forward) = decision else {
            panic!("{decision:?}")
        };
        let cookies = forward.affinity.cookies.iter();
        Sent {
            backend: forward.backend.name.to_string(),
            endpoint: forward.affinity.endpoint,
            cookies: cookies.map(|cookie| cookie.set.clone()).collect(),
        }
    })
}

#[test]
fn a_user_stays_and_others_are_chosen_by_weight() {
    let table = canary(KeySource::Header("x-user".parse().unwrap()), Scope::Backend);
    let mut of_canary = 0;
    for user in 0..1000_u32 {
        let name = user.to_string();
        let fields = [("x-user", name.as_str())];
        let first = send(&table, &fields, u64::from(user));
        for seed in 0..5 {
            assert_eq!(send(&table, &fields, seed).backend, first.backend);
        }
        assert!(first.cookies.is_empty() && first.endpoint.is_none());
        of_canary += u32::from(first.backend == "demo/catalog-v2:80");
    }
    // Mean 300, standard deviation 14.5.
    assert!((225..375).contains(&of_canary), "{of_canary}");
    let anybody: std::collections::BTreeSet<_> = (0..50)
        .map(|seed| send(&table, &[], seed).backend)
        .collect();
    assert_eq!(anybody.len(), 2);
    // An empty value is none.
    let empty: std::collections::BTreeSet<_> = (0..50)
        .map(|seed| send(&table, &[("x-user", "")], seed).backend)
        .collect();
    assert_eq!(empty.len(), 2);
}

#[test]
fn a_cookie_that_is_made_leads_where_the_first_request_went() {
    let table = canary(cookie(true), Scope::Endpoint);
    for seed in 0..50 {
        let first = send(&table, &[], seed);
        let [set] = &first.cookies[..] else {
            panic!("{:?}", first.cookies)
        };
        let (pair, rest) = set.split_once("; ").unwrap();
        assert_eq!(rest, "Path=/; HttpOnly; SameSite=Lax");
        let next = send(&table, &[("cookie", pair)], seed + 1000);
        assert_eq!(next.backend, first.backend);
        assert_eq!(next.endpoint, first.endpoint);
        assert!(next.endpoint.is_some() && next.cookies.is_empty());
    }
    let never = canary(cookie(false), Scope::Endpoint);
    assert!(send(&never, &[], 1).cookies.is_empty());
}

#[test]
fn one_cookie_serves_backend_and_endpoint() {
    let mut destination = destination(Vec::new());
    for backend in &mut destination.backends {
        backend.settings.algorithm.value = Algorithm::Maglev;
        backend.settings.hash_on.value = vec![cookie(true)];
    }
    let plain = DestinationTable::compile(destination.clone(), None).unwrap();
    let sent = send(&plain, &[], 1);
    assert!(sent.endpoint.is_some() && sent.cookies.len() == 1);
    let mut split = rule(&["prefix /"], &[(1, 7), (2, 3)]);
    let by = cookie(true);
    let scope = Scope::Backend;
    split.stickiness = Some(Sourced::default_value(Stickiness { by, scope }));
    destination.routes = vec![route("canary", 1, vec![split])];
    let both = DestinationTable::compile(destination, None).unwrap();
    let sent = send(&both, &[], 1);
    assert!(sent.endpoint.is_some());
    assert_eq!(sent.cookies.len(), 1, "it is made once");
}

#[test]
fn what_a_key_leads_to_is_explained() {
    let table = canary(cookie(true), Scope::Endpoint);
    let text = |fields: &[(&str, &str)]| {
        with_request("GET /", fields, |request, fields| {
            explain(&table, request, fields).to_string()
        })
    };
    let kept = text(&[("cookie", "canary=17")]);
    assert_eq!(kept.matches("forward to").count(), 1, "{kept}");
    for line in [
        "100 %: forward to",
        "  stickiness: cookie canary (made for the client's session, path /), scope Endpoint [default]",
        "  kept by: backend by cookie canary",
    ] {
        assert!(kept.contains(line), "{line}:\n{kept}");
    }
    let new = text(&[]);
    assert_eq!(new.matches("forward to").count(), 2, "{new}");
    assert!(new.contains("70 %: forward to demo/catalog-v1:80"), "{new}");
    assert!(new.contains("  kept by: backend by cookie canary, which is made: by weight now"));
}
