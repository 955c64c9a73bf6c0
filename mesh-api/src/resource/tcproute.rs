//! `TCPRoute` and `TLSRoute` of the Gateway API 1.6 (`gateway.networking.k8s.io/v1`).
//!
//! Fields that do not work yet are here too, so that they are refused by name rather than as unknown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::object::Object;
use crate::resource::reference::{BackendRef, ParentReference};

/// Where connections to its parents go.
pub type TCPRoute = Object<TCPRouteSpec>;

/// Where TLS connections to its parents go, by server name and without opening them.
pub type TLSRoute = Object<TLSRouteSpec>;

/// Gateway API `TCPRouteSpec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TCPRouteSpec {
    /// What the route applies to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// Experimental: attach to default Gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<String>,
    /// Its rule: exactly one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ConnectionRouteRule>,
}

/// Gateway API `TLSRouteSpec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TLSRouteSpec {
    /// What the route applies to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// Experimental: attach to default Gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<String>,
    /// Server names that it takes, at least one; `*.` stands for one or more labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Its rule: exactly one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<ConnectionRouteRule>,
}

/// Gateway API `TCPRouteRule`, `TLSRouteRule`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionRouteRule {
    /// Names the rule for policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where connections go, by weight: at least one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<BackendRef>,
}
