//! Pods in and out, as files: `tests/inject/<case>.in.yaml` and `<case>.out.yaml`. With `MESH_UPDATE`
//! set, what comes out is written; review reads the difference.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    namespace: NamespaceCase,
    #[serde(default)]
    settings: Settings,
    pod: Value,
}

#[derive(Deserialize)]
struct NamespaceCase {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize, Default, PartialEq, Debug)]
struct Told {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unchanged: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<Value>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inject")
}

fn read(path: &Path) -> Case {
    let text = fs::read_to_string(path).unwrap();
    let case = serde_saphyr::from_str(&text);
    case.unwrap_or_else(|error| unreachable!("{}: {error}", path.display()))
}

fn hashes() -> Vec<String> {
    vec!["0a".repeat(32)]
}

fn tell(case: &Case) -> Told {
    let namespace = Namespace {
        name: case.namespace.name.clone(),
        labels: case.namespace.labels.clone(),
    };
    let mut told = Told::default();
    match inject(&case.pod, &namespace, &case.settings, &hashes()) {
        Err(refused) => {
            told.refused = refused.faults.iter().map(ToString::to_string).collect();
        }
        Ok(Outcome::Unchanged(reason)) => told.unchanged = Some(reason),
        Ok(Outcome::Injected(injected)) => {
            let again = inject(&injected.pod, &namespace, &case.settings, &hashes());
            assert!(matches!(again, Ok(Outcome::Unchanged(_))), "{again:?}");
            told.warnings = injected.warnings;
            told.pod = Some(injected.pod);
        }
    }
    told
}

#[test]
fn pods_come_out_as_written() {
    let update = std::env::var_os("MESH_UPDATE").is_some();
    let entries = fs::read_dir(folder()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let cases: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().ends_with(".in.yaml"))
        .collect();
    assert!(cases.len() >= 8, "{cases:?}");
    for path in cases {
        let out = path.to_string_lossy().replace(".in.yaml", ".out.yaml");
        let text = serde_saphyr::to_string(&tell(&read(&path))).unwrap();
        if update {
            fs::write(&out, text).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&out).unwrap_or_default();
        assert_eq!(text, expected, "{out}; MESH_UPDATE=1 writes what comes out");
    }
}

#[test]
fn the_api_servers_defaults_and_a_mirrored_image_change_nothing() {
    let case = read(&folder().join("probes.in.yaml"));
    let mut pod = tell(&case).pod.unwrap();
    let proxy = &mut pod["spec"]["initContainers"][1];
    proxy["terminationMessagePath"] = json!("/dev/termination-log");
    proxy["readinessProbe"]["successThreshold"] = json!(1);
    proxy["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = json!("v1");
    proxy["image"] = json!("mirror.example/mesh-proxy:1");
    pod["spec"]["volumes"][0]["projected"] = json!({ "defaultMode": 420 });
    let again = tell(&Case { pod, ..case });
    assert!(again.unchanged.is_some(), "{again:?}");
}

#[test]
fn the_proxy_comes_first_again_after_another_webhook() {
    let case = read(&folder().join("plain.in.yaml"));
    let mut pod = tell(&case).pod.unwrap();
    let list = pod["spec"]["initContainers"].as_array_mut().unwrap();
    list.insert(0, json!({ "name": "other", "restartPolicy": "Always" }));
    let again = tell(&Case { pod, ..case }).pod.unwrap();
    let list = again["spec"]["initContainers"].as_array().unwrap();
    let names: Vec<&str> = list.iter().map(name_of).collect();
    assert_eq!(names, ["mesh-init", "mesh-proxy", "other"]);
}

#[test]
fn the_node_finds_in_the_pod_what_the_installation_leaves_out() {
    let mut case = read(&folder().join("cni.in.yaml"));
    let said = annotation::EXCLUDE_OUTBOUND_PORTS;
    case.pod["metadata"]["annotations"] = json!({ said: "3306, 25" });
    case.settings.exclude.outbound_ports = vec![123];
    let pod = tell(&case).pod.unwrap();
    assert_eq!(pod["metadata"]["annotations"][said], "25,123,3306");
}

#[test]
fn what_is_no_pod_is_refused_and_not_touched() {
    let namespace = Namespace {
        name: "demo".to_owned(),
        labels: [(label::INJECT.to_owned(), "enabled".to_owned())].into(),
    };
    for bad in [
        json!(null),
        json!([]),
        json!({ "spec": 1 }),
        json!({ "spec": { "containers": {} } }),
        json!({ "spec": { "containers": [1] } }),
        json!({ "spec": { "containers": [{ "name": "" }] } }),
        json!({ "metadata": { "labels": [] }, "spec": { "containers": [] } }),
        json!({ "metadata": 7, "spec": { "containers": [] } }),
    ] {
        let outcome = inject(&bad, &namespace, &Settings::default(), &hashes());
        assert!(outcome.is_err(), "{bad}: {outcome:?}");
    }
    let good = json!({ "spec": { "containers": [{ "name": "a" }] } });
    assert!(inject(&good, &namespace, &Settings::default(), &[]).is_err());
}
