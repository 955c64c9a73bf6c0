//! Settings in force, each with the field that set it.

use serde_json::{Map, Value, json};

use crate::render::{Cell, Rows, Tone, Width};
use crate::source::json::{items, list, text};

/// What a value with an origin is called in a dump.
const ORIGIN: &str = "origin";

/// Every setting of the receiving side, of destinations, of their rules and of their backends.
pub(super) fn settings(dump: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    for side in list(dump, "inbound") {
        for port in list(side, "ports") {
            let scope = format!("inbound :{}", port["port"]);
            note(&mut found, &scope, port);
        }
    }
    for destination in list(dump, "destinations") {
        let name = text(destination, "name");
        note(&mut found, name, destination);
        for route in list(destination, "routes") {
            for rule in list(route, "rules") {
                let rule_name = format!("{name} {} rules[{}]", text(route, "name"), rule["index"]);
                note(&mut found, &rule_name, rule);
            }
        }
        for backend in list(destination, "backends") {
            let scope = format!("{name} to {}", text(backend, "name"));
            note(&mut found, &scope, backend);
        }
    }
    found
}

/// What was set; with every default where it is wide.
pub(super) fn table(part: &Value, width: Width) -> Rows {
    let mut rows = Rows::new(&["SCOPE", "SETTING", "VALUE", "ORIGIN"]);
    for setting in items(part) {
        let is_default = text(setting, ORIGIN) == "default";
        if is_default && width == Width::Narrow {
            continue;
        }
        let tone = if is_default { Tone::Faint } else { Tone::Plain };
        rows.push([
            Cell::from(text(setting, "scope")),
            text(setting, "setting").into(),
            value_text(text(setting, "setting"), &setting["value"]).into(),
            Cell::toned(text(setting, ORIGIN), tone),
        ]);
    }
    rows
}

/// Adds the values with an origin among the fields of `object`, one level down as well.
fn note(found: &mut Vec<Value>, scope: &str, object: &Value) {
    let fields = object.as_object().into_iter().flatten();
    for (name, value) in fields {
        if value.get(ORIGIN).is_some() {
            found.push(setting(scope, name, value));
        } else if name == "timeouts" {
            let inner = value.as_object().into_iter().flatten();
            let inner = inner.filter(|(_, value)| value.get(ORIGIN).is_some());
            found.extend(
                inner.map(|(field, value)| setting(scope, &format!("timeout.{field}"), value)),
            );
        }
    }
}

fn setting(scope: &str, name: &str, value: &Value) -> Value {
    json!({ "scope": scope, "setting": name, "value": value["value"], "origin": value[ORIGIN] })
}

fn value_text(setting: &str, value: &Value) -> String {
    let is_time = setting.starts_with("timeout")
        || matches!(
            setting,
            "connectTimeout" | "poolIdle" | "tcpIdle" | "maxConnectionAge"
        );
    match value {
        Value::Null => "none".to_owned(),
        Value::Number(_) if is_time => super::tables::seconds(value),
        Value::String(text) => text.clone(),
        Value::Object(fields) => fields_text(fields),
        other => other.to_string(),
    }
}

/// Fields that say something: what is off or empty is left out.
fn fields_text(fields: &Map<String, Value>) -> String {
    let texts: Vec<String> = fields
        .iter()
        .filter_map(|(name, value)| match value {
            Value::Bool(false) | Value::Null => None,
            Value::Bool(true) => Some(name.clone()),
            Value::Array(ranges) if ranges.is_empty() => None,
            Value::Array(ranges) => {
                let ranges: Vec<String> = ranges.iter().map(range_text).collect();
                Some(format!("{name} {}", ranges.join(",")))
            }
            Value::String(text) => Some(format!("{name} {text}")),
            other => Some(format!("{name} {other}")),
        })
        .collect();
    texts.join(", ")
}

fn range_text(range: &Value) -> String {
    match items(range) {
        [from, to] if from == to => from.to_string(),
        [from, to] => format!("{from}-{to}"),
        _ => range.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_their_scope_and_origin() {
        let sourced = |value: Value, origin: &str| json!({ "value": value, "origin": origin });
        let by = "TrafficPolicy demo/a spec.timeout.request";
        let dump = json!({
            "inbound": [{"ports": [{"port": 80, "mutualTLS": sourced("Strict".into(), "default")}]}],
            "destinations": [{
                "name": "demo/a:80",
                "timeouts": {"request": sourced(json!(1.5), by), "perTry": sourced(Value::Null, "default")},
                "retry": sourced(json!({"attempts": 2, "reset": true, "perTryTimeout": false,
                    "statuses": [[502, 504], [429, 429]]}), "HTTPRoute demo/a spec.rules[0].retry"),
            }],
        });
        let part = Value::Array(settings(&dump));
        assert_eq!(items(&part).len(), 4);
        assert_eq!(
            table(&part, Width::Narrow).to_text(),
            "SCOPE      SETTING          VALUE                                   ORIGIN\n\
             demo/a:80  retry            attempts 2, reset, statuses 502-504,429  HTTPRoute demo/a spec.rules[0].retry\n\
             demo/a:80  timeout.request  1.5s                                    TrafficPolicy demo/a spec.timeout.request\n"
                .replace("VALUE   ", "VALUE    ").replace("1.5s   ", "1.5s    ")
        );
        let wide = table(&part, Width::Wide).to_text();
        assert!(wide.contains("inbound :80"), "{wide}");
        assert!(wide.contains("none"), "{wide}");
    }
}
