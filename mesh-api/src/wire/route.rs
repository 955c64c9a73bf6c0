//! A route of requests with its rules and changes; its matches are in `conditions`.

use crate::error::Faults;
use crate::model::path::PathMatch;
use crate::model::route::{
    Action, HeaderChanges, PathRewrite, Redirect, Rewrite, Route, RouteKind, RouteMatch, Rule,
    Target, WeightedBackend,
};
use crate::name::{HeaderName, HeaderValue, Port};
use crate::wire::conditions::{self, MAX_TEXT, is_path};
use crate::wire::generated as wire;
use crate::wire::generated::{path_rewrite, rule, weighted_backend};
use crate::wire::{affinity, extension, mirror, policy, read};

pub(super) fn write(from: &Route) -> wire::Route {
    let kind = match from.kind {
        RouteKind::Http => wire::RouteKind::Http,
        RouteKind::Grpc => wire::RouteKind::Grpc,
    };
    wire::Route {
        kind: kind.into(),
        name: from.name.to_string(),
        created: from.created,
        rules: from.rules.iter().map(write_rule).collect(),
    }
}

/// Reads a route of a destination with `backends` backends.
pub(super) fn read(from: &wire::Route, backends: usize, faults: &mut Faults) -> Option<Route> {
    let name = read::text("name", &from.name, faults);
    let kind = read::choice("kind", from.kind, faults, |value| {
        Some(match value {
            wire::RouteKind::Http => RouteKind::Http,
            wire::RouteKind::Grpc => RouteKind::Grpc,
        })
    });
    let rules = read::list("rules", &from.rules, MAX_RULES, faults, |rule, f| {
        read_rule(rule, backends, f)
    });
    Some(Route {
        kind: kind?,
        name: name?,
        created: from.created,
        rules: rules?,
    })
}

fn write_rule(from: &Rule) -> wire::Rule {
    let action = match &from.action {
        Action::Forward { backends, rewrite } => rule::Action::Forward(wire::Forward {
            backends: backends.iter().map(write_weighted).collect(),
            rewrite: rewrite.as_ref().map(write_rewrite),
        }),
        Action::Redirect(redirect) => rule::Action::Redirect(write_redirect(redirect)),
        Action::Respond(answer) => rule::Action::Respond(extension::write_answer(answer)),
        Action::Broken { reason } => rule::Action::Broken(reason.clone()),
    };
    wire::Rule {
        name: text(from.name.as_ref()),
        index: from.index,
        matches: from.matches.iter().map(conditions::write).collect(),
        narrowings: from
            .narrowings
            .iter()
            .map(extension::write_narrowing)
            .collect(),
        cors: from.cors.as_ref().map(extension::write_cors),
        request_headers: write_changes(&from.request_headers),
        response_headers: write_changes(&from.response_headers),
        action: Some(action),
        timeouts: Some(policy::write_timeouts(&from.timeouts)),
        retry: Some(policy::write_retry(&from.retry)),
        faults: from.faults,
        mirrors: from.mirrors.iter().map(mirror::write).collect(),
        mirroring: mirror::write_settings(&from.mirroring),
        stickiness: affinity::write(from.stickiness.as_ref()),
    }
}

