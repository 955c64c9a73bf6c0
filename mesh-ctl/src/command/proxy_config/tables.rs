//! The parts of a dump as flat items, and as tables. Each item says where it comes from.

use serde_json::{Value, json};

use crate::render::{Cell, Rows, Tone, Width, time};
use crate::source::json::{items, list, text, text_or_dash, texts};

/// Every listener.
pub(super) fn listeners(dump: &Value) -> Vec<Value> {
    list(dump, "listeners").to_vec()
}

/// Every rule of every destination; a destination without routes has one that takes everything.
pub(super) fn routes(dump: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for destination in list(dump, "destinations") {
        let name = &destination["name"];
        for route in list(destination, "routes") {
            let kind = route["kind"].as_str().unwrap_or("HTTPRoute");
            for rule in list(route, "rules") {
                let place = format!(
                    "{kind} {} spec.rules[{}]",
                    text(route, "name"),
                    rule["index"]
                );
                found.push(within(
                    rule,
                    &[
                        ("destination", name),
                        ("route", &route["name"]),
                        ("origin", &place.into()),
                    ],
                ));
            }
        }
        if list(destination, "routes").is_empty() && text(destination, "state") == "present" {
            let backend = json!({ "backend": name, "weight": 1 });
            found.push(json!({
                "destination": name,
                "matches": ["everything"],
                "backends": [backend],
                "origin": service_of(text(destination, "name")),
            }));
        }
    }
    found
}

/// Every backend of every destination, with the number of its endpoints.
pub(super) fn backends(dump: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for destination in list(dump, "destinations") {
        for backend in list(destination, "backends") {
            let origin = service_of(text(backend, "name")).into();
            let outer = [("destination", &destination["name"]), ("origin", &origin)];
            let mut item = within(backend, &outer);
            item["endpoints"] = list(backend, "endpoints").len().into();
            found.push(item);
        }
    }
    found
}

/// Every endpoint of every backend, with its health as this proxy sees it.
pub(super) fn endpoints(dump: &Value) -> Vec<Value> {
    let ejected = texts(&dump["endpointHealth"], "ejected");
    let mut found = Vec::new();
    for destination in list(dump, "destinations") {
        for backend in list(destination, "backends") {
            for endpoint in list(backend, "endpoints") {
                let health = match text(endpoint, "address") {
                    address if ejected.contains(&address) => "ejected",
                    _ if endpoint["stale"] == true => "stale",
                    _ => "healthy",
                };
                let origin = match endpoint["workload"].as_str() {
                    Some(workload) => format!("Workload {workload} spec.address"),
                    None => "EndpointSlice".to_owned(),
                };
                found.push(within(
                    endpoint,
                    &[
                        ("destination", &destination["name"]),
                        ("backend", &backend["name"]),
                        ("health", &health.into()),
                        ("origin", &origin.into()),
                    ],
                ));
            }
        }
    }
    found
}

/// The leaf, what signed it, and the roots.
pub(super) fn certificates(dump: &Value) -> Vec<Value> {
    let held = &dump["certificates"];
    let chain = list(held, "chain").iter().enumerate();
    let chain = chain.map(|(index, one)| match index {
        0 => within(
            one,
            &[("type", &"leaf".into()), ("subject", &held["identity"])],
        ),
        _ => within(one, &[("type", &"intermediate".into())]),
    });
    let roots = list(held, "roots").iter();
    chain
        .chain(roots.map(|one| within(one, &[("type", &"root".into())])))
        .collect()
}

/// What names each item: an address, an object, a backend, a serial.
pub(super) fn names(part: &Value) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in items(part).iter().filter_map(name) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn name(item: &Value) -> Option<String> {
    let fields = ["address", "route", "name", "destination", "serial"];
    let mut texts = fields.iter().map(|field| text(item, field));
    // A setting is named by the object that set it.
    let name = match item.get("setting") {
        Some(_) if text(item, "origin") == "default" => return None,
        Some(_) => object_of(text(item, "origin")),
        None => texts.find(|text| !text.is_empty())?.to_owned(),
    };
    Some(if item.get("sha256").is_some() {
        name.replace(':', "")
    } else {
        name
    })
}

/// `TrafficPolicy demo/a spec.x` as `trafficpolicy/demo/a`.
fn object_of(origin: &str) -> String {
    let mut words = origin.split(' ');
    let (kind, object) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    format!("{}/{object}", kind.to_ascii_lowercase())
}

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

/// `namespace/service:port` as an origin.
fn service_of(destination: &str) -> String {
    match destination.rsplit_once(':') {
        Some((service, port)) => format!("Service {service} spec.ports[{port}]"),
        None => format!("Service {destination}"),
    }
}

fn within(item: &Value, outer: &[(&str, &Value)]) -> Value {
    let mut item = item.clone();
    for (field, value) in outer {
        item[*field] = (*value).clone();
    }
    item
}
