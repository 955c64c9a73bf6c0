//! What keeps a request's user where they are.

use crate::decide::explanation::setting::{Setting, debug, duration, setting};
use crate::decide::{Forward, Request, affinity};
use crate::model::affinity::{Cookie, CookieTerms, KeySource, Stickiness};
use crate::model::origin::Sourced;
use crate::model::policy::BackendSettings;

pub(super) fn stickiness(from: &Sourced<Stickiness>) -> Setting {
    setting(from, |found| {
        format!("{}, scope {}", source_text(&found.by), found.scope.as_str())
    })
}

pub(super) fn hash_on(settings: &BackendSettings) -> Option<Setting> {
    let is_set = !settings.hash_on.value.is_empty();
    is_set.then(|| {
        setting(&settings.hash_on, |sources| {
            let texts: Vec<_> = sources.iter().map(source_text).collect();
            texts.join("; ")
        })
    })
}

pub(super) fn slow_start(settings: &BackendSettings) -> Option<Setting> {
    settings
        .slow_start
        .value
        .map(|_| setting(&settings.slow_start, duration))
}

/// The sources that counted, for the backend and for the endpoint.
pub(super) fn by(forward: &Forward<'_>, request: &Request<'_>) -> Option<String> {
    let text = |sources: &[KeySource], made: &str, none: &str| {
        if let Some((at, _)) = affinity::find(sources, request) {
            return sources.get(at).map(ToString::to_string);
        }
        let issued = sources
            .iter()
            .find(|source| matches!(source, KeySource::Cookie(Cookie { issue: Some(_), .. })));
        Some(match issued {
            Some(cookie) => format!("{cookie}, which is made: {made}"),
            None => none.to_owned(),
        })
    };
    let sticky = forward.stickiness.and_then(|found| {
        let by = std::slice::from_ref(&found.value.by);
        let by = text(by, "by weight now", "nothing: by weight")?;
        Some(format!("backend by {by}"))
    });
    let sources = &forward.backend.settings.hash_on.value;
    let own = forward.backend.keys.is_some() && !sources.is_empty();
    let endpoint = own
        .then(|| text(sources, "any now", "nothing: any"))
        .flatten();
    let endpoint = endpoint.map(|by| format!("endpoint by {by}"));
    let both: Vec<_> = sticky.into_iter().chain(endpoint).collect();
    (!both.is_empty()).then(|| both.join("; "))
}

fn source_text(source: &KeySource) -> String {
    match source {
        KeySource::Cookie(Cookie {
            issue: Some(terms), ..
        }) => format!("{source} ({})", terms_text(terms)),
        _ => source.to_string(),
    }
}

fn terms_text(terms: &CookieTerms) -> String {
    let ttl = terms
        .ttl
        .map_or_else(|| "the client's session".to_owned(), |ttl| debug(&ttl));
    format!("made for {ttl}, path {}", terms.path)
}
