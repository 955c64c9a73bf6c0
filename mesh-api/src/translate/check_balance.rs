//! Checks of the sections `loadBalancing` and `stickiness` of a `TrafficPolicy`.

use std::time::Duration;

use crate::error::Faults;
use crate::model::affinity::{Cookie, CookieTerms, KeySource, SameSite, Scope, Stickiness};
use crate::model::policy::Algorithm;
use crate::name::HeaderName;
use crate::resource::affinity::{
    CookieField, IssueField, KeyField, SameSiteField, ScopeField, StickinessSection,
};
use crate::resource::traffic::{AlgorithmField, LoadBalancingSection};
use crate::translate::check_locality;
use crate::translate::check_reference::at_most;
use crate::translate::check_section::positive;
use crate::translate::checked::LoadBalancing;

/// Most sources of a key, as many as a proxy takes.
const MAX_SOURCES: usize = 8;
/// Longest name of a query parameter, in bytes.
const MAX_NAME: usize = 256;
/// Longest time in which an endpoint is new.
const MAX_SLOW_START: Duration = Duration::from_hours(1);

/// Checks `loadBalancing`.
pub(super) fn load_balancing(section: &LoadBalancingSection, faults: &mut Faults) -> LoadBalancing {
    let algorithm = section.algorithm.map_or(Algorithm::default(), algorithm);
    let sources = section.hash_on.as_deref().unwrap_or_default();
    let hash_on = faults.field("hashOn", |faults| {
        let goes_by_key = algorithm.goes_by_key();
        if goes_by_key && sources.is_empty() {
            faults.refuse(format!(
                "is needed: {} goes by a key of the request",
                algorithm.as_str()
            ));
        }
        if !goes_by_key && section.hash_on.is_some() {
            faults.refuse(format!(
                "is for RingHash and Maglev: {} goes by no key",
                algorithm.as_str()
            ));
        }
        at_most(sources.len(), MAX_SOURCES, "sources", faults);
        let each = sources.iter().enumerate().take(MAX_SOURCES);
        each.filter_map(|(at, field)| faults.index(at, |faults| source(field, faults)))
            .collect()
    });
    LoadBalancing {
        algorithm,
        hash_on,
        slow_start: slow_start(section, algorithm, faults),
        locality: faults.field("locality", |faults| {
            let section = section.locality.as_ref()?;
            check_locality::preference(section, algorithm, faults)
        }),
    }
}

fn slow_start(
    section: &LoadBalancingSection,
    algorithm: Algorithm,
    faults: &mut Faults,
) -> Option<Duration> {
    let window = positive("slowStart", section.slow_start.as_ref(), faults)?;
    let fault = if algorithm.goes_by_key() {
        format!(
            "is not for {}: its keys lead to an endpoint or do not, new or not; leave it out, or choose another algorithm",
            algorithm.as_str()
        )
    } else if window > MAX_SLOW_START {
        "is longer than 1h".to_owned()
    } else {
        return Some(window);
    };
    faults.field("slowStart", |faults| faults.refuse(fault));
    None
}

/// Checks `stickiness`.
pub(super) fn stickiness(section: &StickinessSection, faults: &mut Faults) -> Option<Stickiness> {
    Some(Stickiness {
        by: faults.field("by", |faults| source(&section.by, faults))?,
        scope: match section.scope {
            Some(ScopeField::Endpoint) => Scope::Endpoint,
            Some(ScopeField::Backend) | None => Scope::Backend,
        },
    })
}

fn algorithm(field: AlgorithmField) -> Algorithm {
    match field {
        AlgorithmField::PeakEwma => Algorithm::PeakEwma,
        AlgorithmField::LeastRequest => Algorithm::LeastRequest,
        AlgorithmField::RoundRobin => Algorithm::RoundRobin,
        AlgorithmField::Random => Algorithm::Random,
        AlgorithmField::RingHash => Algorithm::RingHash,
        AlgorithmField::Maglev => Algorithm::Maglev,
    }
}

fn source(field: &KeyField, faults: &mut Faults) -> Option<KeySource> {
    let KeyField {
        header,
        cookie,
        query,
        source_ip,
        identity,
    } = field;
    match (header, cookie, query, source_ip, identity) {
        (Some(name), None, None, None, None) => faults.field("header", |faults| {
            let name = name.to_ascii_lowercase();
            Some(KeySource::Header(faults.take(name.parse::<HeaderName>())?))
        }),
        (None, Some(cookie), None, None, None) => faults.field("cookie", |faults| {
            Some(KeySource::Cookie(cookie_of(cookie, faults)?))
        }),
        (None, None, Some(name), None, None) => faults.field("query", |faults| {
            let is_good = (1..=MAX_NAME).contains(&name.len());
            if !is_good {
                faults.refuse(format!("has not 1 to {MAX_NAME} bytes"));
            }
            is_good.then(|| KeySource::Query(name.clone()))
        }),
        (None, None, None, Some(_), None) => Some(KeySource::SourceIp),
        (None, None, None, None, Some(_)) => Some(KeySource::Identity),
        _ => {
            faults.refuse("sets one of header, cookie, query, sourceIP and identity");
            None
        }
    }
}

fn cookie_of(field: &CookieField, faults: &mut Faults) -> Option<Cookie> {
    let name = faults.field("name", |faults| faults.take(field.name.parse()));
    let ttl = positive("ttl", field.ttl.as_ref(), faults);
    if ttl.is_some_and(|ttl| ttl.subsec_nanos() != 0) {
        faults.field("ttl", |faults| faults.refuse("is not in whole seconds"));
    }
    let path = faults.field("path", |faults| {
        let text = field.path.as_deref().unwrap_or("/");
        faults.take(text.parse())
    });
    let same_site = match field.same_site {
        Some(SameSiteField::Strict) => SameSite::Strict,
        Some(SameSiteField::None) => SameSite::None,
        Some(SameSiteField::Lax) | None => SameSite::Lax,
    };
    let secure = field.secure.unwrap_or_default();
    if same_site == SameSite::None && !secure {
        faults.field("sameSite", |faults| {
            faults.refuse("None needs secure: true, or browsers drop the cookie");
        });
    }
    let issued = field.issue != Some(IssueField::Never);
    if !issued {
        for (name, is_set) in [
            ("ttl", field.ttl.is_some()),
            ("path", field.path.is_some()),
            ("sameSite", field.same_site.is_some()),
            ("secure", field.secure.is_some()),
        ] {
            if is_set {
                faults.field(name, |faults| {
                    faults.refuse("is of a cookie that is made, and issue is Never");
                });
            }
        }
    }
    let terms = CookieTerms {
        ttl,
        path: path?,
        same_site,
        secure,
    };
    Some(Cookie {
        name: name?,
        issue: issued.then_some(terms),
    })
}
