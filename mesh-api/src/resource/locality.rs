//! Where workloads run, and which endpoints their callers prefer for that.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a workload runs; the labels `topology.kubernetes.io/region` and `topology.kubernetes.io/zone` where absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalityField {
    /// The region.
    pub region: String,
    /// The zone of it, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// Which endpoints are preferred by where they and their caller are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalitySection {
    /// `Disabled` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<LocalityMode>,
    /// Fixed shares, which beat `mode` for callers in the places they name. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub weights: Vec<LocalityWeights>,
    /// With `PreferLocal`, which regions come after the caller's own, in order; those of the Mesh where absent. At
    /// most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub failover: Option<Vec<LocalityFailover>>,
}

/// Which endpoints are preferred.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum LocalityMode {
    /// Those of the caller's zone, then of its region, then by `failover`, then all others.
    PreferLocal,
    /// None.
    Disabled,
}

/// How callers of a place share out their requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalityWeights {
    /// Where the callers are: `region`, or `region/zone`, which beats it.
    pub from: String,
    /// The share of each place, `region` or `region/zone`: 1 to 10,000. Places without a good endpoint leave theirs to the
    /// others; places that are not named get nothing.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 64))]
    pub to: BTreeMap<String, i64>,
}

/// Where callers of a region go when their own is not enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalityFailover {
    /// The callers' region.
    pub from: String,
    /// The region they go to; of several with the same `from` the first comes first.
    pub to: String,
}

/// Mesh-wide settings of localities.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeshLocalities {
    /// Which regions come after the caller's own, where a policy with `PreferLocal` does not say. At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub failover: Vec<LocalityFailover>,
}
