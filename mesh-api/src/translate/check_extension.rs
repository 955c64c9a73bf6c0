//! Checks of our filters of routes, `RouteMatch` and `DirectResponse`, and of what names them.

use crate::error::Faults;
use crate::model::narrowing::{CookieMatch, Labels, Sources};
use crate::model::route::DirectResponse;
use crate::name::{Name, Namespace, ObjectName};
use crate::resource::extension::CookieMatch as CookieField;
use crate::resource::object::WorkloadSelector;
use crate::resource::reference::LocalObjectReference;
use crate::resource::{self, Kind};
use crate::translate::check_match::text;
use crate::translate::check_reference::at_most;
use crate::translate::check_workload::{port, whole};
use crate::translate::checked::{CheckedRouteMatch, ExtensionRef};

/// Most namespaces and labels of callers, as many as a proxy takes.
pub(super) const MAX_SOURCES: usize = 64;
/// Longest name of a cookie, in bytes.
const MAX_COOKIE: usize = 256;
/// What an answer's content is where nothing else is said.
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// Checks the reference of a filter of type `ExtensionRef`.
pub(super) fn reference(given: &LocalObjectReference, faults: &mut Faults) -> Option<ExtensionRef> {
    let group = "mesh.dev";
    if given.group != group {
        let shown: String = given.group.chars().take(80).collect();
        faults.field("group", |faults| {
            faults.refuse(format!(
                "{shown:?} is not {group:?}, whose filters are supported"
            ));
        });
    }
    let kind = match given.kind.as_str() {
        "RouteMatch" => Some(Kind::RouteMatch),
        "DirectResponse" => Some(Kind::DirectResponse),
        other => {
            let shown: String = other.chars().take(80).collect();
            faults.field("kind", |faults| {
                faults.refuse(format!("{shown:?} is not RouteMatch or DirectResponse"));
            });
            None
        }
    };
    let name = faults.field("name", |faults| faults.take(given.name.parse::<Name>()));
    Some(ExtensionRef {
        kind: kind?,
        name: name?,
    })
}

/// Checks a `RouteMatch`.
pub(super) fn route_match(
    object: &resource::RouteMatch,
    faults: &mut Faults,
) -> Option<CheckedRouteMatch> {
    let spec = &object.spec;
    faults.field("spec", |faults| {
        let cookie = faults.field("cookie", |faults| {
            spec.cookie.as_ref().and_then(|given| cookie(given, faults))
        });
        let checked = CheckedRouteMatch {
            cookie,
            sources: sources(
                spec.source_workloads.as_ref(),
                &spec.source_namespaces,
                faults,
            ),
            port: faults.field("port", |faults| {
                spec.port.and_then(|number| port(number, faults))
            }),
        };
        if spec.cookie.is_none() && spec.port.is_none() && checked.sources.is_anybody() {
            faults.refuse("has no condition: it would narrow nothing");
        }
        Some(checked)
    })
}

fn cookie(given: &CookieField, faults: &mut Faults) -> Option<CookieMatch> {
    let name = faults.field("name", |faults| cookie_name(&given.name, faults));
    if given.value.is_none() && given.r#type.is_some() {
        faults.field("type", |faults| {
            faults.refuse("needs a value to compare with");
        });
    }
    let value = match &given.value {
        None => None,
        Some(value) => Some(faults.field("value", |faults| text(given.r#type, value, faults))?),
    };
    Some(CookieMatch { name: name?, value })
}

/// Checks the name of a cookie: a token (RFC 6265 section 4.1.1).
pub(super) fn cookie_name(name: &str, faults: &mut Faults) -> Option<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let good = (1..=MAX_COOKIE).contains(&name.len()) && name.bytes().all(token);
    if !good {
        faults.refuse(format!(
            "is not the name of a cookie, of 1 to {MAX_COOKIE} bytes"
        ));
    }
    good.then(|| name.to_owned())
}

/// Checks `sourceWorkloads` and `sourceNamespaces`.
pub(super) fn sources(
    workloads: Option<&WorkloadSelector>,
    namespaces: &[String],
    faults: &mut Faults,
) -> Sources {
    let mut checked = Sources::default();
    faults.field("sourceNamespaces", |faults| {
        at_most(namespaces.len(), MAX_SOURCES, "namespaces", faults);
        for (index, text) in namespaces.iter().enumerate().take(MAX_SOURCES) {
            let namespace = faults.index(index, |faults| faults.take(text.parse::<Namespace>()));
            checked.namespaces.extend(namespace);
        }
    });
    let Some(WorkloadSelector { match_labels }) = workloads else {
        return checked;
    };
    faults.field("sourceWorkloads", |faults| {
        faults.field("matchLabels", |faults| labels(match_labels, faults));
    });
    checked.labels = match_labels.clone();
    checked
}

fn labels(given: &Labels, faults: &mut Faults) {
    if given.is_empty() {
        faults.refuse("is empty: it would take in every workload");
    }
    at_most(given.len(), MAX_SOURCES, "labels", faults);
    for (key, value) in given.iter().take(MAX_SOURCES) {
        let good = |text: &str, most: usize| {
            text.len() <= most && text.bytes().all(|b| b.is_ascii_graphic())
        };
        if key.is_empty() || !good(key, 317) || !good(value, 63) {
            faults.refuse("holds a key or value that is no label's");
        }
    }
}

/// Checks a `DirectResponse`.
pub(super) fn direct_response(
    object: &resource::DirectResponse,
    name: ObjectName,
    faults: &mut Faults,
) -> Option<DirectResponse> {
    let spec = &object.spec;
    faults.field("spec", |faults| {
        let status = faults.field("status", |faults| whole(spec.status, 200, 599, faults));
        let status = status.and_then(|status| u16::try_from(status).ok());
        let body = spec.body.clone().unwrap_or_default();
        faults.field("body", |faults| {
            if body.len() > DirectResponse::MAX_BODY {
                let most = DirectResponse::MAX_BODY;
                faults.refuse(format!(
                    "has {} bytes; at most {most} are allowed",
                    body.len()
                ));
            }
            if !body.is_empty()
                && status.is_some_and(|status| !DirectResponse::may_have_body(status))
            {
                faults.refuse("must be empty: a response of this status has no content");
            }
        });
        let content_type = faults.field("contentType", |faults| {
            let given = spec.content_type.as_deref();
            if given == Some("") {
                faults.refuse("is empty");
            }
            faults.take(given.unwrap_or(PLAIN_TEXT).parse())
        });
        Some(DirectResponse {
            name,
            status: status?,
            body,
            content_type: content_type?,
        })
    })
}
