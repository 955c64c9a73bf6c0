//! A user's values over a profile's defaults: files, then `--set`, the later before the earlier.
//! May use `values`.

use mesh_api::error::Invalid;
use mesh_api::resource::nearest;
use serde_json::{Map, Value};

use super::values::{Profile, Values};

/// Where keys are the user's own: labels, resources.
const FREE: [&str; 5] = [
    "control.nodeSelector",
    "control.resources.requests",
    "control.resources.limits",
    "cni.resources.requests",
    "cni.resources.limits",
];

/// The values of `profile`, changed by each of `layers` in turn. Without one, the last layer that
/// names a profile decides.
///
/// # Errors
/// Every unknown key, and every value of a wrong type or out of range.
pub(crate) fn values(profile: Option<Profile>, layers: &[Value]) -> Result<Values, Vec<Invalid>> {
    let named = layers.iter().rev().find_map(|layer| layer.get("profile"));
    let profile = match (profile, named) {
        (Some(profile), _) => profile,
        (None, None) => Profile::default(),
        (None, Some(named)) => serde_json::from_value(named.clone())
            .map_err(|error| vec![Invalid::new("profile", error.to_string())])?,
    };
    let mut tree = Values::of(profile).tree();
    let mut faults = Vec::new();
    for layer in layers {
        match layer {
            Value::Null => {}
            Value::Object(fields) => merge(&mut tree, fields, "", &mut faults),
            _ => faults.push(Invalid::new("", "values must be a map of keys")),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    tree["profile"] = profile.as_str().into();
    let values: Values =
        serde_json::from_value(tree).map_err(|error| vec![Invalid::new("", error.to_string())])?;
    match values.faults() {
        faults if faults.is_empty() => Ok(values),
        faults => Err(faults),
    }
}

/// The layer that `--set path=value` is. A text is taken as a number or a switch only where the
/// default is one.
///
/// # Errors
/// No `=`, or a key that there is not.
pub(crate) fn assignment(text: &str) -> Result<Value, Invalid> {
    let (path, given) = text
        .split_once('=')
        .ok_or_else(|| Invalid::new(text, "must be key=value"))?;
    let keys = keys(path);
    let tree = Values::of(Profile::Default).tree();
    let mut default = Some(&tree);
    for key in &keys {
        default = default.and_then(|found| found.get(key));
    }
    let value = match default {
        Some(Value::String(_)) | None => Value::String(given.to_owned()),
        Some(_) => serde_json::from_str(given).unwrap_or_else(|_| Value::String(given.to_owned())),
    };
    let nested = keys.into_iter().rev().fold(value, |inner, key| {
        Value::Object(Map::from_iter([(key, inner)]))
    });
    Ok(nested)
}

/// The keys of a path; a dot that belongs to a key is written `\.`.
fn keys(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut is_escaped = false;
    for next in path.chars() {
        match (next, keys.last_mut()) {
            ('\\', _) if !is_escaped => {
                is_escaped = true;
                continue;
            }
            ('.', _) if !is_escaped => keys.push(String::new()),
            (_, Some(key)) => key.push(next),
            (_, None) => {}
        }
        is_escaped = false;
    }
    keys
}

fn merge(tree: &mut Value, layer: &Map<String, Value>, path: &str, faults: &mut Vec<Invalid>) {
    let Some(known) = tree.as_object_mut() else {
        return;
    };
    for (key, given) in layer {
        let place = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        if FREE.contains(&path) {
            match given {
                Value::Null => drop(known.remove(key)),
                Value::Object(_) | Value::Array(_) => {
                    faults.push(Invalid::new(place, "must be one text"));
                }
                Value::String(text) => drop(known.insert(key.clone(), text.clone().into())),
                other => drop(known.insert(key.clone(), other.to_string().into())),
            }
            continue;
        }
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let Some(default) = known.get(key) else {
            faults.push(unknown(&place, key, &names));
            continue;
        };
        match (default, given) {
            (Value::Object(_), Value::Object(fields)) => {
                if let Some(inner) = known.get_mut(key) {
                    merge(inner, fields, &place, faults);
                }
            }
            (default, given) if kind(default) == kind(given) => {
                known.insert(key.clone(), given.clone());
            }
            (default, given) => {
                let reason = format!("must be {}, not {given}", kind(default));
                faults.push(Invalid::new(place, reason));
            }
        }
    }
}

fn unknown(place: &str, key: &str, names: &[&str]) -> Invalid {
    let hint = nearest(key, names).map_or_else(
        || format!("there are {}", names.join(", ")),
        |near| format!("did you mean {near}?"),
    );
    Invalid::new(place, format!("is no value of the mesh; {hint}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        // Every number of ours counts something.
        Value::Number(number) if number.is_u64() => "a whole number",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(texts: &[&str]) -> Result<Values, Vec<String>> {
        let layers: Vec<Value> = texts.iter().map(|text| assignment(text).unwrap()).collect();
        let texts = |faults: Vec<Invalid>| faults.iter().map(ToString::to_string).collect();
        values(None, &layers).map_err(texts)
    }

    #[test]
    fn the_later_layer_wins() {
        let layers = [
            json!({"control": {"replicas": 5, "logLevel": "debug"}}),
            json!({"control": {"replicas": 4}}),
            json!({"control": {"resources": {"limits": {"memory": null, "cpu": 1}}}}),
        ];
        let values = values(Some(Profile::Ha), &layers).unwrap();
        assert_eq!(
            (values.control.replicas, &*values.control.log_level),
            (4, "debug")
        );
        assert_eq!(
            values.control.resources.limits,
            [("cpu".into(), "1".into())].into()
        );
    }

    #[test]
    fn an_assignment_is_of_the_type_of_its_default() {
        let values = set(&[
            "image.tag=1.10",
            "control.replicas=3",
            "cni.enabled=true",
            "control.nodeSelector.kubernetes\\.io/arch=amd64",
            "image.pullSecrets=[{\"name\":\"a\"}]",
        ])
        .unwrap();
        assert_eq!((&*values.image.tag, values.control.replicas), ("1.10", 3));
        assert!(values.cni.enabled);
        assert_eq!(values.control.node_selector["kubernetes.io/arch"], "amd64");
        assert_eq!(values.image.pull_secrets.len(), 1);
    }

    #[test]
    fn what_is_unknown_or_of_a_wrong_type_is_refused_with_its_path() {
        for (texts, expected) in [
            (
                &["control.replica=1"][..],
                "control.replica: is no value of the mesh; did you mean replicas?",
            ),
            (
                &["control.replicas=many"],
                "control.replicas: must be a whole number, not \"many\"",
            ),
            (
                &["zzz=1"],
                "zzz: is no value of the mesh; there are clusterDomain, cni, control, image, profile, proxy, trustDomain, webhook",
            ),
            (&["control=1"], "control: must be a map, not 1"),
            (&["control.replicas=99"], "control.replicas: must be 1 to 9"),
            (
                &["control.replicas=-1"],
                "control.replicas: must be a whole number, not -1",
            ),
        ] {
            let faults = set(texts).unwrap_err();
            assert_eq!(faults, [expected], "{texts:?}");
        }
        assert!(assignment("a").is_err());
    }
}
