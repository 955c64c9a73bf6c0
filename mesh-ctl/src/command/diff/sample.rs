//! Requests that tell rules apart: one for each match of each route, and one that fits none of them.

use mesh_api::model::destination::Destination;
use mesh_api::model::grpc::CallMatch;
use mesh_api::model::path::{PathMatch, TextMatch};
use mesh_api::model::route::RouteMatch;
use mesh_api::name::DestinationName;

use crate::command::explain::Asked;

/// A segment that no one writes into a rule.
const NOWHERE: &str = "/-";

/// The requests for a destination as either side routes it. What a regular expression takes is not
/// guessed: a match with one is left out.
pub(super) fn requests<'a>(
    name: &DestinationName,
    sides: impl Iterator<Item = &'a Destination>,
) -> Vec<Asked> {
    let mut found = vec![asked(name, "GET", "/")];
    for side in sides {
        let rules = side.routes.iter().flat_map(|route| &route.rules);
        for request in rules
            .flat_map(|rule| &rule.matches)
            .flat_map(|one| of_match(name, one))
        {
            if !found.contains(&request) {
                found.push(request);
            }
        }
    }
    found
}

fn of_match(name: &DestinationName, one: &RouteMatch) -> Vec<Asked> {
    let paths = match &one.path {
        PathMatch::Exact(path) => vec![path.clone()],
        PathMatch::Prefix(prefix) if prefix.is_empty() => vec!["/".to_owned()],
        PathMatch::Prefix(prefix) => vec![prefix.clone(), format!("{prefix}{NOWHERE}")],
        PathMatch::RegularExpression(_) => Vec::new(),
        PathMatch::Call(call) => return calls(name, call, one),
    };
    let headers = headers(one);
    let query: Option<Vec<String>> = one
        .query
        .iter()
        .map(|parameter| Some(format!("{}={}", parameter.name, exact(&parameter.value)?)))
        .collect();
    let (Some(headers), Some(query)) = (headers, query) else {
        return Vec::new();
    };
    let method = one.method.as_deref().unwrap_or("GET");
    let request = |path: String| {
        let target = if query.is_empty() {
            path
        } else {
            format!("{path}?{}", query.join("&"))
        };
        Asked {
            headers: headers.clone(),
            ..asked(name, method, &target)
        }
    };
    paths.into_iter().map(request).collect()
}

/// A gRPC call as its caller sends it; what a match leaves open is a name that no one has.
fn calls(name: &DestinationName, call: &CallMatch, one: &RouteMatch) -> Vec<Asked> {
    let part = |wanted: &Option<TextMatch>| match wanted {
        Some(value) => exact(value),
        None => Some("Any".to_owned()),
    };
    let (Some(service), Some(method), Some(fields)) =
        (part(&call.service), part(&call.method), headers(one))
    else {
        return Vec::new();
    };
    let mut request = asked(name, "POST", &format!("/{service}/{method}"));
    request.headers = vec![("content-type".to_owned(), "application/grpc".to_owned())];
    request.headers.extend(fields);
    vec![request]
}

/// The header fields that a match asks for; `None` if an expression does.
fn headers(one: &RouteMatch) -> Option<Vec<(String, String)>> {
    let fields = one.headers.iter();
    fields
        .map(|header| Some((header.name.to_string(), exact(&header.value)?)))
        .collect()
}

fn exact(value: &TextMatch) -> Option<String> {
    match value {
        TextMatch::Exact(text) => Some(text.clone()),
        TextMatch::RegularExpression(_) => None,
    }
}

fn asked(name: &DestinationName, method: &str, target: &str) -> Asked {
    let (service, port) = (&name.service, name.port.number());
    Asked {
        method: method.to_owned(),
        authority: format!("{}.{}:{port}", service.name, service.namespace),
        port,
        target: target.to_owned(),
        headers: Vec::new(),
    }
}
