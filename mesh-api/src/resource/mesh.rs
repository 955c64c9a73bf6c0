//! `Mesh`: mesh-wide settings, one object named `default`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::duration::Duration;
use crate::resource::locality::MeshLocalities;
use crate::resource::mtls::MutualTLSMode;
use crate::resource::object::Object;
use crate::resource::traffic::TrafficSections;

/// Mesh-wide settings.
pub type Mesh = Object<MeshSpec>;

/// Every field is optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(oldSelf.trustDomain) || (has(self.trustDomain) && self.trustDomain == oldSelf.trustDomain)",
    "message": "the trust domain of a running mesh cannot change yet",
}]))]
pub struct MeshSpec {
    /// The root of trust of every identity; `cluster.local` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub trust_domain: Option<String>,
    /// Names it was or will be known by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trust_domain_aliases: Vec<String>,
    /// The suffix of service names; `cluster.local` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_domain: Option<String>,
    #[serde(default, rename = "mutualTLS", skip_serializing_if = "Option::is_none")]
    /// The mode where no policy says otherwise; Strict where absent.
    pub mutual_tls: Option<MeshMutualTLS>,
    /// Certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<MeshIdentity>,
    /// Calls to what the mesh does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound: Option<MeshOutbound>,
    /// Which namespaces are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<serde_json::Value>,
    /// The body of a TrafficPolicy: defaults for everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficSections>,
    /// The body of a Telemetry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<serde_json::Value>,
    /// What policies with a locality preference go by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub localities: Option<MeshLocalities>,
}

/// The mesh's mTLS mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeshMutualTLS {
    /// Which.
    pub mode: MutualTLSMode,
}

/// Leaf certificates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeshIdentity {
    /// How long a leaf is valid; 24h where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf_lifetime: Option<Duration>,
    /// `ECDSA-P256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_algorithm: Option<String>,
}

/// Calls that leave a workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeshOutbound {
    /// Outside the mesh's ranges and names; Allow where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_destinations: Option<UnknownDestinations>,
    /// Addresses of the mesh, as CIDR; inside them, what is unknown is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<String>,
}

/// Calls to what the mesh does not know.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum UnknownDestinations {
    /// Pass them on.
    Allow,
    /// Refuse them.
    Deny,
}
