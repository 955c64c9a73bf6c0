//! The definitions of our kinds. May use nothing of this crate.

use serde_json::json;

use super::labels;
use super::template::Template;

/// Every definition, as the control plane's types make it.
pub(crate) fn all() -> Vec<Template> {
    let made = mesh_control::crd::all();
    let mut made: Vec<_> = made.iter().map(|definition| json!(definition)).collect();
    made.sort_by_key(|definition| definition["metadata"]["name"].to_string());
    for definition in &mut made {
        definition["metadata"]["labels"] = labels("mesh");
    }
    made.into_iter().map(Template::always).collect()
}
