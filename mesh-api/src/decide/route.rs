//! Which rule a request falls to: the first match, in order of precedence, whose conditions all hold.
//!
//! Paths match by whole segments, methods exactly. A header that comes in several fields is matched
//! as one value joined with `,` (RFC 9110 section 5.3). Of a repeated query parameter the first value
//! counts; its name and value are percent-decoded, `+` stands for itself. Expressions fit the whole
//! text, and never a value that is not UTF-8. A gRPC call matches by the two parts of its path. Where a
//! rule has a CORS filter, a preflight matches by the method that it asks about. What `RouteMatch`es ask
//! for is looked at last.

use std::borrow::Cow;

use regex::Regex;

use crate::decide::target::digit;
use crate::decide::{HeaderFields, Request, cookie, cors};
use crate::explain::{Miss, Note, Recorder};
use crate::model::grpc::CallMatch;
use crate::model::narrowing::{Narrowing, Sources};
use crate::model::path::{PathMatch, TextMatch};
use crate::model::route::RouteMatch;
use crate::name::Namespace;
use crate::snapshot::{Expressions, MatchTable, RoutingTable};

/// Finds the match that decides on `request`.
pub fn find<'s>(
    routing: &'s RoutingTable,
    request: &Request<'_>,
    recorder: &mut dyn Recorder,
) -> Option<&'s MatchTable> {
    if recorder.is_silent() {
        let fits = |place: usize| {
            let table = routing.matches.get(place);
            table.is_some_and(|table| first_failed(table, request).is_none())
        };
        let place = routing.paths.first(request.path, fits)?;
        return routing.matches.get(place);
    }
    for (place, table) in routing.matches.iter().enumerate() {
        match first_failed(table, request) {
            None => {
                recorder.note(&|| Note::Matched { place });
                return Some(table);
            }
            Some(failed) => recorder.note(&|| Note::Missed {
                place,
                miss: describe(table, failed, request),
            }),
        }
    }
    None
}

/// The first condition of `table` that `request` does not meet; `None` if it meets all.
pub fn miss(table: &MatchTable, request: &Request<'_>) -> Option<Miss> {
    first_failed(table, request).map(|failed| describe(table, failed, request))
}

/// True if `prefix` (without a trailing `/`) is whole segments from the start of `path`.
pub fn has_prefix(path: &str, prefix: &str) -> bool {
    prefix.is_empty()
        || path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[derive(Clone, Copy)]
enum Failed {
    Path,
    Service,
    Call,
    Method,
    Header(usize),
    Query(usize),
    Beyond(usize, Beyond),
}

/// The part of a narrowing that failed.
#[derive(Clone, Copy)]
enum Beyond {
    Port,
    Namespace,
    Labels,
    Cookie,
}

fn first_failed(table: &MatchTable, request: &Request<'_>) -> Option<Failed> {
    let Some(conditions) = table.conditions() else {
        return Some(Failed::Path);
    };
    match failed_condition(conditions, &table.expressions, request) {
        Some(Failed::Method) if asks_about(table, conditions, request) => {}
        None => {}
        failed => return failed,
    }
    if table.rule.rule.narrowings.is_empty() {
        return None;
    }
    failed_narrowing(table, request)
}

/// True for a preflight of a rule with a CORS filter that asks about the method of its match.
fn asks_about(table: &MatchTable, conditions: &RouteMatch, request: &Request<'_>) -> bool {
    if table.rule.rule.cors.is_none() {
        return false;
    }
    let asked = cors::asked_method(request);
    if asked.is_none() || asked != conditions.method.as_deref().map(str::as_bytes) {
        return false;
    }
    // The conditions after the method were not looked at yet.
    let others = RouteMatch {
        method: None,
        ..conditions.clone()
    };
    meets(&others, &table.expressions, request)
}

fn failed_narrowing(table: &MatchTable, request: &Request<'_>) -> Option<Failed> {
    let caller = &request.caller;
    let failed = |(at, one): (usize, &Narrowing)| {
        let beyond = if one.port.is_some_and(|port| port.number() != request.port) {
            Beyond::Port
        } else if !one.sources.takes_namespace(caller.namespace) {
            Beyond::Namespace
        } else if !one.sources.takes_labels(caller.labels) {
            Beyond::Labels
        } else if !has_cookie(one, table.cookies.get(at), request) {
            Beyond::Cookie
        } else {
            return None;
        };
        Some(Failed::Beyond(at, beyond))
    };
    table
        .rule
        .rule
        .narrowings
        .iter()
        .enumerate()
        .find_map(failed)
}

fn has_cookie(narrowing: &Narrowing, regex: Option<&Option<Regex>>, request: &Request<'_>) -> bool {
    let Some(condition) = &narrowing.cookie else {
        return true;
    };
    let found = cookie::value(request.headers, &condition.name);
    match (&condition.value, found) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(value), found) => fits(value, regex, found),
    }
}

