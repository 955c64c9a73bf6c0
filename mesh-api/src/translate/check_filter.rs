//! Checks of filters, of a rule and of a backend.

use std::collections::BTreeSet;

use crate::error::Faults;
use crate::model::cors::Cors;
use crate::model::route::{HeaderChanges, PathRewrite, Redirect, Rewrite};
use crate::name::{HeaderName, HeaderValue};
use crate::resource::Kind;
use crate::resource::httproute::{
    HTTPHeader, HTTPHeaderFilter, HTTPPathModifier, HTTPPathModifierType,
    HTTPRequestRedirectFilter, HTTPRouteFilter, HTTPRouteFilterType, HTTPRouteMatch,
    HTTPURLRewriteFilter, PathMatchType,
};
use crate::translate::check_reference::at_most;
use crate::translate::check_workload::port;
use crate::translate::checked::ExtensionRef;
use crate::translate::{check_cors, check_extension};

/// Most filters, and most changes of one header filter's list (Gateway API).
const MAX_FILTERS: usize = 16;
/// Longest replacement of a path, in bytes (Gateway API).
const MAX_PATH: usize = 1024;

/// What the filters of a rule or backend ask for.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) request_headers: HeaderChanges,
    pub(super) response_headers: HeaderChanges,
    pub(super) redirect: Option<Redirect>,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) cors: Option<Cors>,
    pub(super) extensions: Vec<ExtensionRef>,
}

impl Filters {
    /// True if a rule with them has no use for backends.
    pub(super) fn answers(&self) -> bool {
        let answering = |one: &ExtensionRef| one.kind == Kind::DirectResponse;
        self.redirect.is_some() || self.extensions.iter().any(answering)
    }
}

/// Whose filters they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Rule,
    Backend,
}

/// Checks the filters of a rule; `matches` are the rule's, on which a prefix replacement depends.
pub(super) fn rule(
    filters: &[HTTPRouteFilter],
    matches: &[HTTPRouteMatch],
    faults: &mut Faults,
) -> Filters {
    let checked = all(filters, (Holder::Rule, one_prefix(matches)), faults);
    exclude(filters, &checked, faults);
    checked
}

/// Checks the filters of a backend of a rule; `matches` are the rule's.
pub(super) fn backend(
    filters: &[HTTPRouteFilter],
    matches: &[HTTPRouteMatch],
    faults: &mut Faults,
) -> Filters {
    let checked = all(filters, (Holder::Backend, one_prefix(matches)), faults);
    exclude(filters, &checked, faults);
    checked
}

/// Refuses filters of which only one can decide.
fn exclude(filters: &[HTTPRouteFilter], checked: &Filters, faults: &mut Faults) {
    let has = |kind| filters.iter().any(|filter| filter.r#type == kind);
    if has(HTTPRouteFilterType::RequestRedirect) && has(HTTPRouteFilterType::UrlRewrite) {
        faults.refuse("has RequestRedirect and URLRewrite, which exclude each other");
    }
    let answers = checked.extensions.iter();
    let answers = answers
        .filter(|one| one.kind == Kind::DirectResponse)
        .count();
    if answers > 1 {
        faults.refuse("has two DirectResponses, of which only one can answer");
    }
    if answers > 0 && (checked.redirect.is_some() || checked.rewrite.is_some()) {
        faults.refuse("has a DirectResponse beside a RequestRedirect or URLRewrite");
    }
}

/// Checks the filters of a `GRPCRoute`'s rule.
pub(super) fn of_calls(filters: &[HTTPRouteFilter], faults: &mut Faults) -> Filters {
    refuse_of_calls(filters, faults);
    let checked = all(filters, (Holder::Rule, false), faults);
    exclude(filters, &checked, faults);
    checked
}

/// Checks the filters of a backend of a `GRPCRoute`.
pub(super) fn of_called_backend(filters: &[HTTPRouteFilter], faults: &mut Faults) -> Filters {
    refuse_of_calls(filters, faults);
    all(filters, (Holder::Backend, false), faults)
}

fn refuse_of_calls(filters: &[HTTPRouteFilter], faults: &mut Faults) {
    for (index, filter) in filters.iter().enumerate() {
        let name = match filter.r#type {
            HTTPRouteFilterType::RequestRedirect => "RequestRedirect",
            HTTPRouteFilterType::UrlRewrite => "URLRewrite",
            HTTPRouteFilterType::Cors => "CORS",
            HTTPRouteFilterType::ExternalAuth => "ExternalAuth",
            _ => continue,
        };
        faults.index(index, |faults| {
            faults.field("type", |faults| {
                faults.refuse(format!("{name} is not a filter of a GRPCRoute"));
            });
        });
    }
}

