//! The routes of a destination as one list of matches, most specific first.
//!
//! Precedence (Gateway API 1.6 `HTTPRouteRule.matches`, across all routes of the destination): an
//! exact path; then a regular expression, the longer pattern first (the Gateway API leaves its place
//! to implementations); then the longest path prefix; then a method; then the number of header
//! conditions; then of query conditions; then of the rule's `RouteMatch`es; then the oldest route; then its `namespace/name`; then the
//! order written. Of gRPC calls (`GRPCRouteRule.matches`): the longest service; then the longest
//! method; then as for other requests. The two kinds never meet at one destination.

use std::cmp::Reverse;
use std::sync::Arc;

use regex::Regex;

use super::paths::PathIndex;
use crate::error::Faults;
use crate::model::path::{PathMatch, Pattern, TextMatch};
use crate::model::route::{Action, Route, RouteKind, RouteMatch, Rule, Target};
use crate::name::ObjectName;

/// The routes of a destination, ready for look-ups.
#[derive(Debug, Default)]
pub struct RoutingTable {
    /// The routes, as they came.
    pub routes: Vec<RouteTable>,
    /// Every match of every rule in order of precedence: the first that fits wins.
    pub matches: Vec<MatchTable>,
    /// Which of them a path may meet.
    pub paths: PathIndex,
    /// A rule asks for labels of the caller.
    pub reads_labels: bool,
}

/// A route with its rules in the order written.
#[derive(Debug)]
pub struct RouteTable {
    /// Its kind.
    pub kind: RouteKind,
    /// The route.
    pub name: ObjectName,
    /// When it was created, seconds since the epoch.
    pub created: i64,
    /// Its rules.
    pub rules: Vec<Arc<RuleTable>>,
}

/// A rule with its place.
#[derive(Debug)]
pub struct RuleTable {
    /// The kind of its route.
    pub kind: RouteKind,
    /// The route.
    pub route: ObjectName,
    /// The rule.
    pub rule: Rule,
    /// Sum of its backends' weights.
    pub total_weight: u64,
}

/// One match of a rule, its expressions compiled.
#[derive(Debug)]
pub struct MatchTable {
    /// The rule it belongs to.
    pub rule: Arc<RuleTable>,
    /// Its place in the rule's `matches`.
    pub index: usize,
    /// Its expressions.
    pub expressions: Expressions,
    /// One for each narrowing of the rule; empty if none has an expression.
    pub cookies: Vec<Option<Regex>>,
}

/// The expressions of a match, compiled.
#[derive(Debug, Default)]
pub struct Expressions {
    /// The path's expression, if it is one.
    pub path: Option<Regex>,
    /// The service's expression of a gRPC call, if it is one.
    pub service: Option<Regex>,
    /// The method's expression of a gRPC call, if it is one.
    pub method: Option<Regex>,
    /// One for each header condition; empty if none is an expression.
    pub headers: Vec<Option<Regex>>,
    /// One for each query condition; empty if none is an expression.
    pub query: Vec<Option<Regex>>,
}

impl MatchTable {
    /// Its conditions as the model has them.
    pub fn conditions(&self) -> Option<&RouteMatch> {
        self.rule.rule.matches.get(self.index)
    }

    /// The field path of the match within its route.
    pub fn path_in_route(&self) -> String {
        format!(
            "spec.rules[{}].matches[{}]",
            self.rule.rule.index, self.index
        )
    }
}

