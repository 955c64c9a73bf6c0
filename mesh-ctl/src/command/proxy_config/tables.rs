//! The parts of a dump as tables.

use serde_json::Value;

use crate::render::{Cell, Rows, Tone, Width, time};
use crate::source::json::{items, list, text, text_or_dash, texts};

pub(super) fn listeners_table(part: &Value) -> Rows {
    let mut rows = Rows::new(&["KIND", "ADDRESS", "FOR", "PROTOCOL", "ORIGIN"]);
    for listener in items(part) {
        let services = texts(listener, "services").join(", ");
        let target = match text(listener, "upstream") {
            "" if services.is_empty() => "-".to_owned(),
            "" => services,
            upstream => upstream.to_owned(),
        };
        rows.push([
            text(listener, "kind").to_owned(),
            text(listener, "address").to_owned(),
            target,
            text_or_dash(listener, "protocol"),
            text_or_dash(listener, "origin"),
        ]);
    }
    rows
}

pub(super) fn routes_table(part: &Value, width: Width) -> Rows {
    let mut rows = match width {
        Width::Narrow => Rows::new(&["DESTINATION", "MATCH", "TO", "ORIGIN"]),
        Width::Wide => Rows::new(&["DESTINATION", "MATCH", "TO", "ORIGIN", "CHANGES"]),
    };
    for rule in items(part) {
        for condition in texts(rule, "matches") {
            let mut row = vec![
                text(rule, "destination").to_owned(),
                condition.to_owned(),
                target(rule),
                format!("{}{}", text(rule, "origin"), named(rule)),
            ];
            if width == Width::Wide {
                row.push(changes(rule));
            }
            rows.push(row);
        }
    }
    rows
}

pub(super) fn backends_table(part: &Value, width: Width) -> Rows {
    let mut rows = match width {
        Width::Narrow => Rows::new(&["DESTINATION", "BACKEND", "ENDPOINTS", "ORIGIN"]),
        Width::Wide => Rows::new(&[
            "DESTINATION",
            "BACKEND",
            "ENDPOINTS",
            "ORIGIN",
            "BALANCING",
            "CONNECT",
            "IDLE",
        ]),
    };
    for backend in items(part) {
        let count = backend["endpoints"].as_u64().unwrap_or(0);
        let tone = if count == 0 { Tone::Bad } else { Tone::Plain };
        let mut row = vec![
            Cell::from(text(backend, "destination")),
            text(backend, "name").into(),
            Cell::toned(count.to_string(), tone),
            text(backend, "origin").into(),
        ];
        if width == Width::Wide {
            row.push(text(&backend["loadBalancing"], "value").into());
            let fields = ["connectTimeout", "poolIdle"];
            row.extend(fields.map(|field| Cell::from(seconds(&backend[field]["value"]))));
        }
        rows.push(row);
    }
    rows
}

pub(super) fn endpoints_table(part: &Value, width: Width) -> Rows {
    let mut rows = match width {
        Width::Narrow => Rows::new(&[
            "DESTINATION",
            "BACKEND",
            "ENDPOINT",
            "HEALTH",
            "WEIGHT",
            "ORIGIN",
        ]),
        Width::Wide => Rows::new(&[
            "DESTINATION",
            "BACKEND",
            "ENDPOINT",
            "HEALTH",
            "WEIGHT",
            "ORIGIN",
            "TRANSPORT",
            "IDENTITY",
        ]),
    };
    for endpoint in items(part) {
        let mut row = vec![
            Cell::from(text(endpoint, "destination")),
            text(endpoint, "backend").into(),
            text(endpoint, "address").into(),
            Cell::state(text(endpoint, "health")),
            endpoint["weight"].to_string().into(),
            text(endpoint, "origin").into(),
        ];
        if width == Width::Wide {
            let transport = &endpoint["transport"];
            let (kind, identity) = match transport["tunnelPort"].as_u64() {
                Some(port) => (format!("tunnel :{port}"), text(transport, "identity")),
                None => ("plain".to_owned(), "-"),
            };
            row.extend([kind.into(), Cell::from(identity)]);
        }
        rows.push(row);
    }
    rows
}

