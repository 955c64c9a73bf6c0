//! Checks of a `GRPCRoute` (Gateway API 1.6).

use crate::error::Faults;
use crate::model::grpc::CallMatch;
use crate::model::path::{PathMatch, Pattern, TextMatch};
use crate::model::route::RouteMatch;
use crate::name::Namespace;
use crate::resource::grpcroute::{GRPCMethodMatch, GRPCRouteMatch, GRPCRouteRule};
use crate::resource::httproute::TextMatchType;
use crate::resource::{GRPCRoute, Kind};
use crate::translate::check::not_yet;
use crate::translate::check_filter;
use crate::translate::check_match::headers_of;
use crate::translate::check_mirror;
use crate::translate::check_reference::{backends, parents, rule_name};
use crate::translate::check_route::{MAX_RULES, backend_of, count, matches_of, unique_names};
use crate::translate::check_session;
use crate::translate::checked::{CheckedRoute, CheckedRule};

/// Longest service or method, in bytes (Gateway API).
const MAX_NAME: usize = 1024;

/// Checks a `GRPCRoute`. Its host names are ignored: it has Service parents only (GAMMA).
pub(super) fn route(
    route: &GRPCRoute,
    namespace: &Namespace,
    faults: &mut Faults,
) -> Option<CheckedRoute> {
    let spec = &route.spec;
    faults.field("spec", |faults| {
        let gateways = spec.use_default_gateways.is_some();
        not_yet(faults, "useDefaultGateways", gateways);
        let parents = parents(&spec.parent_refs, namespace, faults);
        let mut rules = Vec::new();
        faults.field("rules", |faults| {
            let matches = spec.rules.iter().flat_map(|rule| &rule.matches);
            let expressions = matches.clone().map(expressions).sum();
            count(spec.rules.len(), matches.count(), expressions, faults);
            for (index, rule) in spec.rules.iter().enumerate().take(MAX_RULES) {
                rules.push(faults.index(index, |faults| rule_of(rule, namespace, faults)));
            }
            let names: Vec<_> = spec.rules.iter().map(|rule| rule.name.as_deref()).collect();
            unique_names(&names, faults);
        });
        if spec.rules.is_empty() {
            rules.push(rule_of(&GRPCRouteRule::default(), namespace, faults));
        }
        Some(CheckedRoute {
            kind: Kind::GRPCRoute,
            parents,
            hostnames: Vec::new(),
            rules,
        })
    })
}

fn rule_of(rule: &GRPCRouteRule, namespace: &Namespace, faults: &mut Faults) -> CheckedRule {
    let name = rule_name(rule.name.as_ref(), faults);
    let matches = faults.field("matches", |faults| {
        matches_of(&rule.matches, every_call(), faults, match_of)
    });
    let filters = faults.field("filters", |faults| {
        check_filter::of_calls(&rule.filters, faults)
    });
    if filters.answers() && !rule.backend_refs.is_empty() {
        faults.field("backendRefs", |faults| {
            faults.refuse("a rule with a DirectResponse has no backendRefs");
        });
    }
    let backends = backends(&rule.backend_refs, faults, |given, faults| {
        let filters = faults.field("filters", |faults| {
            check_filter::of_called_backend(&given.filters, faults)
        });
        backend_of(given, filters, namespace, faults)
    });
    let mirrors = check_mirror::filters(&rule.filters, namespace, faults);
    let session = check_session::session(rule.session_persistence.as_ref(), faults);
    CheckedRule {
        name,
        matches,
        request_headers: filters.request_headers,
        response_headers: filters.response_headers,
        extensions: filters.extensions,
        session,
        mirrors,
        backends,
        ..CheckedRule::default()
    }
}

/// What a rule without matches matches.
fn every_call() -> RouteMatch {
    RouteMatch {
        path: PathMatch::Call(CallMatch::default()),
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    }
}

fn match_of(given: &GRPCRouteMatch, faults: &mut Faults) -> Option<RouteMatch> {
    let call = match &given.method {
        None => Some(CallMatch::default()),
        Some(method) => faults.field("method", |faults| call_of(method, faults)),
    };
    let headers = faults.field("headers", |faults| headers_of(&given.headers, faults));
    Some(RouteMatch {
        path: PathMatch::Call(call?),
        headers,
        ..every_call()
    })
}

fn call_of(given: &GRPCMethodMatch, faults: &mut Faults) -> Option<CallMatch> {
    fn given_text(text: Option<&String>) -> Option<&str> {
        text.map(String::as_str).filter(|text| !text.is_empty())
    }
    let (service, method) = (
        given_text(given.service.as_ref()),
        given_text(given.method.as_ref()),
    );
    if service.is_none() && method.is_none() {
        faults.refuse("names neither a service nor a method");
    }
    let kind = given.r#type.unwrap_or(TextMatchType::Exact);
    let mut part = |field: &str, text: Option<&str>, is_name: fn(&str) -> bool| {
        faults.field(field, |faults| part_of(kind, text?, is_name, faults))
    };
    let checked = CallMatch {
        service: part("service", service, is_service),
        method: part("method", method, is_identifier),
    };
    let whole = checked.service.is_some() == service.is_some()
        && checked.method.is_some() == method.is_some();
    whole.then_some(checked)
}

fn part_of(
    kind: TextMatchType,
    text: &str,
    is_name: fn(&str) -> bool,
    faults: &mut Faults,
) -> Option<TextMatch> {
    if text.len() > MAX_NAME {
        faults.refuse(format!("is longer than {MAX_NAME} bytes"));
        return None;
    }
    match kind {
        TextMatchType::RegularExpression => faults
            .take(Pattern::new(text))
            .map(TextMatch::RegularExpression),
        TextMatchType::Exact if is_name(text) => Some(TextMatch::Exact(text.to_owned())),
        TextMatchType::Exact => {
            faults.refuse(format!(
                "{text:?} is no name of gRPC (letters, digits, _, and . in a service)"
            ));
            None
        }
    }
}

/// A service with its package, in the Gateway API's grammar.
fn is_service(text: &str) -> bool {
    let text = text.strip_prefix('.').unwrap_or(text);
    text.split('.').all(is_identifier)
}

fn is_identifier(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// How many regular expressions a match holds.
fn expressions(given: &GRPCRouteMatch) -> usize {
    let is_expression =
        |kind: Option<TextMatchType>| kind == Some(TextMatchType::RegularExpression);
    let method = given.method.iter().filter(|m| is_expression(m.r#type));
    let of_call =
        method.map(|m| usize::from(m.service.is_some()) + usize::from(m.method.is_some()));
    let of_headers = given.headers.iter().filter(|h| is_expression(h.r#type));
    of_call.sum::<usize>() + of_headers.count()
}
