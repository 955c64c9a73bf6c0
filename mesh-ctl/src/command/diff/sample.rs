//! Requests that tell rules apart: one for each match of each route, and one that fits none of them.

use mesh_api::model::destination::Destination;
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
    };
    let exact = |value: &TextMatch| match value {
        TextMatch::Exact(text) => Some(text.clone()),
        TextMatch::RegularExpression(_) => None,
    };
    let headers: Option<Vec<(String, String)>> = one
        .headers
        .iter()
        .map(|header| Some((header.name.to_string(), exact(&header.value)?)))
        .collect();
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
