//! Our filters of routes: `RouteMatch` and `DirectResponse`, named by a rule's filters of type
//! `ExtensionRef`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::httproute::TextMatchType;
use crate::resource::object::{Object, WorkloadSelector};

/// Narrows each rule that names it: a request must meet all of its conditions beyond a match of the rule.
pub type RouteMatch = Object<RouteMatchSpec>;

/// At least one condition; all of them must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.cookie) || has(self.sourceWorkloads) || has(self.sourceNamespaces) || has(self.port)",
        "message": "has no condition",
    },
]))]
pub struct RouteMatchSpec {
    /// The request carries this cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieMatch>,
    /// The caller is one of these workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_workloads: Option<WorkloadSelector>,
    /// The caller is in one of these namespaces, at most 64; any where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub source_namespaces: Vec<String>,
    /// The Service's port that was called, 1 to 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i64>,
}

/// A condition on a cookie. Of several cookies of the name the first counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CookieMatch {
    /// `Exact` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<TextMatchType>,
    /// The cookie's name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// What to compare with; any value where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub value: Option<String>,
}

/// Answers what the rule takes in, instead of a backend.
pub type DirectResponse = Object<DirectResponseSpec>;

/// The answer. Fields of its head are added by a `ResponseHeaderModifier` of the rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DirectResponseSpec {
    /// 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status: i64,
    /// The content, at most 65536 bytes; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub body: Option<String>,
    /// What the content is; `text/plain; charset=utf-8` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub content_type: Option<String>,
}