impl RoutingTable {
    /// Compiles `routes`; `None` if a fault was recorded.
    pub(super) fn compile(routes: Vec<Route>, faults: &mut Faults) -> Option<Self> {
        let routes: Vec<_> = routes.into_iter().map(table).collect();
        let mut matches = Vec::new();
        let mut sound = true;
        faults.field("routes", |f| {
            for (at, route) in routes.iter().enumerate() {
                f.index(at, |f| {
                    for (at, rule) in route.rules.iter().enumerate() {
                        let compiled = f.field("rules", |f| f.index(at, |f| compile(rule, f)));
                        sound &= compiled.is_some();
                        let placed = compiled.into_iter().flatten();
                        matches.extend(placed.map(|table| (route.created, at, table)));
                    }
                });
            }
        });
        matches.sort_by(|a, b| precedence(a).cmp(&precedence(b)));
        let matches: Vec<_> = matches.into_iter().map(|(_, _, table)| table).collect();
        let conditions = matches.iter().map(MatchTable::conditions);
        let paths = PathIndex::new(conditions.map(|found| Some(&found?.path)));
        let rules = routes.iter().flat_map(|route| &route.rules);
        let mut narrowings = rules.flat_map(|rule| &rule.rule.narrowings);
        let reads_labels = narrowings.any(|one| !one.sources.labels.is_empty());
        sound.then_some(Self {
            routes,
            matches,
            paths,
            reads_labels,
        })
    }

    /// The routes it was compiled from.
    pub fn routes(&self) -> Vec<Route> {
        let rules = |route: &RouteTable| route.rules.iter().map(|r| r.rule.clone()).collect();
        let routes = self.routes.iter().map(|route| Route {
            kind: route.kind,
            name: route.name.clone(),
            created: route.created,
            rules: rules(route),
        });
        routes.collect()
    }

    /// True if it was compiled from `routes`.
    pub(super) fn holds(&self, routes: &[Route]) -> bool {
        let same = |held: &RouteTable, route: &Route| {
            held.name == route.name
                && held.kind == route.kind
                && held.created == route.created
                && held.rules.len() == route.rules.len()
                && held
                    .rules
                    .iter()
                    .zip(&route.rules)
                    .all(|(h, r)| h.rule == *r)
        };
        self.routes.len() == routes.len() && self.routes.iter().zip(routes).all(|(h, r)| same(h, r))
    }

    /// Records each rule that names a backend beyond the first `count`.
    pub(super) fn check_targets(&self, count: usize, faults: &mut Faults) {
        for rule in self.routes.iter().flat_map(|route| &route.rules) {
            let backends = match &rule.rule.action {
                Action::Forward { backends, .. } => backends.as_slice(),
                _ => &[],
            };
            let backends = backends.iter().map(|backend| &backend.target);
            let mirrors = rule.rule.mirrors.iter().map(|mirror| &mirror.target);
            for (at, target) in backends.chain(mirrors).enumerate() {
                if let Target::Backend(index) = target
                    && usize::try_from(*index).is_ok_and(|index| index >= count)
                {
                    faults.field("routes", |f| {
                        f.refuse(format!(
                            "{} rules[{}].backends[{at}] names backend {index} of {count}",
                            rule.route, rule.rule.index
                        ));
                    });
                }
            }
        }
    }
}

fn table(route: Route) -> RouteTable {
    let rules = route.rules.into_iter().map(|rule| {
        let total_weight = match &rule.action {
            Action::Forward { backends, .. } => backends
                .iter()
                .map(|backend| u64::from(backend.weight))
                .sum(),
            Action::Redirect(_) | Action::Respond(_) | Action::Broken { .. } => 0,
        };
        Arc::new(RuleTable {
            kind: route.kind,
            route: route.name.clone(),
            rule,
            total_weight,
        })
    });
    let rules = rules.collect();
    RouteTable {
        kind: route.kind,
        name: route.name,
        created: route.created,
        rules,
    }
}

