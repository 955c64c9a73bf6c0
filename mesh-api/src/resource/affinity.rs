//! What keeps a user on a version or an endpoint, as a `TrafficPolicy` says it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::duration::Duration;

/// Keeps a user on a backend of a rule, by weighted rendezvous: a change of weights moves only the share that must.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StickinessSection {
    /// By what of the request; by weight where it has none.
    pub by: KeyField,
    /// `Backend` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<ScopeField>,
}

/// What a user is kept on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ScopeField {
    /// On a backend: a version.
    Backend,
    /// On an endpoint of it as well, as long as that is there.
    Endpoint,
}

/// A part of a request; one member is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyField {
    /// The value of this header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The value of a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<CookieField>,
    /// The value of this query parameter, by its exact name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The address of the calling workload: each instance of a caller has an endpoint of its own.
    #[serde(default, rename = "sourceIP", skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<CallerField>,
    /// The identity of the calling workload: all instances of a caller share an endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<CallerField>,
}

/// Nothing more to say: `{}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallerField {}

/// A cookie. Where a request has none, the proxy makes one: random, `HttpOnly`, in `Set-Cookie` of the response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CookieField {
    /// Its name.
    pub name: String,
    /// How long a client keeps one that is made, in whole seconds; for its session where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// The path that one that is made is for; `/` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `Lax` where absent. `None` needs `secure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_site: Option<SameSiteField>,
    /// Whether one that is made is sent over HTTPS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure: Option<bool>,
    /// `WhenAbsent` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue: Option<IssueField>,
}

/// To which requests from other sites a browser attaches a cookie.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum SameSiteField {
    /// To none.
    Strict,
    /// To those that follow a link.
    Lax,
    /// To all.
    None,
}

/// Whether the proxy makes a cookie.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum IssueField {
    /// For a request without it.
    WhenAbsent,
    /// Not at all: the app makes it.
    Never,
}
