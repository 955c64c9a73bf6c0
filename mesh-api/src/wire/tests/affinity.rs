//! Algorithms, keys and what keeps a user, any of them.

use super::*;
use crate::model::affinity::{Cookie, CookieTerms, KeySource, SameSite, Scope, Stickiness};

pub(super) fn algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(vec![
        Algorithm::PeakEwma,
        Algorithm::LeastRequest,
        Algorithm::RoundRobin,
        Algorithm::Random,
        Algorithm::RingHash,
        Algorithm::Maglev,
    ])
}

pub(super) fn source() -> impl Strategy<Value = KeySource> {
    let same_site = prop::sample::select(vec![SameSite::Strict, SameSite::Lax, SameSite::None]);
    let ttl = option::of((0u64..1_000_000).prop_map(Duration::from_secs));
    let terms = (ttl, "/[a-z]{0,5}", same_site, any::<bool>()).prop_map(
        |(ttl, path, same_site, secure)| CookieTerms {
            ttl,
            path: path.parse().unwrap(),
            same_site,
            secure,
        },
    );
    let cookie = ("[a-zA-Z]{1,9}", option::of(terms)).prop_map(|(name, issue)| {
        KeySource::Cookie(Cookie {
            name: name.parse().unwrap(),
            issue,
        })
    });
    prop_oneof![
        "[a-z]{1,9}".prop_map(|name| KeySource::Header(name.parse().unwrap())),
        cookie,
        ".{1,9}".prop_map(KeySource::Query),
        Just(KeySource::SourceIp),
        Just(KeySource::Identity),
    ]
}

pub(super) fn stickiness() -> impl Strategy<Value = Stickiness> {
    (source(), any::<bool>()).prop_map(|(by, endpoints)| Stickiness {
        by,
        scope: if endpoints {
            Scope::Endpoint
        } else {
            Scope::Backend
        },
    })
}
