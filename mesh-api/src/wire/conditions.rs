//! The matches of a rule.

use crate::error::Faults;
use crate::model::grpc::CallMatch;
use crate::model::path::{PathMatch, Pattern, TextMatch};
use crate::model::route::{HeaderMatch, QueryMatch, RouteMatch};
use crate::wire::generated as wire;
use crate::wire::generated::{named_match, path_match, text_match};
use crate::wire::read;

pub(super) fn write(from: &RouteMatch) -> wire::RouteMatch {
    let path = match &from.path {
        PathMatch::Exact(path) => path_match::Kind::Exact(path.clone()),
        PathMatch::Prefix(prefix) => path_match::Kind::Prefix(prefix.clone()),
        PathMatch::RegularExpression(pattern) => {
            path_match::Kind::RegularExpression(pattern.as_str().to_owned())
        }
        PathMatch::Call(call) => path_match::Kind::Call(wire::CallMatch {
            service: call.service.as_ref().map(write_text),
            method: call.method.as_ref().map(write_text),
        }),
    };
    let named = |name: &str, value: &TextMatch| wire::NamedMatch {
        name: name.to_owned(),
        value: Some(match value {
            TextMatch::Exact(text) => named_match::Value::Exact(text.clone()),
            TextMatch::RegularExpression(pattern) => {
                named_match::Value::RegularExpression(pattern.as_str().to_owned())
            }
        }),
    };
    wire::RouteMatch {
        path: Some(wire::PathMatch { kind: Some(path) }),
        method: from.method.clone().unwrap_or_default(),
        headers: from
            .headers
            .iter()
            .map(|h| named(h.name.as_str(), &h.value))
            .collect(),
        query: from
            .query
            .iter()
            .map(|q| named(&q.name, &q.value))
            .collect(),
    }
}

pub(super) fn read(from: &wire::RouteMatch, faults: &mut Faults) -> Option<RouteMatch> {
    let kind = from.path.as_ref().and_then(|path| path.kind.as_ref());
    let path = read::required("path", kind, faults);
    let path = path.and_then(|kind| faults.field("path", |f| read_path(kind, f)));
    let method = (!from.method.is_empty()).then(|| from.method.clone());
    if method
        .as_deref()
        .is_some_and(|method| !read::is_method(method))
    {
        faults.field("method", |f| f.refuse("is not a method"));
    }
    let headers = read::list("headers", &from.headers, MAX_CONDITIONS, faults, |m, f| {
        let name = read::text("name", &m.name, f);
        let value = read_value(m, f);
        Some(HeaderMatch {
            name: name?,
            value: value?,
        })
    });
    let query = read::list("query", &from.query, MAX_CONDITIONS, faults, |m, f| {
        if m.name.is_empty() || m.name.len() > MAX_TEXT {
            f.field("name", |f| {
                f.refuse(format!("has not 1 to {MAX_TEXT} bytes"));
            });
        }
        Some(QueryMatch {
            name: m.name.clone(),
            value: read_value(m, f)?,
        })
    });
    Some(RouteMatch {
        path: path?,
        method,
        headers: headers?,
        query: query?,
    })
}

fn read_path(kind: &path_match::Kind, faults: &mut Faults) -> Option<PathMatch> {
    match kind {
        path_match::Kind::Exact(path) => {
            is_path(path, faults).then(|| PathMatch::Exact(path.clone()))
        }
        path_match::Kind::Prefix(prefix) if prefix.ends_with('/') => {
            faults.refuse("is a prefix with a final /");
            None
        }
        path_match::Kind::Prefix(prefix) => (prefix.is_empty() || is_path(prefix, faults))
            .then(|| PathMatch::Prefix(prefix.clone())),
        path_match::Kind::RegularExpression(text) => {
            read_pattern(text, faults).map(PathMatch::RegularExpression)
        }
        path_match::Kind::Call(call) => {
            let service = read_text("service", call.service.as_ref(), faults);
            let method = read_text("method", call.method.as_ref(), faults);
            Some(PathMatch::Call(CallMatch {
                service: service?,
                method: method?,
            }))
        }
    }
}

pub(super) fn write_text(from: &TextMatch) -> wire::TextMatch {
    let kind = match from {
        TextMatch::Exact(text) => text_match::Kind::Exact(text.clone()),
        TextMatch::RegularExpression(pattern) => {
            text_match::Kind::RegularExpression(pattern.as_str().to_owned())
        }
    };
    wire::TextMatch { kind: Some(kind) }
}

#[expect(
    clippy::option_option,
    reason = "the outer is a fault, the inner a condition left out"
)]
pub(super) fn read_text(
    field: &str,
    from: Option<&wire::TextMatch>,
    faults: &mut Faults,
) -> Option<Option<TextMatch>> {
    let Some(from) = from else {
        return Some(None);
    };
    let kind = read::required(field, from.kind.as_ref(), faults)?;
    faults
        .field(field, |f| match kind {
            text_match::Kind::Exact(text) => read_exact(text, f),
            text_match::Kind::RegularExpression(text) => {
                read_pattern(text, f).map(TextMatch::RegularExpression)
            }
        })
        .map(Some)
}

fn read_value(from: &wire::NamedMatch, faults: &mut Faults) -> Option<TextMatch> {
    match read::required("value", from.value.as_ref(), faults)? {
        named_match::Value::Exact(text) => faults.field("exact", |f| read_exact(text, f)),
        named_match::Value::RegularExpression(text) => faults
            .field("regularExpression", |f| read_pattern(text, f))
            .map(TextMatch::RegularExpression),
    }
}

fn read_exact(text: &str, faults: &mut Faults) -> Option<TextMatch> {
    if text.len() > MAX_TEXT {
        faults.refuse(format!("has over {MAX_TEXT} bytes"));
        return None;
    }
    Some(TextMatch::Exact(text.to_owned()))
}

fn read_pattern(text: &str, faults: &mut Faults) -> Option<Pattern> {
    if text.len() > MAX_TEXT {
        faults.refuse(format!("has over {MAX_TEXT} bytes"));
        return None;
    }
    faults.take(Pattern::new(text))
}

/// True for an absolute path without query or fragment.
pub(super) fn is_path(path: &str, faults: &mut Faults) -> bool {
    let good = |b: u8| (0x21..=0x7e).contains(&b) && !matches!(b, b'?' | b'#' | b'\\');
    let absolute = path.starts_with('/') && path.len() <= MAX_TEXT && path.bytes().all(good);
    if !absolute {
        faults.refuse(format!(
            "is not an absolute path of at most {MAX_TEXT} bytes"
        ));
    }
    absolute
}

/// Longest text of a path, a pattern or a value, in bytes.
pub(super) const MAX_TEXT: usize = 4096;
const MAX_CONDITIONS: usize = 64;