pub(super) fn certificates_table(part: &Value, width: Width) -> Rows {
    let mut rows = match width {
        Width::Narrow => Rows::new(&["TYPE", "SUBJECT", "SERIAL", "NOT AFTER", "ENDS"]),
        Width::Wide => Rows::new(&[
            "TYPE",
            "SUBJECT",
            "SERIAL",
            "NOT AFTER",
            "ENDS",
            "NOT BEFORE",
            "ISSUER",
            "SHA-256",
        ]),
    };
    let now = time::now();
    for one in items(part) {
        let end = one["notAfter"].as_i64().unwrap_or_default();
        let tone = if end > now { Tone::Plain } else { Tone::Bad };
        let mut row = vec![
            Cell::from(text(one, "type")),
            text_or_dash(one, "subject").into(),
            text_or_dash(one, "serial").replace(':', "").into(),
            time::date(end).into(),
            Cell::toned(time::until(end, now), tone),
        ];
        if width == Width::Wide {
            row.push(time::date(one["notBefore"].as_i64().unwrap_or_default()).into());
            row.extend(["issuer", "sha256"].map(|field| Cell::from(text(one, field))));
        }
        rows.push(row);
    }
    rows
}

/// What a rule does with a request, with shares in percent.
fn target(rule: &Value) -> String {
    if let Some(status) = rule["redirect"]["status"].as_u64() {
        return format!("redirect {status}");
    }
    if let Some(status) = rule["answer"]["status"].as_u64() {
        return format!("answer {status} ({})", text(&rule["answer"], "by"));
    }
    if let Some(reason) = rule["broken"].as_str() {
        return format!("500 ({reason})");
    }
    let backends = list(rule, "backends");
    let weight = |backend: &Value| backend["weight"].as_u64().unwrap_or_default();
    let sum: u64 = backends.iter().map(weight).sum();
    let share = |backend: &Value| {
        let name = match backend["backend"].as_str() {
            Some(name) => name.to_owned(),
            None => format!("500 ({})", text(&backend["backend"], "broken")),
        };
        match (weight(backend) * 100).checked_div(sum) {
            _ if backends.len() == 1 => name,
            Some(percent) => format!("{name} {percent}%"),
            None => format!("{name} 0%"),
        }
    };
    match backends {
        [] => "500 (no backend)".to_owned(),
        _ => backends.iter().map(share).collect::<Vec<_>>().join(", "),
    }
}

/// The rule's own name, where it has one.
fn named(rule: &Value) -> String {
    match text(rule, "name") {
        "" => String::new(),
        name => format!(" ({name})"),
    }
}

/// Changes that a rule makes to messages.
fn changes(rule: &Value) -> String {
    let mut texts = Vec::new();
    for (field, message) in [
        ("requestHeaders", "request"),
        ("responseHeaders", "response"),
    ] {
        for kind in ["set", "add", "remove"] {
            for change in list(&rule[field], kind) {
                texts.push(format!("{message}: {kind} {}", header(change)));
            }
        }
    }
    for action in ["rewrite", "redirect"] {
        for part in ["scheme", "hostname", "port"] {
            if !rule[action][part].is_null() {
                texts.push(format!("{action} {part} {}", plain(&rule[action][part])));
            }
        }
        for kind in ["full", "prefix"] {
            if let Some(path) = rule[action]["path"][kind].as_str() {
                texts.push(format!("{action} path {kind} {path}"));
            }
        }
    }
    if texts.is_empty() {
        "-".to_owned()
    } else {
        texts.join("; ")
    }
}

/// `name` or `name=value`.
fn header(change: &Value) -> String {
    match items(change) {
        [name, value] => format!("{}={}", plain(name), plain(value)),
        _ => plain(change),
    }
}

/// A text without its quotes.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Seconds without a fraction of nothing: `1s`, `0.3s`.
pub(super) fn seconds(value: &Value) -> String {
    value
        .as_f64()
        .map_or_else(|| value.to_string(), |seconds| format!("{seconds}s"))
}
