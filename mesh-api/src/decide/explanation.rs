//! The whole story of a decision: which rule, why the others lost, and what every possible outcome is.
//!
//! It runs the same [`route::find`], [`outcomes`] and [`change::fields`] as a proxy does; only the choice
//! by weight is left open, so that the text is the same each time.

mod breaker;
mod connection;
mod endpoint;
mod health;
mod kept;
mod near;
mod outcome;
mod outlier;
mod setting;
mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::decide::{HeaderFields, Request, change, outcomes, route};
use crate::explain::{Miss, Note, Trace};
use crate::model::path::PathMatch;
use crate::model::route::{Action, RouteMatch};
use crate::snapshot::{DestinationTable, MatchTable};

pub use connection::{
    ConnectionExplanation, ConnectionOutcome, ConnectionPlace, ConnectionResult, explain_connection,
};
pub use endpoint::Endpoint;
pub use outcome::{Change, Forward, Head, Outcome, Result};
pub use setting::Setting;

/// Header fields as text, in order; names in any case.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(pub &'a [(&'a str, &'a str)]);

impl HeaderFields for Fields<'_> {
    fn each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        for (found, value) in self.0 {
            if found.eq_ignore_ascii_case(name) {
                visit(value.as_bytes());
            }
        }
    }
}

/// What happens to a request, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The Service and port.
    pub destination: String,
    /// The namespace it is seen from.
    pub consumer: String,
    /// What the app speaks.
    pub protocol: &'static str,
    /// The request's head as it came, its path normal.
    pub request: Head,
    /// The rule that won; none where the destination has no routes or no rule matches.
    pub matched: Option<Matched>,
    /// Every other rule, in the order of precedence of its best match.
    pub lost: Vec<Lost>,
    /// Faults that are injected into it where it is forwarded; each is drawn by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Setting>,
    /// Copies that are made of it where it is forwarded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Setting>,
    /// Every possible outcome with its chance; one, unless several backends have a weight.
    pub outcomes: Vec<Outcome>,
}

/// A rule's name and place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RulePlace {
    /// `HTTPRoute` or `GRPCRoute`.
    pub kind: &'static str,
    /// The route, `namespace/name`.
    pub route: String,
    /// Its place in `spec.rules`.
    pub rule: u32,
    /// Its name, if it has one.
    pub name: Option<String>,
}

/// The rule that won.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Matched {
    /// Which.
    #[serde(flatten)]
    pub place: RulePlace,
    /// The match that fitted: its place in the rule's `matches`.
    pub match_index: usize,
    /// Its conditions as text.
    pub conditions: String,
}

/// A rule that lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// Which.
    #[serde(flatten)]
    pub place: RulePlace,
    /// Why each of its matches lost.
    pub matches: Vec<LostMatch>,
}

/// A match that lost.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LostMatch {
    /// Its place in the rule's `matches`.
    pub match_index: usize,
    /// Its conditions as text.
    pub conditions: String,
    /// The first condition that failed; none: it fits, but a more specific match won.
    pub miss: Option<Miss>,
}

/// Explains what happens to `request`, whose header fields are `fields`.
///
/// `fields` takes the place of `request.headers`.
pub fn explain(
    destination: &DestinationTable,
    request: &Request<'_>,
    fields: Fields<'_>,
) -> Explanation {
    let request = Request {
        headers: &fields,
        ..*request
    };
    let mut trace = Trace::default();
    let decided = outcomes(destination, &request, &mut trace);
    let won = trace.notes.iter().find_map(|note| match note {
        Note::Matched { place } => destination.routing.matches.get(*place),
        Note::Missed { .. } | Note::Chose { .. } => None,
    });
    let matched = won.map(|table| Matched {
        place: place(table),
        match_index: table.index,
        conditions: conditions(table),
    });
    let count = decided.len();
    let outcomes = decided
        .into_iter()
        .map(|(at, decision)| outcome::describe((at, count), &decision, &request, fields))
        .collect();
    Explanation {
        destination: destination.name.to_string(),
        consumer: destination.consumer.to_string(),
        protocol: destination.protocol.as_str(),
        request: outcome::head(&request, None, None, &change::fields(&[], bytes(fields))),
        lost: lost(destination, &request, &trace, won),
        matched,
        faults: faults(destination, &request, won),
        mirrors: mirrors(destination, won),
        outcomes,
    }
}

