//! The definitions of our kinds, with the labels of an installation. May use nothing of this crate.

use serde_json::Value;

use super::labels;
use super::template::Template;

/// Every definition, in the order of their kinds.
pub(crate) fn all() -> Vec<Template> {
    let bodies = mesh_control::crd::all().into_iter().map(|definition| {
        // Fields of plain types: this cannot fail.
        let mut body = serde_json::to_value(definition).unwrap_or_default();
        body["metadata"]["labels"] = labels("mesh");
        if let Some(fields) = body.as_object_mut() {
            fields.retain(|name, field| name != "status" && *field != Value::Null);
        }
        body
    });
    bodies.map(Template::always).collect()
}
