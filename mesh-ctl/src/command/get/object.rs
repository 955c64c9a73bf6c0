//! One object whole: as it is in force, with the status the control plane gives it.

use serde_json::{Value, json};

use crate::source::json::text_or_dash;

/// The object of the only row; a list of them if there are several.
pub(super) fn of(rows: &[Value]) -> Value {
    match rows {
        [one] => object(one),
        several => several.iter().map(object).collect(),
    }
}

fn object(row: &Value) -> Value {
    let mut object = match &row["object"] {
        Value::Null => json!({
            "kind": row["kind"],
            "metadata": { "namespace": row["namespace"], "name": row["name"] },
        }),
        object => object.clone(),
    };
    let file = text_or_dash(row, "file");
    let source = match row["line"].as_u64() {
        Some(line) if file != "-" => format!("{file}:{line}"),
        _ => "registration".to_owned(),
    };
    object["status"] = json!({
        "conditions": row["conditions"],
        "faults": row["faults"],
        "source": source,
        "stale": row["stale"],
    });
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_carries_its_status() {
        let row = json!({
            "kind": "Mesh", "name": "default", "file": "m.yaml", "line": 2, "stale": false,
            "conditions": [{"type": "Accepted"}], "faults": [],
            "object": {"kind": "Mesh", "spec": {}},
        });
        let object = of(std::slice::from_ref(&row));
        assert_eq!(object["status"]["source"], "m.yaml:2");
        assert_eq!(object["status"]["conditions"][0]["type"], "Accepted");
        assert_eq!(of(&[row.clone(), row]).as_array().map(Vec::len), Some(2));
    }
}
