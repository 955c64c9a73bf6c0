//! `MutualTLSPolicy`: whether the receiving side accepts plaintext.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::object::{Object, TargetRef, WorkloadSelector};

/// The receiving side's mTLS mode.
pub type MutualTLSPolicy = Object<MutualTLSPolicySpec>;

/// One of `selector` and `targetRefs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.selector) != (has(self.targetRefs) && size(self.targetRefs) > 0)",
    "message": "sets one of selector and targetRefs",
}]))]
pub struct MutualTLSPolicySpec {
    /// The policy's own Namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<TargetRef>,
    /// Workloads of the policy's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// Which.
    pub mode: MutualTLSMode,
    /// A date, `2026-12-31`, after which `check` fails; never changes the mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub until: Option<String>,
    /// Other modes by the workload's port number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64, "x-kubernetes-validations" = [{
        "rule": "self.all(port, port.matches('^[1-9][0-9]{0,4}$') && int(port) <= 65535)",
        "message": "each key is a port (1 to 65535)",
    }]))]
    pub ports: BTreeMap<String, PortMutualTLS>,
}

/// The mode of one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortMutualTLS {
    /// Which.
    pub mode: MutualTLSMode,
    /// A date, `2026-12-31`, after which `check` fails; never changes the mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub until: Option<String>,
}

/// From the least strict to the strictest.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum MutualTLSMode {
    /// Plaintext is accepted and tunnels are too.
    Disabled,
    /// Both are accepted.
    Permissive,
    /// Plaintext is refused.
    Strict,
}