fn read_rule(from: &wire::Rule, backends: usize, faults: &mut Faults) -> Option<Rule> {
    let name = read::optional("name", &from.name, faults);
    let matches = read::list(
        "matches",
        &from.matches,
        MAX_MATCHES,
        faults,
        conditions::read,
    );
    if from.matches.is_empty() {
        faults.field("matches", |f| f.refuse("is empty"));
    }
    let narrowings = read::list(
        "narrowings",
        &from.narrowings,
        MAX_NARROWINGS,
        faults,
        extension::read_narrowing,
    );
    let cors = extension::read_cors(from.cors.as_ref(), faults);
    let request_headers = read_changes("requestHeaders", from.request_headers.as_ref(), faults);
    let response_headers = read_changes("responseHeaders", from.response_headers.as_ref(), faults);
    let action = match read::required("action", from.action.as_ref(), faults) {
        Some(rule::Action::Forward(forward)) => {
            faults.field("forward", |f| read_forward(forward, backends, f))
        }
        Some(rule::Action::Redirect(redirect)) => faults.field("redirect", |f| {
            read_redirect(redirect, f).map(Action::Redirect)
        }),
        Some(rule::Action::Respond(answer)) => faults.field("respond", |f| {
            extension::read_answer(answer, f).map(Action::Respond)
        }),
        Some(rule::Action::Broken(reason)) => match read_broken(reason, faults) {
            Some(Target::Broken { reason }) => Some(Action::Broken { reason }),
            _ => None,
        },
        None => None,
    };
    let timeouts = policy::read_timeouts(from.timeouts.as_ref(), faults);
    let retry = policy::read_retry(from.retry.as_ref(), faults);
    let mirrors = read::list("mirrors", &from.mirrors, MAX_MIRRORS, faults, |one, f| {
        mirror::read(one, backends, f)
    });
    let mirroring = mirror::read_settings(from.mirroring.as_ref(), faults);
    let stickiness = affinity::read(from.stickiness.as_ref(), faults);
    let rule = Rule {
        name: name?,
        index: from.index,
        matches: matches?,
        narrowings: narrowings?,
        cors: cors?,
        request_headers: request_headers?,
        response_headers: response_headers?,
        action: action?,
        timeouts: timeouts?,
        retry: retry?,
        faults: from.faults,
        mirrors: mirrors?,
        mirroring: mirroring?,
        stickiness: stickiness?,
    };
    check_prefix_rewrite(&rule, faults);
    Some(rule)
}

/// A prefix can only be replaced where every match has one (Gateway API `HTTPPathModifier`).
fn check_prefix_rewrite(rule: &Rule, faults: &mut Faults) {
    let of = |rewrite: Option<&Rewrite>| rewrite.and_then(|rewrite| rewrite.path.clone());
    let paths: Vec<_> = match &rule.action {
        Action::Forward { backends, rewrite } => {
            let backends = backends.iter().flat_map(|backend| {
                let redirect = backend.redirect.as_ref();
                [
                    of(backend.rewrite.as_ref()),
                    redirect.and_then(|redirect| redirect.path.clone()),
                ]
            });
            backends.chain([of(rewrite.as_ref())]).flatten().collect()
        }
        Action::Redirect(redirect) => redirect.path.iter().cloned().collect(),
        Action::Respond(_) | Action::Broken { .. } => Vec::new(),
    };
    let by_prefix = |m: &RouteMatch| matches!(m.path, PathMatch::Prefix(_));
    let replaces = paths
        .iter()
        .any(|path| matches!(path, PathRewrite::Prefix(_)));
    if replaces && !rule.matches.iter().all(by_prefix) {
        faults.refuse("replaces a path prefix, but not every match has one");
    }
}

fn write_weighted(from: &WeightedBackend) -> wire::WeightedBackend {
    let target = match write_target(&from.target) {
        Ok(index) => weighted_backend::Target::Backend(index),
        Err(reason) => weighted_backend::Target::Broken(reason),
    };
    wire::WeightedBackend {
        weight: from.weight,
        target: Some(target),
        request_headers: write_changes(&from.request_headers),
        response_headers: write_changes(&from.response_headers),
        rewrite: from.rewrite.as_ref().map(write_rewrite),
        redirect: from.redirect.as_ref().map(write_redirect),
    }
}

fn write_rewrite(from: &Rewrite) -> wire::Rewrite {
    wire::Rewrite {
        hostname: text(from.hostname.as_ref()),
        path: from.path.as_ref().map(write_path_rewrite),
    }
}

