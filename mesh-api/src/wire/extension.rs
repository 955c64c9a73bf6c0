//! What our filters and CORS make of a rule: conditions beyond its matches, answers, origins.

use crate::error::Faults;
use crate::model::cors::{Allowed, Cors};
use crate::model::narrowing::{CookieMatch, Labels, Narrowing, Sources};
use crate::model::route::DirectResponse;
use crate::name::Port;
use crate::wire::conditions::{self, MAX_TEXT};
use crate::wire::generated as wire;
use crate::wire::read;

pub(super) fn write_narrowing(from: &Narrowing) -> wire::Narrowing {
    wire::Narrowing {
        name: from.name.to_string(),
        cookie: from.cookie.as_ref().map(|cookie| wire::CookieMatch {
            name: cookie.name.clone(),
            value: cookie.value.as_ref().map(conditions::write_text),
        }),
        sources: write_sources(&from.sources),
        port: from.port.map_or(0, u32::from),
    }
}

pub(super) fn read_narrowing(from: &wire::Narrowing, faults: &mut Faults) -> Option<Narrowing> {
    let name = read::text("name", &from.name, faults);
    let cookie = match &from.cookie {
        None => Some(None),
        Some(cookie) => faults.field("cookie", |f| read_cookie(cookie, f).map(Some)),
    };
    let sources = read_sources(from.sources.as_ref(), faults);
    let port = match from.port {
        0 => Some(None),
        port => faults
            .field("port", |f| f.take(Port::try_from(port)))
            .map(Some),
    };
    Some(Narrowing {
        name: name?,
        cookie: cookie?,
        sources: sources?,
        port: port?,
    })
}

fn read_cookie(from: &wire::CookieMatch, faults: &mut Faults) -> Option<CookieMatch> {
    if from.name.is_empty() || from.name.len() > MAX_TEXT {
        faults.field("name", |f| {
            f.refuse(format!("has not 1 to {MAX_TEXT} bytes"));
        });
    }
    Some(CookieMatch {
        name: from.name.clone(),
        value: conditions::read_text("value", from.value.as_ref(), faults)?,
    })
}

pub(super) fn write_sources(from: &Sources) -> Option<wire::Sources> {
    (!from.is_anybody()).then(|| wire::Sources {
        namespaces: from.namespaces.iter().map(ToString::to_string).collect(),
        labels: write_labels(&from.labels),
    })
}

pub(super) fn read_sources(from: Option<&wire::Sources>, faults: &mut Faults) -> Option<Sources> {
    let Some(from) = from else {
        return Some(Sources::default());
    };
    faults.field("sources", |f| {
        let namespaces = read::list("namespaces", &from.namespaces, MAX_SOURCES, f, |text, f| {
            f.take(text.parse())
        });
        let labels = read_labels(&from.labels, MAX_SOURCES, f);
        Some(Sources {
            namespaces: namespaces?,
            labels: labels?,
        })
    })
}

pub(super) fn write_labels(from: &Labels) -> Vec<wire::Label> {
    let label = |(key, value): (&String, &String)| wire::Label {
        key: key.clone(),
        value: value.clone(),
    };
    from.iter().map(label).collect()
}

pub(super) fn read_labels(
    from: &[wire::Label],
    most: usize,
    faults: &mut Faults,
) -> Option<Labels> {
    let labels = read::list("labels", from, most, faults, |label, f| {
        let good = !label.key.is_empty() && label.key.len() + label.value.len() <= MAX_TEXT;
        if !good {
            f.refuse(format!("has no key, or over {MAX_TEXT} bytes"));
        }
        good.then(|| (label.key.clone(), label.value.clone()))
    });
    Some(labels?.into_iter().collect())
}

pub(super) fn write_cors(from: &Cors) -> wire::Cors {
    wire::Cors {
        origins: from.origins.iter().map(ToString::to_string).collect(),
        credentials: from.credentials,
        methods: Some(write_allowed(&from.methods)),
        headers: Some(write_allowed(&from.headers)),
        expose: Some(write_allowed(&from.expose)),
        max_age_seconds: from.max_age,
    }
}

fn write_allowed<T: ToString>(from: &Allowed<T>) -> wire::Allowed {
    match from {
        Allowed::All => wire::Allowed {
            all: true,
            names: Vec::new(),
        },
        Allowed::Listed(names) => wire::Allowed {
            all: false,
            names: names.iter().map(ToString::to_string).collect(),
        },
    }
}

#[expect(
    clippy::option_option,
    reason = "the outer is a fault, the inner a filter left out"
)]
pub(super) fn read_cors(from: Option<&wire::Cors>, faults: &mut Faults) -> Option<Option<Cors>> {
    let Some(from) = from else {
        return Some(None);
    };
    faults.field("cors", |f| {
        let origins = read::list("origins", &from.origins, MAX_NAMES, f, |text, f| {
            f.take(text.parse())
        });
        let methods = read_allowed("methods", from.methods.as_ref(), f, |text, f| {
            let good = read::is_method(text);
            if !good {
                f.refuse("is not a method");
            }
            good.then(|| text.to_owned())
        });
        let headers = read_allowed("headers", from.headers.as_ref(), f, |text, f| {
            f.take(text.parse())
        });
        let expose = read_allowed("expose", from.expose.as_ref(), f, |text, f| {
            f.take(text.parse())
        });
        Some(Some(Cors {
            origins: origins?,
            credentials: from.credentials,
            methods: methods?,
            headers: headers?,
            expose: expose?,
            max_age: from.max_age_seconds,
        }))
    })
}

fn read_allowed<T>(
    field: &str,
    from: Option<&wire::Allowed>,
    faults: &mut Faults,
    name: impl Fn(&str, &mut Faults) -> Option<T>,
) -> Option<Allowed<T>> {
    let from = read::required(field, from, faults)?;
    faults.field(field, |f| {
        if from.all {
            return Some(Allowed::All);
        }
        let names = read::list("names", &from.names, MAX_NAMES, f, |text, f| name(text, f));
        names.map(Allowed::Listed)
    })
}

pub(super) fn write_answer(from: &DirectResponse) -> wire::DirectResponse {
    wire::DirectResponse {
        name: from.name.to_string(),
        status: from.status.into(),
        body: from.body.clone(),
        content_type: from.content_type.to_string(),
    }
}

pub(super) fn read_answer(
    from: &wire::DirectResponse,
    faults: &mut Faults,
) -> Option<DirectResponse> {
    let name = read::text("name", &from.name, faults);
    let status = read::number("status", from.status, 200..=599u16, faults);
    let has_room = status.is_none_or(DirectResponse::may_have_body) || from.body.is_empty();
    if from.body.len() > DirectResponse::MAX_BODY || !has_room {
        faults.field("body", |f| {
            f.refuse("is larger than an answer of the status may be");
        });
    }
    let content_type = read::text("contentType", &from.content_type, faults);
    Some(DirectResponse {
        name: name?,
        status: status?,
        body: from.body.clone(),
        content_type: content_type?,
    })
}

const MAX_SOURCES: usize = 64;
const MAX_NAMES: usize = 64;
