//! One object: where its pod is, and what became of it.

use std::collections::BTreeMap;

use mesh_api::pod::label;
use mesh_control::inject::{self, Outcome, Refused, Settings, inject};
use serde_json::Value;

use crate::adoption::HOLDERS;
use crate::render::note;

/// Injects objects of files.
pub(super) struct Injector<'a> {
    settings: &'a Settings,
    root_hashes: &'a [String],
    namespace: &'a str,
    /// Labels of the namespaces that the files declare.
    labels: BTreeMap<String, BTreeMap<String, String>>,
}

/// What became of an object.
pub(super) struct Done {
    object: String,
    value: Value,
    outcome: Result<Told, Refused>,
}

enum Told {
    Injected(Vec<String>),
    LeftAlone(String),
}

impl<'a> Injector<'a> {
    /// With the namespaces that `documents` declare.
    pub(super) fn new(
        settings: &'a Settings,
        root_hashes: &'a [String],
        namespace: &'a mesh_api::name::Namespace,
        documents: &[Value],
    ) -> Self {
        let declared = documents.iter().filter(|one| one["kind"] == "Namespace");
        let labels = declared.map(|one| {
            let name = one["metadata"]["name"].as_str().unwrap_or_default();
            let labels = one["metadata"]["labels"].as_object().into_iter().flatten();
            let labels = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
            (name.to_owned(), labels.collect())
        });
        Self {
            settings,
            root_hashes,
            namespace: namespace.as_str(),
            labels: labels.collect(),
        }
    }

    /// Injects `document`; a list gives one answer for each of its items.
    pub(super) fn inject(&self, mut document: Value) -> Vec<Done> {
        let is_list = document["kind"]
            .as_str()
            .is_some_and(|k| k.ends_with("List"));
        if is_list && let Some(Value::Array(items)) = document.get_mut("items") {
            let items = std::mem::take(items);
            return items
                .into_iter()
                .flat_map(|item| self.inject(item))
                .collect();
        }
        vec![self.one(document)]
    }

    fn one(&self, mut value: Value) -> Done {
        let kind = value["kind"].as_str().unwrap_or_default().to_owned();
        let name = value["metadata"]["name"].as_str();
        let name = name.or(value["metadata"]["generateName"].as_str());
        let namespace = value["metadata"]["namespace"].as_str();
        let namespace = namespace.unwrap_or(self.namespace).to_owned();
        let object = format!("{kind} {namespace}/{}", name.unwrap_or("(no name)"));
        let holder = HOLDERS.iter().find(|(holder, _)| *holder == kind);
        let place = holder.and_then(|(_, pointer)| value.pointer_mut(pointer));
        let outcome = match place {
            Some(pod) => self.pod(pod, &namespace),
            None => Ok(Told::LeftAlone("it holds no pod".to_owned())),
        };
        Done {
            object,
            value,
            outcome,
        }
    }

    fn pod(&self, pod: &mut Value, namespace: &str) -> Result<Told, Refused> {
        let mut labels = self.labels.get(namespace).cloned().unwrap_or_default();
        // Who names a file asks for it.
        labels.insert(label::INJECT.to_owned(), "enabled".to_owned());
        let namespace = inject::Namespace {
            name: namespace.to_owned(),
            labels,
        };
        match inject(pod, &namespace, self.settings, self.root_hashes)? {
            Outcome::Unchanged(reason) => Ok(Told::LeftAlone(reason)),
            Outcome::Injected(injected) => {
                *pod = injected.pod;
                Ok(Told::Injected(injected.warnings))
            }
        }
    }
}

impl Done {
    pub(super) fn is_refused(&self) -> bool {
        self.outcome.is_err()
    }

    pub(super) fn into_value(self) -> Value {
        self.value
    }

    /// Says it, on standard error.
    pub(super) fn tell(&self) {
        match &self.outcome {
            Ok(Told::Injected(warnings)) => {
                note(&format!("{}: injected", self.object));
                for warning in warnings {
                    note(&format!("  warning: {warning}"));
                }
            }
            Ok(Told::LeftAlone(reason)) => note(&format!("{}: left alone: {reason}", self.object)),
            Err(refused) => {
                for fault in &refused.faults {
                    note(&format!("{}: refused: {fault}", self.object));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inject_all(documents: Vec<Value>) -> Vec<Done> {
        let (settings, hashes) = (Settings::default(), ["0a".repeat(32)]);
        let namespace = "demo".parse().unwrap();
        let injector = Injector::new(&settings, &hashes, &namespace, &documents);
        documents
            .into_iter()
            .flat_map(|d| injector.inject(d))
            .collect()
    }

    #[test]
    fn every_kind_that_holds_a_pod_gets_a_proxy() {
        for (kind, pointer) in HOLDERS {
            let spec = json!({ "containers": [{ "name": "app", "image": "app" }] });
            let mut document =
                json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": "a" } });
            match pointer {
                "" => document["spec"] = spec,
                "/spec/template" => document["spec"]["template"]["spec"] = spec,
                _ => document["spec"]["jobTemplate"]["spec"]["template"]["spec"] = spec,
            }
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": [document] });
            let done = inject_all(vec![list]).remove(0);
            assert!(matches!(done.outcome, Ok(Told::Injected(_))), "{kind}");
            let pod = done.value.pointer(pointer).unwrap();
            assert_eq!(
                pod["spec"]["initContainers"][1]["name"], "mesh-proxy",
                "{kind}"
            );
            assert_eq!(pod["metadata"]["labels"][label::PROXY], "sidecar", "{kind}");
        }
    }

    #[test]
    fn namespaces_of_the_files_count_and_other_kinds_stay() {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": "tight", "labels": { "pod-security.kubernetes.io/enforce": "restricted" } } });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "a", "namespace": "tight" },
            "spec": { "containers": [{ "name": "app" }] } });
        let done = inject_all(vec![namespace.clone(), pod]);
        assert!(matches!(done[0].outcome, Ok(Told::LeftAlone(_))));
        assert_eq!(done[0].value, namespace);
        let refused = done[1].outcome.as_ref().err().map(ToString::to_string);
        assert!(refused.unwrap().contains("--cni"));
    }
}