fn mirrors(destination: &DestinationTable, won: Option<&MatchTable>) -> Vec<Setting> {
    let rule = won.map(|won| &won.rule);
    let rule = rule.filter(|rule| matches!(rule.rule.action, Action::Forward { .. }));
    rule.map_or_else(Vec::new, |rule| outcome::mirrors(destination, rule))
}

fn faults(
    destination: &DestinationTable,
    request: &Request<'_>,
    won: Option<&MatchTable>,
) -> Vec<Setting> {
    let place = match won.map(|won| &won.rule.rule) {
        Some(rule) if matches!(rule.action, Action::Forward { .. }) => rule.faults,
        None if destination.routing.routes.is_empty() => destination.own_faults,
        _ => None,
    };
    let table = destination.faults_at(place);
    table.map_or_else(Vec::new, |table| outcome::faults(table, request))
}

fn lost(
    destination: &DestinationTable,
    request: &Request<'_>,
    trace: &Trace,
    won: Option<&MatchTable>,
) -> Vec<Lost> {
    let mut noted: BTreeMap<usize, &Miss> = BTreeMap::new();
    for note in &trace.notes {
        if let Note::Missed { place, miss } = note {
            noted.insert(*place, miss);
        }
    }
    let mut lost: Vec<Lost> = Vec::new();
    for (at, table) in destination.routing.matches.iter().enumerate() {
        if won.is_some_and(|won| std::sync::Arc::ptr_eq(&won.rule, &table.rule)) {
            continue;
        }
        // Matches after the one that won were not tried.
        let miss = noted.get(&at).map(|miss| (*miss).clone());
        let here = LostMatch {
            match_index: table.index,
            conditions: conditions(table),
            miss: miss.or_else(|| route::miss(table, request)),
        };
        let place = place(table);
        match lost.iter_mut().find(|lost| lost.place == place) {
            Some(lost) => lost.matches.push(here),
            None => lost.push(Lost {
                place,
                matches: vec![here],
            }),
        }
    }
    lost
}

fn place(table: &MatchTable) -> RulePlace {
    RulePlace {
        kind: table.rule.kind.as_str(),
        route: table.rule.route.to_string(),
        rule: table.rule.rule.index,
        name: table.rule.rule.name.as_ref().map(ToString::to_string),
    }
}

fn conditions(table: &MatchTable) -> String {
    let mut parts = vec![table.conditions().map_or_else(String::new, conditions_text)];
    let narrowings = table.rule.rule.narrowings.iter();
    parts.extend(narrowings.map(|one| format!("RouteMatch {}", one.name)));
    parts.join(", ")
}

fn conditions_text(conditions: &RouteMatch) -> String {
    let path = route::path_text(&conditions.path);
    let mut parts = vec![match &conditions.path {
        PathMatch::Call(_) => path,
        _ => format!("path {path}"),
    }];
    parts.extend(
        conditions
            .method
            .iter()
            .map(|method| format!("method {method}")),
    );
    let headers = conditions.headers.iter();
    parts.extend(headers.map(|h| format!("header {} {}", h.name, route::value_text(&h.value))));
    let query = conditions.query.iter();
    parts.extend(query.map(|q| format!("query {} {}", q.name, route::value_text(&q.value))));
    parts.join(", ")
}

/// The fields with their places.
fn bytes(fields: Fields<'_>) -> impl Iterator<Item = (usize, &[u8], &[u8])> {
    let fields = fields.0.iter().enumerate();
    fields.map(|(at, (name, value))| (at, name.as_bytes(), value.as_bytes()))
}

#[cfg(test)]
mod tests;
