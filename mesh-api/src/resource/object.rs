//! Parts that our kinds share: the envelope, labels, targets.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Labels of a workload, by which Services and policies select it.
pub type Labels = BTreeMap<String, String>;

/// The envelope of a kind: `apiVersion`, `kind`, `metadata`, `spec`, `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Object<S> {
    /// The group and version of `kind`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
    /// Name, namespace, labels, age.
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: S,
    /// What was made of it: written by controllers, never read here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<serde_json::Value>,
}

/// What a policy applies to, in the policy's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!(has(self.sectionName) && has(self.port))",
        "message": "sets one of sectionName and port",
    },
    {
        "rule": "!has(self.port) || self.kind == 'Service'",
        "message": "port is for a Service only",
    },
]))]
pub struct TargetRef {
    /// The target's API group; follows from `kind` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The target's kind.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// The target's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// A rule of a route, or a port of a Service, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// A port of a Service, by number (1 to 65535).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u32>,
}

/// Workloads by their labels: all of them must be equal; none given selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSelector {
    /// Labels that a workload must carry.
    #[serde(default)]
    pub match_labels: Labels,
}
