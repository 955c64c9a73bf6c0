//! Reading answers: fields that may be missing.

use serde_json::Value;

/// The items of a list; none if it is no list.
pub(crate) fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    items(&value[field])
}

/// The items of `value`; none if it is no list.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text; empty if it is missing or something else.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// A text, or `-`.
pub(crate) fn text_or_dash(value: &Value, field: &str) -> String {
    match text(value, field) {
        "" => "-".to_owned(),
        text => text.to_owned(),
    }
}

/// The texts of a list.
pub(crate) fn texts<'a>(value: &'a Value, field: &str) -> Vec<&'a str> {
    list(value, field)
        .iter()
        .filter_map(Value::as_str)
        .collect()
}
