//! The node's list of plug-ins with ours at its end, in a file of our own that sorts before the others.
//!
//! The runtime takes the first file of the folder. The others stay as they are, so that taking ours away
//! is all it takes to leave. Pure.

use mesh_cni::PLUGIN;
use serde_json::{Map, Value, json};

/// Our file.
pub(super) const FILE: &str = "00-mesh-cni.conflist";

/// A list that cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ChainError {
    #[error("it is not JSON: {0}")]
    Json(String),
    #[error("it names no plug-in")]
    Empty,
}

/// The file that the runtime would take without ours.
pub(super) fn first<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let ends = [".conflist", ".conf", ".json"];
    let others = names.into_iter().filter(|name| *name != FILE);
    others
        .filter(|name| ends.iter().any(|end| name.ends_with(end)))
        .min()
}

/// The list of `text`, one plug-in or several, with ours at its end.
///
/// # Errors
/// It is no list of plug-ins.
pub(super) fn chained(text: &str) -> Result<String, ChainError> {
    let value: Value = serde_json::from_str(text).map_err(|e| ChainError::Json(e.to_string()))?;
    let Value::Object(mut list) = value else {
        return Err(ChainError::Empty);
    };
    if !list.contains_key("plugins") {
        list = wrapped(&list);
    }
    let Some(Value::Array(plugins)) = list.get_mut("plugins") else {
        return Err(ChainError::Empty);
    };
    plugins.retain(|plugin| plugin["type"] != PLUGIN);
    if plugins.is_empty() {
        return Err(ChainError::Empty);
    }
    plugins.push(json!({ "type": PLUGIN }));
    Ok(format!("{:#}\n", Value::Object(list)))
}

/// A single plug-in as a list. Its name stays: address pools are kept by it.
fn wrapped(plugin: &Map<String, Value>) -> Map<String, Value> {
    let mut list = Map::new();
    for shared in ["name", "cniVersion"] {
        if let Some(value) = plugin.get(shared) {
            list.insert(shared.to_owned(), value.clone());
        }
    }
    if plugin.contains_key("type") {
        list.insert("plugins".to_owned(), json!([plugin]));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_last_and_once() {
        let list = r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge"},{"type":"portmap"}]}"#;
        let once = chained(list).unwrap();
        let value: Value = serde_json::from_str(&once).unwrap();
        assert_eq!(value["name"], "net");
        assert_eq!(value["plugins"][2]["type"], "mesh-cni");
        assert_eq!(chained(&once).unwrap(), once);
        let single = chained(r#"{"cniVersion":"0.4.0","name":"net","type":"bridge"}"#).unwrap();
        let value: Value = serde_json::from_str(&single).unwrap();
        assert_eq!(
            (&value["name"], &value["cniVersion"]),
            (&json!("net"), &json!("0.4.0"))
        );
        assert_eq!(value["plugins"].as_array().unwrap().len(), 2);
        for bad in ["", "[]", "{}", r#"{"plugins":[]}"#, r#"{"plugins":7}"#] {
            assert!(chained(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_of_the_others_is_chained() {
        let names = [FILE, "20-b.conflist", "10-a.conf", "README", "05-x.bak"];
        assert_eq!(first(names), Some("10-a.conf"));
        assert_eq!(first([FILE]), None);
    }
}
