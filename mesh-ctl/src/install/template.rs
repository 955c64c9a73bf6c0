//! Objects with holes: `${image.tag}` stands for the value at that path.
//!
//! | hole | what fills it |
//! |---|---|
//! | `${path}` as a whole text | the value itself: a number, a list, a map |
//! | `${path}` inside a text | its text |
//! | `${json:path}` | its JSON, in one line; the path `.` is all values |
//! | `${hash:path}` | ten digits of the SHA-256 of that JSON: part of a name that follows a value |
//! | `${path?yes:no}` | one of two texts, by a switch |
//!
//! May use nothing of this crate.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Hexadecimal digits of a hash: among the few ConfigMaps of a mesh no two are alike by chance.
pub(crate) const HASH_DIGITS: usize = 10;

/// An object with holes.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// The switch that it is there for; `None`: always there.
    pub(crate) when: Option<&'static str>,
    /// Its fields.
    pub(crate) body: Value,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// As it is.
    Text(&'a str),
    /// A value.
    Value(&'a str),
    /// A value as JSON.
    Json(&'a str),
    /// The hash of a value's JSON.
    Hash(&'a str),
    /// One of two texts.
    Switch {
        /// The switch.
        path: &'a str,
        /// The text if it is on.
        yes: &'a str,
        /// The text if it is off.
        no: &'a str,
    },
}

impl Template {
    /// An object that is always there.
    pub(crate) fn always(body: Value) -> Self {
        Self { when: None, body }
    }

    /// An object that is there if a switch is on.
    pub(crate) fn when(switch: &'static str, body: Value) -> Self {
        Self {
            when: Some(switch),
            body,
        }
    }

    /// The object for `values`; `None` if it is switched off.
    pub(crate) fn fill(&self, values: &Value) -> Option<Value> {
        let is_there = self.when.is_none_or(|path| is_on(values, path));
        is_there.then(|| fill(&self.body, values))
    }
}

/// The parts of a text, in order.
pub(crate) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        // A hole that never ends is text.
        let Some((hole, after)) = after.split_once('}') else {
            break;
        };
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        parts.push(self::hole(hole));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    parts
}

/// The value at a path of names with dots; `.` is the whole.
pub(crate) fn at<'a>(values: &'a Value, path: &str) -> &'a Value {
    let mut found = values;
    for name in path.split('.').filter(|name| !name.is_empty()) {
        found = &found[name];
    }
    found
}

fn hole(text: &str) -> Part<'_> {
    if let Some(path) = text.strip_prefix("json:") {
        return Part::Json(path);
    }
    if let Some(path) = text.strip_prefix("hash:") {
        return Part::Hash(path);
    }
    let switch = text.split_once('?').and_then(|(path, texts)| {
        let (yes, no) = texts.split_once(':')?;
        Some(Part::Switch { path, yes, no })
    });
    switch.unwrap_or(Part::Value(text))
}

fn is_on(values: &Value, path: &str) -> bool {
    at(values, path).as_bool().unwrap_or_default()
}

fn fill(body: &Value, values: &Value) -> Value {
    match body {
        Value::String(text) => fill_text(text, values),
        Value::Array(items) => items.iter().map(|item| fill(item, values)).collect(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, field)| (name.clone(), fill(field, values)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

fn fill_text(text: &str, values: &Value) -> Value {
    let parts = parts(text);
    if let [Part::Value(path)] = parts.as_slice() {
        return at(values, path).clone();
    }
    let filled = parts.iter().map(|part| match part {
        Part::Text(text) => (*text).to_owned(),
        Part::Value(path) => match at(values, path) {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        },
        Part::Json(path) => at(values, path).to_string(),
        Part::Hash(path) => hash(&at(values, path).to_string()),
        Part::Switch { path, yes, no } => (if is_on(values, path) { yes } else { no }).to_string(),
    });
    Value::String(filled.collect())
}

/// The first [`HASH_DIGITS`] hexadecimal digits of the SHA-256.
fn hash(text: &str) -> String {
    let digits = Sha256::digest(text.as_bytes());
    let digits = digits.iter().take(HASH_DIGITS / 2);
    let digits: Vec<String> = digits.map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn holes_are_filled() {
        let values = json!({"a": {"n": 3, "text": "x", "map": {"k": "v"}}, "on": true});
        for (body, expected) in [
            (json!("plain $ {a}"), json!("plain $ {a}")),
            (json!("${a.n}"), json!(3)),
            (json!("${a.map}"), json!({"k": "v"})),
            (json!("v${a.n}/${a.text}!"), json!("v3/x!")),
            (json!("[${json:a.map}]"), json!("[{\"k\":\"v\"}]")),
            (json!("${on?yes:no}"), json!("yes")),
            (json!("${off?yes:}"), json!("")),
            (
                json!(["${a.text}", {"f": "${a.n}"}]),
                json!(["x", {"f": 3}]),
            ),
            (json!("${open"), json!("${open")),
        ] {
            let template = Template::always(body.clone());
            assert_eq!(template.fill(&values), Some(expected), "{body}");
        }
        assert_eq!(Template::when("off", json!({})).fill(&values), None);
        assert!(Template::when("on", json!({})).fill(&values).is_some());
    }

    #[test]
    fn a_hash_follows_what_it_is_of() {
        let of = |values: Value| Template::always(json!("${hash:a}")).fill(&values).unwrap();
        let first = of(json!({"a": 1, "b": 1}));
        assert_eq!(first, of(json!({"a": 1, "b": 2})));
        assert_ne!(first, of(json!({"a": 2, "b": 1})));
        assert_eq!(first.as_str().map(str::len), Some(HASH_DIGITS));
    }
}