/// True if `request` meets `conditions`, whose expressions are `expressions`.
pub fn meets(conditions: &RouteMatch, expressions: &Expressions, request: &Request<'_>) -> bool {
    failed_condition(conditions, expressions, request).is_none()
}

fn failed_condition(
    conditions: &RouteMatch,
    expressions: &Expressions,
    request: &Request<'_>,
) -> Option<Failed> {
    let path = match &conditions.path {
        PathMatch::Exact(path) => request.path == path,
        PathMatch::Prefix(prefix) => has_prefix(request.path, prefix),
        PathMatch::RegularExpression(_) => expressions
            .path
            .as_ref()
            .is_some_and(|regex| regex.is_match(request.path)),
        PathMatch::Call(condition) => match failed_call(expressions, condition, request.path) {
            None => true,
            failed => return failed,
        },
    };
    if !path {
        return Some(Failed::Path);
    }
    if let Some(method) = &conditions.method
        && method != request.method
    {
        return Some(Failed::Method);
    }
    for (at, condition) in conditions.headers.iter().enumerate() {
        let value = joined(request.headers, condition.name.as_str());
        if !fits(
            &condition.value,
            expressions.headers.get(at),
            value.as_deref(),
        ) {
            return Some(Failed::Header(at));
        }
    }
    for (at, condition) in conditions.query.iter().enumerate() {
        let value = parameter(request.query, &condition.name);
        if !fits(
            &condition.value,
            expressions.query.get(at),
            value.as_deref(),
        ) {
            return Some(Failed::Query(at));
        }
    }
    None
}

fn failed_call(expressions: &Expressions, condition: &CallMatch, path: &str) -> Option<Failed> {
    let Some((service, method)) = call(path) else {
        return Some(Failed::Path);
    };
    let fits = |condition: &Option<TextMatch>, regex: &Option<Regex>, text: &str| match condition {
        None => true,
        Some(condition) => fits(condition, Some(regex), Some(text.as_bytes())),
    };
    if !fits(&condition.service, &expressions.service, service) {
        return Some(Failed::Service);
    }
    (!fits(&condition.method, &expressions.method, method)).then_some(Failed::Call)
}

/// The service and method of a gRPC call's path (gRPC over HTTP/2, "Path").
pub fn call(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.rsplit_once('/')?;
    (!service.is_empty() && !method.is_empty()).then_some((service, method))
}

fn fits(condition: &TextMatch, regex: Option<&Option<Regex>>, value: Option<&[u8]>) -> bool {
    let Some(value) = value else {
        return false;
    };
    match condition {
        TextMatch::Exact(text) => text.as_bytes() == value,
        TextMatch::RegularExpression(_) => match (regex, std::str::from_utf8(value)) {
            (Some(Some(regex)), Ok(text)) => regex.is_match(text),
            _ => false,
        },
    }
}

/// The value of all fields of a name; it allocates only where there are several.
pub(super) fn joined<'a>(headers: &'a dyn HeaderFields, name: &str) -> Option<Cow<'a, [u8]>> {
    let mut value: Option<Cow<'a, [u8]>> = None;
    headers.each(name, &mut |next| match &mut value {
        None => value = Some(Cow::Borrowed(next)),
        Some(all) => {
            let all = all.to_mut();
            all.push(b',');
            all.extend_from_slice(next);
        }
    });
    value
}

/// The first value of a query parameter; one without `=` is empty.
pub(super) fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, [u8]>> {
    let mut pairs = query?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .find(|(found, _)| *decoded(found) == *name.as_bytes())
        .map(|(_, value)| decoded(value))
}

/// Percent-decodes; an escape that is none stays as it is.
fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                bytes.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    Cow::Owned(bytes)
}

