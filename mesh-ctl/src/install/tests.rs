//! What holds for every set of values.

use mesh_control::bootstrap::Bootstrap;
use mesh_control::inject::{Mode, Settings};
use serde_json::Value;

use super::values::{Profile, Values};
use super::*;

/// Texts of an object, wherever they are.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, found)),
        _ => {}
    }
}

#[test]
fn no_hole_is_left_and_every_hole_leads_to_a_value() {
    let values = Values::of(Profile::Default).tree();
    let mut all = Vec::new();
    for template in templates() {
        texts(&template.body, &mut all);
    }
    for text in all {
        for part in template::parts(&text) {
            let path = match part {
                template::Part::Text(_) => continue,
                template::Part::Value(path)
                | template::Part::Json(path)
                | template::Part::Hash(path)
                | template::Part::Switch { path, .. } => path,
            };
            assert!(!template::at(&values, path).is_null(), "{path} in {text:?}");
        }
    }
}

#[test]
fn every_profile_renders_objects_that_are_ours() {
    for profile in Profile::ALL {
        let mut values = Values::of(profile);
        values.cni.enabled = true;
        let objects = render(&values);
        let mut names: Vec<String> = objects.iter().map(ToString::to_string).collect();
        assert_eq!(
            names.first().map(String::as_str),
            Some("Namespace mesh-system")
        );
        for object in &objects {
            let part_of = &object.body()["metadata"]["labels"]["app.kubernetes.io/part-of"];
            assert_eq!(part_of, "mesh", "{object}");
            assert!(
                object
                    .namespace()
                    .is_none_or(|namespace| namespace == NAMESPACE)
            );
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "each object once");
    }
}

#[test]
fn settings_of_the_control_plane_are_json_with_the_values_in_it() {
    let mut values = Values::of(Profile::Default);
    values.image.registry = "registry.example.com/m".into();
    let objects = render(&values);
    let config = objects
        .iter()
        .find(|object| object.name().starts_with("mesh-config-"));
    let data = &config.unwrap().body()["data"];
    let parse = |key: &str| serde_json::from_str::<Value>(data[key].as_str().unwrap()).unwrap();
    let bootstrap: Bootstrap = serde_json::from_value(parse("bootstrap.json")).unwrap();
    bootstrap.check().unwrap();
    assert_eq!(bootstrap.trust_domain.unwrap().as_str(), "cluster.local");
    let injection: Settings = serde_json::from_value(parse("injection.json")).unwrap();
    let image = format!("registry.example.com/m/mesh-proxy:{}", mesh_api::version());
    assert_eq!(injection.image, image);
    assert_eq!(injection.mode, Mode::Init);
    assert_eq!(injection.resources.cpu, "10m");
    let recorded = objects
        .last()
        .and_then(|object| record::Record::of(object.body()));
    let recorded: Values = serde_json::from_str(&recorded.unwrap().values).unwrap();
    assert_eq!(recorded, values);
}