/// True if the rule has one match and it is on a path prefix.
fn one_prefix(matches: &[HTTPRouteMatch]) -> bool {
    let kind = |given: &HTTPRouteMatch| given.path.as_ref().and_then(|path| path.r#type);
    match matches {
        [] => true,
        [one] => matches!(kind(one), None | Some(PathMatchType::PathPrefix)),
        _ => false,
    }
}

fn all(
    filters: &[HTTPRouteFilter],
    (holder, prefix): (Holder, bool),
    faults: &mut Faults,
) -> Filters {
    at_most(filters.len(), MAX_FILTERS, "filters", faults);
    let mut checked = Filters::default();
    let mut seen = BTreeSet::new();
    for (index, filter) in filters.iter().enumerate() {
        faults.index(index, |faults| {
            let may_repeat = matches!(
                filter.r#type,
                HTTPRouteFilterType::ExtensionRef | HTTPRouteFilterType::RequestMirror
            );
            if !seen.insert(filter.r#type) && !may_repeat {
                faults.field("type", |faults| {
                    faults.refuse("is there twice; a rule has one filter of each type");
                });
            }
            match filter.r#type {
                HTTPRouteFilterType::Cors
                | HTTPRouteFilterType::ExtensionRef
                | HTTPRouteFilterType::RequestMirror
                    if holder == Holder::Backend =>
                {
                    of_rule_only(filter.r#type, faults);
                }
                HTTPRouteFilterType::Cors => checked.cors = cors(filter, faults),
                // Where its copies go is checked with the other references.
                HTTPRouteFilterType::RequestMirror => {
                    member("requestMirror", filter.request_mirror.as_ref(), faults);
                }
                HTTPRouteFilterType::ExtensionRef => {
                    checked.extensions.extend(extension(filter, faults));
                }
                _ => one(filter, prefix, &mut checked, faults),
            }
            members(filter, faults);
        });
    }
    checked
}

fn of_rule_only(kind: HTTPRouteFilterType, faults: &mut Faults) {
    let name = type_name(kind);
    faults.field("type", |faults| {
        faults.refuse(format!("{name} is a filter of a rule, not of a backendRef"));
    });
}

fn type_name(kind: HTTPRouteFilterType) -> String {
    match kind {
        HTTPRouteFilterType::Cors => "CORS".to_owned(),
        other => format!("{other:?}"),
    }
}

fn cors(filter: &HTTPRouteFilter, faults: &mut Faults) -> Option<Cors> {
    let given = member("cors", filter.cors.as_ref(), faults)?;
    Some(faults.field("cors", |faults| check_cors::cors(given, faults)))
}

fn extension(filter: &HTTPRouteFilter, faults: &mut Faults) -> Option<ExtensionRef> {
    let given = member("extensionRef", filter.extension_ref.as_ref(), faults)?;
    faults.field("extensionRef", |faults| {
        check_extension::reference(given, faults)
    })
}

fn one(filter: &HTTPRouteFilter, prefix: bool, checked: &mut Filters, faults: &mut Faults) {
    use HTTPRouteFilterType as Type;
    match filter.r#type {
        Type::RequestHeaderModifier => {
            if let Some(changes) = member(
                "requestHeaderModifier",
                filter.request_header_modifier.as_ref(),
                faults,
            ) {
                checked.request_headers = faults.field("requestHeaderModifier", |faults| {
                    header_changes(changes, faults)
                });
            }
        }
        Type::ResponseHeaderModifier => {
            if let Some(changes) = member(
                "responseHeaderModifier",
                filter.response_header_modifier.as_ref(),
                faults,
            ) {
                checked.response_headers = faults.field("responseHeaderModifier", |faults| {
                    header_changes(changes, faults)
                });
            }
        }
        Type::RequestRedirect => {
            if let Some(given) = member("requestRedirect", filter.request_redirect.as_ref(), faults)
            {
                checked.redirect =
                    Some(faults.field("requestRedirect", |faults| redirect(given, prefix, faults)));
            }
        }
        Type::UrlRewrite => {
            if let Some(given) = member("urlRewrite", filter.url_rewrite.as_ref(), faults) {
                checked.rewrite =
                    Some(faults.field("urlRewrite", |faults| rewrite(given, prefix, faults)));
            }
        }
        Type::RequestMirror | Type::Cors | Type::ExtensionRef | Type::ExternalAuth => {
            let name = type_name(filter.r#type);
            faults.field("type", |faults| {
                faults.refuse(format!("{name} is not supported yet"));
            });
        }
    }
}

fn member<'a, T>(field: &str, value: Option<&'a T>, faults: &mut Faults) -> Option<&'a T> {
    if value.is_none() {
        faults.field(field, |faults| {
            faults.refuse("is missing: the filter's type asks for it");
        });
    }
    value
}

