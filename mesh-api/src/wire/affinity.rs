//! Algorithms, keys and what keeps a user.

use std::time::Duration;

use crate::error::Faults;
use crate::model::affinity::{Cookie, CookieTerms, KeySource, SameSite, Scope, Stickiness};
use crate::model::origin::Sourced;
use crate::model::policy::Algorithm;
use crate::wire::generated as wire;
use crate::wire::generated::key_source::Kind;
use crate::wire::read;

pub(super) fn write_algorithm(from: Algorithm) -> wire::Algorithm {
    match from {
        Algorithm::PeakEwma => wire::Algorithm::PeakEwma,
        Algorithm::LeastRequest => wire::Algorithm::LeastRequest,
        Algorithm::RoundRobin => wire::Algorithm::RoundRobin,
        Algorithm::Random => wire::Algorithm::Random,
        Algorithm::RingHash => wire::Algorithm::RingHash,
        Algorithm::Maglev => wire::Algorithm::Maglev,
    }
}

pub(super) fn read_algorithm(from: wire::Algorithm) -> Option<Algorithm> {
    match from {
        wire::Algorithm::Unspecified => None,
        wire::Algorithm::PeakEwma => Some(Algorithm::PeakEwma),
        wire::Algorithm::LeastRequest => Some(Algorithm::LeastRequest),
        wire::Algorithm::RoundRobin => Some(Algorithm::RoundRobin),
        wire::Algorithm::Random => Some(Algorithm::Random),
        wire::Algorithm::RingHash => Some(Algorithm::RingHash),
        wire::Algorithm::Maglev => Some(Algorithm::Maglev),
    }
}

pub(super) fn write(from: Option<&Sourced<Stickiness>>) -> Option<wire::Stickiness> {
    from.map(|from| wire::Stickiness {
        by: Some(write_source(&from.value.by)),
        endpoints: from.value.scope == Scope::Endpoint,
        origin: read::write_origin(&from.origin),
    })
}

#[expect(
    clippy::option_option,
    reason = "the outer is a fault, the inner a value left out"
)]
pub(super) fn read(
    from: Option<&wire::Stickiness>,
    faults: &mut Faults,
) -> Option<Option<Sourced<Stickiness>>> {
    let Some(from) = from else {
        return Some(None);
    };
    faults.field("stickiness", |f| {
        let by = read::required("by", from.by.as_ref(), f);
        let by = by.and_then(|by| f.field("by", |f| read_source(by, f)));
        let scope = if from.endpoints {
            Scope::Endpoint
        } else {
            Scope::Backend
        };
        let stickiness = by.map(|by| Stickiness { by, scope });
        read::sourced(stickiness, "origin", from.origin.as_ref(), f).map(Some)
    })
}

pub(super) fn write_source(from: &KeySource) -> wire::KeySource {
    let kind = match from {
        KeySource::Header(name) => Kind::Header(name.to_string()),
        KeySource::Cookie(cookie) => Kind::Cookie(wire::Cookie {
            name: cookie.name.to_string(),
            issue: cookie.issue.as_ref().map(write_terms),
        }),
        KeySource::Query(name) => Kind::Query(name.clone()),
        KeySource::SourceIp => Kind::Caller(wire::CallerPart::Address.into()),
        KeySource::Identity => Kind::Caller(wire::CallerPart::Identity.into()),
    };
    wire::KeySource { kind: Some(kind) }
}

pub(super) fn read_sources(
    field: &str,
    from: &[wire::KeySource],
    faults: &mut Faults,
) -> Option<Vec<KeySource>> {
    read::list(field, from, MAX_SOURCES, faults, read_source)
}

fn read_source(from: &wire::KeySource, faults: &mut Faults) -> Option<KeySource> {
    match read::required("kind", from.kind.as_ref(), faults)? {
        Kind::Header(name) => read::text("header", name, faults).map(KeySource::Header),
        Kind::Cookie(cookie) => faults.field("cookie", |f| {
            let name = read::text("name", &cookie.name, f);
            let issue = match &cookie.issue {
                None => Some(None),
                Some(terms) => f.field("issue", |f| read_terms(terms, f)).map(Some),
            };
            Some(KeySource::Cookie(Cookie {
                name: name?,
                issue: issue?,
            }))
        }),
        Kind::Query(name) => {
            let is_good = (1..=MAX_NAME).contains(&name.len());
            if !is_good {
                let reason = format!("has not 1 to {MAX_NAME} bytes");
                faults.field("query", |f| f.refuse(reason));
            }
            is_good.then(|| KeySource::Query(name.clone()))
        }
        Kind::Caller(part) => read::choice("caller", *part, faults, |part| match part {
            wire::CallerPart::Unspecified => None,
            wire::CallerPart::Address => Some(KeySource::SourceIp),
            wire::CallerPart::Identity => Some(KeySource::Identity),
        }),
    }
}

fn write_terms(from: &CookieTerms) -> wire::CookieTerms {
    let same_site = match from.same_site {
        SameSite::Strict => wire::SameSite::Strict,
        SameSite::Lax => wire::SameSite::Lax,
        SameSite::None => wire::SameSite::None,
    };
    wire::CookieTerms {
        ttl_seconds: from.ttl.map(|ttl| ttl.as_secs()),
        path: from.path.to_string(),
        same_site: same_site.into(),
        secure: from.secure,
    }
}

fn read_terms(from: &wire::CookieTerms, faults: &mut Faults) -> Option<CookieTerms> {
    let path = read::text("path", &from.path, faults);
    let same_site = read::choice("sameSite", from.same_site, faults, |value| match value {
        wire::SameSite::Unspecified => None,
        wire::SameSite::Strict => Some(SameSite::Strict),
        wire::SameSite::Lax => Some(SameSite::Lax),
        wire::SameSite::None => Some(SameSite::None),
    });
    Some(CookieTerms {
        ttl: from.ttl_seconds.map(Duration::from_secs),
        path: path?,
        same_site: same_site?,
        secure: from.secure,
    })
}

const MAX_SOURCES: usize = 8;
const MAX_NAME: usize = 256;
