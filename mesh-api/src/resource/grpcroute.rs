//! `GRPCRoute` of the Gateway API 1.6 (`gateway.networking.k8s.io/v1`), experimental fields included.
//!
//! Filters, header conditions and backends are those of `HTTPRoute`. Fields that do not work yet are
//! here too, so that they are refused by name rather than as unknown.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::httproute::{HTTPBackendRef, HTTPHeaderMatch, HTTPRouteFilter, TextMatchType};
use crate::resource::object::Object;
use crate::resource::reference::ParentReference;
use crate::resource::session::SessionPersistence;

/// A set of rules for gRPC calls to its parents.
pub type GRPCRoute = Object<GRPCRouteSpec>;

/// Gateway API `GRPCRouteSpec`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GRPCRouteSpec {
    /// What the route applies to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parent_refs: Vec<ParentReference>,
    /// Hosts it matches at a Gateway; ignored for Service parents (GAMMA).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Its rules, at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<GRPCRouteRule>,
    /// Experimental: attach to default Gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_default_gateways: Option<String>,
}

/// Gateway API `GRPCRouteRule`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GRPCRouteRule {
    /// Names the rule for policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Any of these; none matches every call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<GRPCRouteMatch>,
    /// Changes to what matched: `RequestHeaderModifier`, `ResponseHeaderModifier`, `RequestMirror` or
    /// `ExtensionRef`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<HTTPRouteFilter>,
    /// Where it goes, by weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backend_refs: Vec<HTTPBackendRef>,
    /// Keeps a client on an endpoint, by a cookie; beats the `stickiness` of policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
}

/// Gateway API `GRPCRouteMatch`: all parts must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GRPCRouteMatch {
    /// On the call; any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<GRPCMethodMatch>,
    /// On metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HTTPHeaderMatch>,
}

/// Gateway API `GRPCMethodMatch`: at least one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GRPCMethodMatch {
    /// `Exact` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<TextMatchType>,
    /// The service with its package, `pricing.v1.Pricing`; any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The method; any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}