/// Refuses members of another type than the filter's.
fn members(filter: &HTTPRouteFilter, faults: &mut Faults) {
    use HTTPRouteFilterType as Type;
    for (kind, field, is_set) in [
        (
            Type::RequestHeaderModifier,
            "requestHeaderModifier",
            filter.request_header_modifier.is_some(),
        ),
        (
            Type::ResponseHeaderModifier,
            "responseHeaderModifier",
            filter.response_header_modifier.is_some(),
        ),
        (
            Type::RequestMirror,
            "requestMirror",
            filter.request_mirror.is_some(),
        ),
        (
            Type::RequestRedirect,
            "requestRedirect",
            filter.request_redirect.is_some(),
        ),
        (Type::UrlRewrite, "urlRewrite", filter.url_rewrite.is_some()),
        (Type::Cors, "cors", filter.cors.is_some()),
        (
            Type::ExtensionRef,
            "extensionRef",
            filter.extension_ref.is_some(),
        ),
        (
            Type::ExternalAuth,
            "externalAuth",
            filter.external_auth.is_some(),
        ),
    ] {
        if is_set && kind != filter.r#type {
            faults.field(field, |faults| {
                faults.refuse("does not belong to the filter's type");
            });
        }
    }
}

fn header_changes(filter: &HTTPHeaderFilter, faults: &mut Faults) -> HeaderChanges {
    let set = faults.field("set", |faults| header_list(&filter.set, faults));
    let add = faults.field("add", |faults| header_list(&filter.add, faults));
    let mut remove = Vec::new();
    faults.field("remove", |faults| {
        at_most(filter.remove.len(), MAX_FILTERS, "names", faults);
        let mut seen = BTreeSet::new();
        for (index, name) in filter.remove.iter().enumerate() {
            remove.extend(faults.index(index, |faults| header_name(name, &mut seen, faults)));
        }
    });
    HeaderChanges { set, add, remove }
}

fn header_list(headers: &[HTTPHeader], faults: &mut Faults) -> Vec<(HeaderName, HeaderValue)> {
    at_most(headers.len(), MAX_FILTERS, "headers", faults);
    let mut seen = BTreeSet::new();
    let mut checked = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        faults.index(index, |faults| {
            let name = faults.field("name", |faults| {
                header_name(&header.name, &mut seen, faults)
            });
            let value = faults.field("value", |faults| faults.take(header.value.parse()));
            checked.extend(name.zip(value));
        });
    }
    checked
}

