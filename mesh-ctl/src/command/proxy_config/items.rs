//! The parts of a dump as flat items, each with what it is in and where it comes from.

use serde_json::{Value, json};

use crate::source::json::{items, list, text, texts};

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
        for route in list(destination, "connectionRoutes") {
            found.push(connection(name, route));
        }
        let has_none = ["routes", "connectionRoutes"]
            .iter()
            .all(|kind| list(destination, kind).is_empty());
        if has_none && text(destination, "state") == "present" {
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

/// The rule of a route of connections.
fn connection(destination: &Value, route: &Value) -> Value {
    let names = texts(route, "hostnames").into_iter();
    let mut matches: Vec<String> = names.map(|name| format!("server name {name}")).collect();
    if matches.is_empty() {
        matches.push("every connection".to_owned());
    }
    let place = format!(
        "{} {} spec.rules[0]",
        text(route, "kind"),
        text(route, "name")
    );
    json!({
        "destination": destination,
        "route": route["name"],
        "name": route["ruleName"],
        "matches": matches,
        "backends": route["backends"],
        "retry": route["retry"],
        "origin": place,
    })
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
    // By the policy of a backend, which may judge an address unlike another's.
    let outliers = list(&dump["endpointHealth"], "outliers");
    let outlier = |backend: &Value, address: &str| {
        let is_same = |one: &&Value| one["backend"] == *backend && text(one, "address") == address;
        let found = outliers.iter().find(is_same)?;
        Some(match text(found, "cause") {
            "health-check" => "unhealthy",
            _ => "ejected",
        })
    };
    let mut found = Vec::new();
    for destination in list(dump, "destinations") {
        for backend in list(destination, "backends") {
            for endpoint in list(backend, "endpoints") {
                let out = outlier(&backend["name"], text(endpoint, "address"));
                let health = match text(endpoint, "address") {
                    _ if out.is_some() => out.unwrap_or_default(),
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