fn write_redirect(from: &Redirect) -> wire::Redirect {
    wire::Redirect {
        scheme: from.scheme.clone().unwrap_or_default(),
        hostname: text(from.hostname.as_ref()),
        path: from.path.as_ref().map(write_path_rewrite),
        port: from.port.map_or(0, u32::from),
        status: from.status.into(),
    }
}

/// The place of a target's backend, or why it is broken.
pub(super) fn write_target(target: &Target) -> Result<u32, String> {
    match target {
        Target::Backend(index) => Ok(*index),
        Target::Broken { reason } => Err(reason.clone()),
    }
}

/// Reads the place of one of `backends` backends.
pub(super) fn read_index(index: u32, backends: usize, faults: &mut Faults) -> Option<Target> {
    let known = usize::try_from(index).is_ok_and(|index| index < backends);
    if !known {
        faults.field("backend", |f| {
            f.refuse(format!("{index} is not one of {backends} backends"));
        });
    }
    known.then_some(Target::Backend(index))
}

/// Reads why a reference does not resolve.
pub(super) fn read_broken(reason: &str, faults: &mut Faults) -> Option<Target> {
    if reason.len() > MAX_TEXT {
        faults.field("broken", |f| f.refuse(format!("has over {MAX_TEXT} bytes")));
        return None;
    }
    Some(Target::Broken {
        reason: reason.to_owned(),
    })
}

fn read_forward(from: &wire::Forward, backends: usize, faults: &mut Faults) -> Option<Action> {
    let weighted = read::list("backends", &from.backends, MAX_WEIGHTED, faults, |m, f| {
        read_weighted(m, backends, f)
    });
    let rewrite = read_rewrite(from.rewrite.as_ref(), faults);
    Some(Action::Forward {
        backends: weighted?,
        rewrite: rewrite?,
    })
}

#[expect(
    clippy::option_option,
    reason = "the outer is a fault, the inner a value left out"
)]
fn read_rewrite(from: Option<&wire::Rewrite>, faults: &mut Faults) -> Option<Option<Rewrite>> {
    let Some(from) = from else {
        return Some(None);
    };
    faults.field("rewrite", |f| {
        let hostname = read::optional("hostname", &from.hostname, f);
        let path = read_path_rewrite(from.path.as_ref(), f);
        Some(Some(Rewrite {
            hostname: hostname?,
            path: path?,
        }))
    })
}

fn read_weighted(
    from: &wire::WeightedBackend,
    backends: usize,
    faults: &mut Faults,
) -> Option<WeightedBackend> {
    let weight = read::number("weight", from.weight, 0..=1_000_000, faults);
    let target = match read::required("target", from.target.as_ref(), faults) {
        Some(weighted_backend::Target::Backend(index)) => read_index(*index, backends, faults),
        Some(weighted_backend::Target::Broken(reason)) => read_broken(reason, faults),
        None => None,
    };
    let request_headers = read_changes("requestHeaders", from.request_headers.as_ref(), faults);
    let response_headers = read_changes("responseHeaders", from.response_headers.as_ref(), faults);
    let rewrite = read_rewrite(from.rewrite.as_ref(), faults);
    let redirect = match &from.redirect {
        None => Some(None),
        Some(redirect) => faults.field("redirect", |f| read_redirect(redirect, f).map(Some)),
    };
    Some(WeightedBackend {
        weight: weight?,
        target: target?,
        request_headers: request_headers?,
        response_headers: response_headers?,
        rewrite: rewrite?,
        redirect: redirect?,
    })
}

