//! `AuthorizationPolicy`: who may call a workload.
//!
//! The schema is whole; fields that look into requests do not work yet and are refused by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::object::{Object, TargetRef, WorkloadSelector};

/// Who may call a workload. All policies that apply are evaluated, and Deny wins.
pub type AuthorizationPolicy = Object<AuthorizationPolicySpec>;

/// One of `selector` and `targetRefs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.selector) != (has(self.targetRefs) && size(self.targetRefs) > 0)",
        "message": "sets one of selector and targetRefs",
    },
    {
        "rule": "!has(self.action) || self.action != 'Deny' || (has(self.rules) && size(self.rules) > 0)",
        "message": "a Deny without rules would deny nothing",
    },
]))]
pub struct AuthorizationPolicySpec {
    /// The policy's own Namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<TargetRef>,
    /// Workloads of the policy's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// What becomes of a call that a rule takes in; Allow where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<AuthorizationAction>,
    /// Whether it is done or only counted; Enforce where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
    /// Any of these; an Allow without rules allows nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub rules: Vec<AuthorizationRule>,
}

/// What becomes of a call.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum AuthorizationAction {
    /// It passes; where a workload has any such policy, only what one of them takes in passes.
    Allow,
    /// It is refused, whatever else allows it.
    Deny,
}

/// Whether a policy is in force.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Enforcement {
    /// It is.
    Enforce,
    /// What it would refuse passes and is counted.
    Audit,
}

/// All of `from`, `to` and `when`; what is absent takes in everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationRule {
    /// Any of these callers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub from: Vec<Caller>,
    /// Any of these operations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub to: Vec<Operation>,
    /// All of these conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<serde_json::Value>,
}

/// Callers: each list that is given has one of its values, and `not` does not hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Caller {
    /// SPIFFE IDs, `spiffe://cluster.local/ns/web/sa/shop`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub identities: Vec<String>,
    /// Namespaces of the mesh's own trust domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub namespaces: Vec<String>,
    /// Addresses, as CIDR.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_blocks: Vec<String>,
    /// Subjects of tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_principals: Vec<String>,
    /// Callers that it does not take in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not: Option<NotCaller>,
}

/// Callers that are left out: a value of any list is enough.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotCaller {
    /// SPIFFE IDs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub identities: Vec<String>,
    /// Namespaces of the mesh's own trust domain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub namespaces: Vec<String>,
    /// Addresses, as CIDR.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_blocks: Vec<String>,
    /// Subjects of tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub request_principals: Vec<String>,
}

/// Operations: each list that is given has one of its values, and `not` does not hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operation {
    /// The workload's own port numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub ports: Vec<i64>,
    /// Hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// gRPC services or methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Operations that it does not take in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not: Option<NotOperation>,
}

/// Operations that are left out: a value of any list is enough.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotOperation {
    /// The workload's own port numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub ports: Vec<i64>,
    /// Hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// gRPC services or methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
}