fn describe(table: &MatchTable, failed: Failed, request: &Request<'_>) -> Miss {
    let conditions = table.conditions();
    let text = |value: Option<Cow<'_, [u8]>>| {
        value.map(|value| String::from_utf8_lossy(&value).into_owned())
    };
    match failed {
        Failed::Path => Miss {
            condition: "path".into(),
            expected: conditions.map(|c| path_text(&c.path)).unwrap_or_default(),
            got: Some(request.path.into()),
        },
        Failed::Service | Failed::Call => {
            let of_call = |part: fn(&CallMatch) -> &Option<TextMatch>| match conditions {
                Some(RouteMatch {
                    path: PathMatch::Call(call),
                    ..
                }) => part(call).as_ref().map(value_text).unwrap_or_default(),
                _ => String::new(),
            };
            let got = call(request.path);
            let is_service = matches!(failed, Failed::Service);
            Miss {
                condition: if is_service { "service" } else { "method" }.into(),
                expected: if is_service {
                    of_call(|call| &call.service)
                } else {
                    of_call(|call| &call.method)
                },
                got: got.map(|(service, method)| if is_service { service } else { method }.into()),
            }
        }
        Failed::Method => Miss {
            condition: "method".into(),
            expected: conditions
                .and_then(|c| c.method.clone())
                .unwrap_or_default(),
            got: Some(request.method.into()),
        },
        Failed::Header(at) => {
            let condition = conditions.and_then(|c| c.headers.get(at));
            let name = condition.map_or("", |c| c.name.as_str());
            Miss {
                condition: format!("header {name}"),
                expected: condition.map(|c| value_text(&c.value)).unwrap_or_default(),
                got: text(joined(request.headers, name)),
            }
        }
        Failed::Query(at) => {
            let condition = conditions.and_then(|c| c.query.get(at));
            let name = condition.map_or("", |c| c.name.as_str());
            Miss {
                condition: format!("query {name}"),
                expected: condition.map(|c| value_text(&c.value)).unwrap_or_default(),
                got: text(parameter(request.query, name)),
            }
        }
        Failed::Beyond(at, beyond) => {
            let narrowing = table.rule.rule.narrowings.get(at);
            narrowing.map_or_else(Miss::unknown, |one| {
                describe_narrowing(one, beyond, request)
            })
        }
    }
}

fn describe_narrowing(narrowing: &Narrowing, beyond: Beyond, request: &Request<'_>) -> Miss {
    let Narrowing {
        name,
        cookie,
        sources,
        port,
    } = narrowing;
    let caller = &request.caller;
    let (condition, expected, got) = match beyond {
        Beyond::Port => (
            "port".to_owned(),
            port.map(|port| port.to_string()).unwrap_or_default(),
            Some(request.port.to_string()),
        ),
        Beyond::Namespace => {
            let names: Vec<_> = sources.namespaces.iter().map(Namespace::as_str).collect();
            let got = caller.namespace.to_string();
            ("source namespace".to_owned(), names.join(" or "), Some(got))
        }
        Beyond::Labels => (
            "source labels".to_owned(),
            Sources::labels_text(&sources.labels),
            caller.labels.map(Sources::labels_text),
        ),
        Beyond::Cookie => {
            let cookie_name = cookie.as_ref().map_or("", |cookie| cookie.name.as_str());
            let got = cookie::value(request.headers, cookie_name);
            let value = cookie.as_ref().and_then(|cookie| cookie.value.as_ref());
            (
                format!("cookie {cookie_name}"),
                value.map_or_else(|| "any".to_owned(), value_text),
                got.map(|got| String::from_utf8_lossy(got).into_owned()),
            )
        }
    };
    Miss {
        condition,
        expected: format!("{expected} (RouteMatch {name})"),
        got,
    }
}

/// A path condition as text: `prefix /items`.
pub fn path_text(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => format!("exact {path}"),
        PathMatch::Prefix(prefix) if prefix.is_empty() => "prefix /".into(),
        PathMatch::Prefix(prefix) => format!("prefix {prefix}"),
        PathMatch::RegularExpression(pattern) => format!("expression {}", pattern.as_str()),
        PathMatch::Call(call) => {
            let part = |name: &str, text: &Option<TextMatch>| {
                text.as_ref()
                    .map(|text| format!("{name} {}", value_text(text)))
            };
            let parts = [part("service", &call.service), part("method", &call.method)];
            let parts: Vec<_> = parts.into_iter().flatten().collect();
            if parts.is_empty() {
                "any call".into()
            } else {
                parts.join(", ")
            }
        }
    }
}

/// A condition on a value as text: `exact beta`.
pub fn value_text(value: &TextMatch) -> String {
    match value {
        TextMatch::Exact(text) => format!("exact {text}"),
        TextMatch::RegularExpression(pattern) => format!("expression {}", pattern.as_str()),
    }
}