fn read_redirect(from: &wire::Redirect, faults: &mut Faults) -> Option<Redirect> {
    let scheme = (!from.scheme.is_empty()).then(|| from.scheme.clone());
    if !matches!(from.scheme.as_str(), "" | "http" | "https") {
        faults.field("scheme", |f| f.refuse("is neither http nor https"));
    }
    let hostname = read::optional("hostname", &from.hostname, faults);
    let path = read_path_rewrite(from.path.as_ref(), faults);
    let port = match from.port {
        0 => Some(None),
        port => faults
            .field("port", |f| f.take(Port::try_from(port)))
            .map(Some),
    };
    let status = u16::try_from(from.status).ok();
    let status = status.filter(|status| matches!(status, 301 | 302 | 303 | 307 | 308));
    if status.is_none() {
        faults.field("status", |f| {
            f.refuse(format!("{} is not 301, 302, 303, 307 or 308", from.status));
        });
    }
    Some(Redirect {
        scheme,
        hostname: hostname?,
        path: path?,
        port: port?,
        status: status?,
    })
}

fn write_path_rewrite(from: &PathRewrite) -> wire::PathRewrite {
    let kind = match from {
        PathRewrite::Full(path) => path_rewrite::Kind::Full(path.clone()),
        PathRewrite::Prefix(path) => path_rewrite::Kind::Prefix(path.clone()),
    };
    wire::PathRewrite { kind: Some(kind) }
}

#[expect(
    clippy::option_option,
    reason = "the outer is a fault, the inner a value left out"
)]
fn read_path_rewrite(
    from: Option<&wire::PathRewrite>,
    faults: &mut Faults,
) -> Option<Option<PathRewrite>> {
    let Some(from) = from else {
        return Some(None);
    };
    let kind = read::required("path", from.kind.as_ref(), faults)?;
    let good = |path: &String, f: &mut Faults| path.is_empty() || is_path(path, f);
    faults.field("path", |f| match kind {
        path_rewrite::Kind::Full(path) => {
            good(path, f).then(|| Some(PathRewrite::Full(path.clone())))
        }
        path_rewrite::Kind::Prefix(path) => {
            good(path, f).then(|| Some(PathRewrite::Prefix(path.clone())))
        }
    })
}

fn write_changes(from: &HeaderChanges) -> Option<wire::HeaderChanges> {
    let fields = |list: &[(HeaderName, HeaderValue)]| {
        let field = |(name, value): &(HeaderName, HeaderValue)| wire::Header {
            name: name.to_string(),
            value: value.to_string(),
        };
        list.iter().map(field).collect()
    };
    (!from.is_empty()).then(|| wire::HeaderChanges {
        set: fields(&from.set),
        add: fields(&from.add),
        remove: from.remove.iter().map(ToString::to_string).collect(),
    })
}

fn read_changes(
    field: &str,
    from: Option<&wire::HeaderChanges>,
    faults: &mut Faults,
) -> Option<HeaderChanges> {
    let Some(from) = from else {
        return Some(HeaderChanges::default());
    };
    let name = |text: &str, f: &mut Faults| {
        let name: HeaderName = f.take(text.parse())?;
        let allowed = HeaderChanges::may_change(&name);
        if !allowed {
            f.refuse(format!(
                "{name} belongs to the connection or to the mesh and cannot be changed"
            ));
        }
        allowed.then_some(name)
    };
    let pair = |header: &wire::Header, f: &mut Faults| {
        let name = f.field("name", |f| name(&header.name, f));
        let value = read::text("value", &header.value, f);
        Some((name?, value?))
    };
    faults.field(field, |f| {
        let set = read::list("set", &from.set, MAX_CHANGES, f, pair);
        let add = read::list("add", &from.add, MAX_CHANGES, f, pair);
        let remove = read::list("remove", &from.remove, MAX_CHANGES, f, |text, f| {
            name(text, f)
        });
        Some(HeaderChanges {
            set: set?,
            add: add?,
            remove: remove?,
        })
    })
}

fn text(from: Option<&impl ToString>) -> String {
    from.map_or_else(String::new, ToString::to_string)
}

const MAX_RULES: usize = 256;
const MAX_MATCHES: usize = 256;
const MAX_WEIGHTED: usize = 256;
const MAX_CHANGES: usize = 64;
const MAX_NARROWINGS: usize = 16;
const MAX_MIRRORS: usize = 16;