/// Fields that the mesh itself writes: a filter may not, or messages could be framed in two ways.
const OWN_FIELDS: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
];

fn header_name(name: &str, seen: &mut BTreeSet<String>, faults: &mut Faults) -> Option<HeaderName> {
    let lower = name.to_ascii_lowercase();
    if OWN_FIELDS.contains(&lower.as_str()) {
        faults.refuse(format!(
            "{lower} cannot be changed by a filter: the proxy writes it"
        ));
    }
    if !seen.insert(lower.clone()) {
        faults.refuse(format!("{lower} is there twice"));
    }
    faults.take(lower.parse())
}

fn redirect(filter: &HTTPRequestRedirectFilter, prefix: bool, faults: &mut Faults) -> Redirect {
    if filter
        .scheme
        .as_deref()
        .is_some_and(|scheme| !matches!(scheme, "http" | "https"))
    {
        faults.field("scheme", |faults| faults.refuse("is not http or https"));
    }
    let status = filter.status_code.unwrap_or(302);
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        faults.field("statusCode", |faults| {
            faults.refuse(format!("{status} is not 301, 302, 303, 307 or 308"));
        });
    }
    Redirect {
        scheme: filter.scheme.clone(),
        hostname: faults.field("hostname", |faults| {
            hostname(filter.hostname.as_deref(), faults)
        }),
        path: faults.field("path", |faults| {
            filter
                .path
                .as_ref()
                .and_then(|path| path_rewrite(path, prefix, faults))
        }),
        port: faults.field("port", |faults| {
            filter.port.and_then(|number| port(number, faults))
        }),
        status,
    }
}

fn rewrite(filter: &HTTPURLRewriteFilter, prefix: bool, faults: &mut Faults) -> Rewrite {
    Rewrite {
        hostname: faults.field("hostname", |faults| {
            hostname(filter.hostname.as_deref(), faults)
        }),
        path: faults.field("path", |faults| {
            filter
                .path
                .as_ref()
                .and_then(|path| path_rewrite(path, prefix, faults))
        }),
    }
}

fn hostname(text: Option<&str>, faults: &mut Faults) -> Option<crate::name::Hostname> {
    let text = text?;
    if text.starts_with("*.") {
        faults.refuse("must name one host, without *");
        return None;
    }
    faults.take(text.parse())
}

fn path_rewrite(path: &HTTPPathModifier, prefix: bool, faults: &mut Faults) -> Option<PathRewrite> {
    let (full, part) = (
        path.replace_full_path.as_ref(),
        path.replace_prefix_match.as_ref(),
    );
    match path.r#type {
        HTTPPathModifierType::ReplaceFullPath => {
            if part.is_some() {
                faults.field("replacePrefixMatch", |faults| {
                    faults.refuse("does not belong to ReplaceFullPath");
                });
            }
            let text = member("replaceFullPath", full, faults)?;
            faults
                .field("replaceFullPath", |faults| replacement(text, faults))
                .then(|| PathRewrite::Full(text.clone()))
        }
        HTTPPathModifierType::ReplacePrefixMatch => {
            if full.is_some() {
                faults.field("replaceFullPath", |faults| {
                    faults.refuse("does not belong to ReplacePrefixMatch");
                });
            }
            if !prefix {
                faults.field("type", |faults| {
                    faults.refuse("ReplacePrefixMatch needs exactly one match, on a PathPrefix");
                });
            }
            let text = member("replacePrefixMatch", part, faults)?;
            faults
                .field("replacePrefixMatch", |faults| replacement(text, faults))
                .then(|| PathRewrite::Prefix(text.clone()))
        }
    }
}

/// True for a text that can stand in a request line as a path; empty stands for `/`.
fn replacement(text: &str, faults: &mut Faults) -> bool {
    if text.len() > MAX_PATH {
        faults.refuse(format!("is longer than {MAX_PATH} bytes"));
        return false;
    }
    let good = (text.is_empty() || text.starts_with('/'))
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
    if !good {
        faults.refuse("must start with / and hold only what a path may");
    }
    good
}
