//! What is installed, written beside it: version and values. May use `values`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::metadata;
use super::template::Template;

/// The name of the ConfigMap.
pub(crate) const RECORD: &str = "mesh-installed";

/// What an installation wrote about itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Record {
    /// The version installed.
    pub(crate) version: String,
    /// The values, as JSON.
    pub(crate) values: String,
}

/// The record itself. It is applied last: what it says is there.
pub(crate) fn template() -> Template {
    Template::always(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(RECORD, "mesh"),
        "data": { "version": mesh_api::version(), "values": "${json:.}" },
    }))
}

impl Record {
    /// The record that a ConfigMap holds; `None` if it is none.
    pub(crate) fn of(object: &Value) -> Option<Self> {
        serde_json::from_value(object.get("data")?.clone()).ok()
    }
}
