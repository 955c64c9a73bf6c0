//! Checks of a rule's matches.

use std::collections::BTreeSet;

use crate::error::Faults;
use crate::model::path::{PathMatch, Pattern, TextMatch};
use crate::model::route::{HeaderMatch, QueryMatch, RouteMatch};
use crate::resource::httproute::{
    HTTPHeaderMatch, HTTPMethod, HTTPPathMatch, HTTPQueryParamMatch, HTTPRouteMatch, PathMatchType,
    TextMatchType,
};
use crate::translate::check_reference::at_most;

/// Longest path, value and list (Gateway API).
const MAX_PATH: usize = 1024;
const MAX_VALUE: usize = 4096;
const MAX_FIELDS: usize = 16;

/// What a rule without matches matches: the prefix `/`.
pub(super) fn everything() -> RouteMatch {
    RouteMatch {
        path: PathMatch::Prefix(String::new()),
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    }
}

/// Checks one match.
pub(super) fn one(given: &HTTPRouteMatch, faults: &mut Faults) -> Option<RouteMatch> {
    let path = match &given.path {
        None => Some(everything().path),
        Some(path) => faults.field("path", |faults| path_of(path, faults)),
    };
    let headers = faults.field("headers", |faults| headers_of(&given.headers, faults));
    let query = faults.field("queryParams", |faults| {
        query_of(&given.query_params, faults)
    });
    if given.method == Some(HTTPMethod::Connect) {
        faults.field("method", |faults| {
            faults.refuse("CONNECT is not supported yet");
        });
    }
    let method = given.method.map(|method| method.as_str().to_owned());
    Some(RouteMatch {
        path: path?,
        method,
        headers,
        query,
    })
}

/// How many regular expressions a match holds.
pub(super) fn expressions(given: &HTTPRouteMatch) -> usize {
    let of_path = |path: &&HTTPPathMatch| path.r#type == Some(PathMatchType::RegularExpression);
    let of_text = |kind: Option<TextMatchType>| kind == Some(TextMatchType::RegularExpression);
    given.path.iter().filter(of_path).count()
        + given.headers.iter().filter(|h| of_text(h.r#type)).count()
        + given
            .query_params
            .iter()
            .filter(|q| of_text(q.r#type))
            .count()
}

fn path_of(path: &HTTPPathMatch, faults: &mut Faults) -> Option<PathMatch> {
    let value = path.value.as_deref().unwrap_or("/");
    faults.field("value", |faults| {
        if value.len() > MAX_PATH {
            faults.refuse(format!("is longer than {MAX_PATH} bytes"));
            return None;
        }
        match path.r#type.unwrap_or(PathMatchType::PathPrefix) {
            PathMatchType::RegularExpression => faults
                .take(Pattern::new(value))
                .map(PathMatch::RegularExpression),
            PathMatchType::Exact => {
                absolute(value, faults).then(|| PathMatch::Exact(value.to_owned()))
            }
            PathMatchType::PathPrefix => absolute(value, faults)
                .then(|| PathMatch::Prefix(value.trim_end_matches('/').to_owned())),
        }
    })
}

/// True for a path that the Gateway API allows in `Exact` and `PathPrefix`.
fn absolute(value: &str, faults: &mut Faults) -> bool {
    const ALLOWED: &[u8] = b"/-._~!$&'()*+,;=:@%";
    if !value.starts_with('/') {
        faults.refuse("must start with /");
        return false;
    }
    let inside = ["//", "/./", "/../", "%2f", "%2F", "#"]
        .into_iter()
        .find(|part| value.contains(part));
    if let Some(part) = inside {
        faults.refuse(format!("must not contain {part:?}"));
        return false;
    }
    if let Some(end) = ["/..", "/."].into_iter().find(|end| value.ends_with(end)) {
        faults.refuse(format!("must not end with {end:?}"));
        return false;
    }
    if !value
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || ALLOWED.contains(&byte))
        || !escapes_are_whole(value)
    {
        faults.refuse("must hold only what a path may: anything else is written as %XX");
        return false;
    }
    true
}

fn escapes_are_whole(value: &str) -> bool {
    value.split('%').skip(1).all(|tail| {
        let mut digits = tail.bytes();
        let mut hexadecimal = || digits.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        hexadecimal() && hexadecimal()
    })
}

/// Of several conditions on one header, the first counts (Gateway API `HTTPRouteMatch.headers`).
pub(super) fn headers_of(headers: &[HTTPHeaderMatch], faults: &mut Faults) -> Vec<HeaderMatch> {
    at_most(headers.len(), MAX_FIELDS, "conditions", faults);
    let mut seen = BTreeSet::new();
    let mut checked = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        faults.index(index, |faults| {
            let name = faults.field("name", |faults| {
                faults.take(header.name.to_ascii_lowercase().parse())
            });
            let value = faults.field("value", |faults| text(header.r#type, &header.value, faults));
            if let (Some(name), Some(value)) = (name, value)
                && seen.insert(header.name.to_ascii_lowercase())
            {
                checked.push(HeaderMatch { name, value });
            }
        });
    }
    checked
}

/// Of several conditions on one parameter, the first counts (Gateway API `HTTPRouteMatch.queryParams`).
fn query_of(query: &[HTTPQueryParamMatch], faults: &mut Faults) -> Vec<QueryMatch> {
    at_most(query.len(), MAX_FIELDS, "conditions", faults);
    let mut seen = BTreeSet::new();
    let mut checked = Vec::new();
    for (index, parameter) in query.iter().enumerate() {
        faults.index(index, |faults| {
            if parameter.name.is_empty() || parameter.name.len() > 256 {
                faults.field("name", |faults| faults.refuse("must have 1 to 256 bytes"));
            }
            let value = faults.field("value", |faults| {
                text(parameter.r#type, &parameter.value, faults)
            });
            if let Some(value) = value
                && seen.insert(parameter.name.as_str())
            {
                checked.push(QueryMatch {
                    name: parameter.name.clone(),
                    value,
                });
            }
        });
    }
    checked
}

/// Checks a condition on a value.
pub(super) fn text(
    kind: Option<TextMatchType>,
    value: &str,
    faults: &mut Faults,
) -> Option<TextMatch> {
    if value.is_empty() || value.len() > MAX_VALUE {
        faults.refuse(format!("must have 1 to {MAX_VALUE} bytes"));
        return None;
    }
    match kind.unwrap_or(TextMatchType::Exact) {
        TextMatchType::Exact => Some(TextMatch::Exact(value.to_owned())),
        TextMatchType::RegularExpression => faults
            .take(Pattern::new(value))
            .map(TextMatch::RegularExpression),
    }
}