/// Smaller wins. The parts are those of this module's head, in that order.
fn precedence(placed: &(i64, usize, MatchTable)) -> impl Ord {
    let (created, rule, table) = placed;
    let length_of = |text: &Option<TextMatch>| match text {
        Some(TextMatch::Exact(text)) => text.len(),
        Some(TextMatch::RegularExpression(pattern)) => pattern.as_str().len(),
        None => 0,
    };
    let (kind, length, method, headers, query) = match table.conditions() {
        Some(conditions) => {
            let method = usize::from(conditions.method.is_some());
            let (kind, length, method) = match &conditions.path {
                PathMatch::Exact(path) => (0, path.len(), method),
                PathMatch::RegularExpression(pattern) => (1, pattern.as_str().len(), method),
                PathMatch::Prefix(prefix) => (2, prefix.len(), method),
                PathMatch::Call(call) => (0, length_of(&call.service), length_of(&call.method)),
            };
            let (headers, query) = (conditions.headers.len(), conditions.query.len());
            (kind, length, method, headers, query)
        }
        None => (3, 0, 0, 0, 0),
    };
    let specific = (
        kind,
        Reverse(length),
        Reverse(method),
        Reverse(headers),
        Reverse(query),
        Reverse(table.rule.rule.narrowings.len()),
    );
    (
        specific,
        *created,
        table.rule.route.clone(),
        *rule,
        table.index,
    )
}

fn compile(rule: &Arc<RuleTable>, faults: &mut Faults) -> Option<Vec<MatchTable>> {
    let mut tables = Vec::with_capacity(rule.rule.matches.len());
    let cookies = cookies(&rule.rule, faults)?;
    for (index, conditions) in rule.rule.matches.iter().enumerate() {
        tables.push(MatchTable {
            rule: Arc::clone(rule),
            index,
            expressions: Expressions::compile(conditions, faults)?,
            cookies: cookies.clone(),
        });
    }
    Some(tables)
}

fn cookies(rule: &Rule, faults: &mut Faults) -> Option<Vec<Option<Regex>>> {
    let cookies = rule.narrowings.iter().map(|one| one.cookie.as_ref());
    let values: Vec<_> = cookies.map(|cookie| cookie?.value.as_ref()).collect();
    if !values
        .iter()
        .any(|value| matches!(value, Some(TextMatch::RegularExpression(_))))
    {
        return Some(Vec::new());
    }
    let each = values.into_iter().map(|value| build_one(value, faults));
    each.collect()
}

impl Expressions {
    /// Compiles those of `conditions`; `None` if a fault was recorded.
    pub(super) fn compile(conditions: &RouteMatch, faults: &mut Faults) -> Option<Self> {
        let path = match &conditions.path {
            PathMatch::RegularExpression(pattern) => Some(build(pattern, faults)?),
            PathMatch::Exact(_) | PathMatch::Prefix(_) | PathMatch::Call(_) => None,
        };
        let (service, method) = match &conditions.path {
            PathMatch::Call(call) => (
                build_one(call.service.as_ref(), faults)?,
                build_one(call.method.as_ref(), faults)?,
            ),
            _ => (None, None),
        };
        Some(Self {
            path,
            service,
            method,
            headers: build_all(conditions.headers.iter().map(|h| &h.value), faults)?,
            query: build_all(conditions.query.iter().map(|q| &q.value), faults)?,
        })
    }
}

#[expect(
    clippy::option_option,
    reason = "the outer is a fault, the inner a condition that is no expression"
)]
fn build_one(value: Option<&TextMatch>, faults: &mut Faults) -> Option<Option<Regex>> {
    match value {
        Some(TextMatch::RegularExpression(pattern)) => build(pattern, faults).map(Some),
        Some(TextMatch::Exact(_)) | None => Some(None),
    }
}

fn build_all<'a>(
    values: impl Iterator<Item = &'a TextMatch> + Clone,
    faults: &mut Faults,
) -> Option<Vec<Option<Regex>>> {
    let plain = |value: &TextMatch| matches!(value, TextMatch::Exact(_));
    if values.clone().all(plain) {
        return Some(Vec::new());
    }
    let each = values.map(|value| match value {
        TextMatch::Exact(_) => Some(None),
        TextMatch::RegularExpression(pattern) => build(pattern, faults).map(Some),
    });
    each.collect()
}

fn build(pattern: &Pattern, faults: &mut Faults) -> Option<Regex> {
    faults.take(pattern.build())
}
