//! The key of a request: what keeps it together with others of the same user.
//!
//! The first source that is present counts; an empty value is none. Where none is present and a cookie is among
//! them that the proxy makes, it is made, and its value is the key from the first request on.

use std::borrow::Cow;

use crate::decide::{Caller, Random, Request, cookie, route};
use crate::model::affinity::{CookieTerms, KeySource, Scope, Stickiness};
use crate::model::origin::Sourced;
use crate::name::CookieName;
use crate::snapshot::{BackendTable, hash};

/// What a request is kept by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// The hash of the key that picks the endpoint, if one does.
    pub endpoint: Option<u64>,
    /// Cookies that were made for it, which the response gives the client.
    pub cookies: Vec<MadeCookie>,
}

/// A cookie that a client is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeCookie {
    name: CookieName,
    value: String,
    /// The value of the field `Set-Cookie`.
    pub set: String,
}

/// The rule that keeps a request's user, and the hash of the key it goes by, if there is one.
pub(super) type Sticky<'s> = Option<(&'s Stickiness, Option<u64>)>;

/// Looks keys up, and makes cookies where none is present. Made for one request.
pub(super) struct Keys<'r, 'a> {
    request: &'r Request<'a>,
    /// Whether a cookie that is not there is made.
    makes: bool,
    cookies: Vec<MadeCookie>,
}

impl<'r, 'a> Keys<'r, 'a> {
    pub(super) fn new(request: &'r Request<'a>) -> Self {
        Self {
            request,
            makes: true,
            cookies: Vec::new(),
        }
    }

    /// As [`Self::new`], of the keys that are there: no cookie is made, and nothing drawn.
    pub(super) fn present(request: &'r Request<'a>) -> Self {
        Self {
            request,
            makes: false,
            cookies: Vec::new(),
        }
    }

    /// The rule that keeps the user, with the key it goes by.
    pub(super) fn of<'s>(
        &mut self,
        sticky: Option<&'s Sourced<Stickiness>>,
        random: &mut dyn Random,
    ) -> Sticky<'s> {
        let sticky = &sticky?.value;
        let by = std::slice::from_ref(&sticky.by);
        Some((sticky, self.find_or_make(by, random)))
    }

    /// The hash of the key by the first of `sources` that is present, or of a cookie that is made.
    fn find_or_make(&mut self, sources: &[KeySource], random: &mut dyn Random) -> Option<u64> {
        let found = key(sources, self.request);
        found.or_else(|| {
            let mut sources = self.makes.then_some(sources)?.iter();
            let (name, terms) = sources.find_map(|source| match source {
                KeySource::Cookie(cookie) => Some((&cookie.name, cookie.issue.as_ref()?)),
                _ => None,
            })?;
            Some(self.make(name, terms, random))
        })
    }

    fn make(&mut self, name: &CookieName, terms: &CookieTerms, random: &mut dyn Random) -> u64 {
        if let Some(made) = self.cookies.iter().find(|made| made.name == *name) {
            return hash::key(made.value.as_bytes());
        }
        let value = cookie::new_value(random);
        let key = hash::key(value.as_bytes());
        self.cookies.push(MadeCookie {
            set: cookie::set(name, &value, terms),
            name: name.clone(),
            value,
        });
        key
    }

    /// What keeps the request on an endpoint of `backend`: the key that picked the backend where it goes for
    /// endpoints too, else one of the backend's own.
    pub(super) fn settle(
        mut self,
        backend: &BackendTable,
        sticky: Sticky<'_>,
        random: &mut dyn Random,
    ) -> Affinity {
        let endpoint = backend.keys.as_ref().and_then(|_| {
            let sources = &backend.settings.hash_on.value;
            of_endpoint(sticky).or_else(|| self.find_or_make(sources, random))
        });
        Affinity {
            endpoint,
            cookies: self.cookies,
        }
    }
}

fn of_endpoint(sticky: Sticky<'_>) -> Option<u64> {
    let (found, key) = sticky?;
    key.filter(|_| found.scope == Scope::Endpoint)
}

/// The hash of the key by the first of `sources` that is present.
pub(super) fn key(sources: &[KeySource], request: &Request<'_>) -> Option<u64> {
    find(sources, request).map(|(_, value)| hash::key(&value))
}

/// The first of `sources` that `request` has, by its place, and its value.
pub(super) fn find<'a>(
    sources: &[KeySource],
    request: &Request<'a>,
) -> Option<(usize, Cow<'a, [u8]>)> {
    let values = sources.iter().map(|source| value(source, request));
    let mut present = values.enumerate();
    present.find_map(|(at, value)| Some((at, value.filter(|value| !value.is_empty())?)))
}

fn value<'a>(source: &KeySource, request: &Request<'a>) -> Option<Cow<'a, [u8]>> {
    match source {
        KeySource::Header(name) => route::joined(request.headers, name.as_str()),
        KeySource::Cookie(cookie) => {
            cookie::value(request.headers, cookie.name.as_str()).map(Cow::Borrowed)
        }
        KeySource::Query(name) => route::parameter(request.query, name),
        KeySource::SourceIp | KeySource::Identity => of_caller(source, &request.caller),
    }
}

/// The value of a source that is the caller's own, which connections have too.
///
/// The identity is namespace and service account, as the path of a SPIFFE ID has them: `ns/web/sa/shop`. The trust
/// domain is left out: another name for it moves nobody.
fn of_caller<'a>(source: &KeySource, caller: &Caller<'_>) -> Option<Cow<'a, [u8]>> {
    let text = match source {
        KeySource::SourceIp => caller.address?.to_string(),
        KeySource::Identity => format!("ns/{}/sa/{}", caller.namespace, caller.service_account?),
        KeySource::Header(_) | KeySource::Cookie(_) | KeySource::Query(_) => return None,
    };
    Some(Cow::Owned(text.into_bytes()))
}

/// The hash of the key of a connection that picks an endpoint of `backend`: by what is the caller's own.
pub fn of_connection(backend: &BackendTable, caller: &Caller<'_>) -> Option<u64> {
    backend.keys.as_ref()?;
    let mut sources = backend.settings.hash_on.value.iter();
    let value = sources.find_map(|source| of_caller(source, caller))?;
    Some(hash::key(&value))
}
