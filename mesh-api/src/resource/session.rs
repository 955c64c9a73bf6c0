//! Session persistence of the Gateway API (GEP-1619), experimental in 1.6.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::duration::Duration;

/// Gateway API `SessionPersistence`: a client stays on an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionPersistence {
    /// The name of the cookie; `mesh-session` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub session_name: Option<String>,
    /// How long a client keeps the cookie, in whole seconds; with `lifetimeType: Permanent`, which needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_timeout: Option<Duration>,
    /// How long a session may go unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Duration>,
    /// `Cookie` where absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<SessionType>,
    /// More of the cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie_config: Option<CookieConfig>,
}

/// Gateway API `SessionPersistenceType`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum SessionType {
    /// By a cookie that the proxy makes.
    Cookie,
    /// By a header that the proxy makes.
    Header,
}

/// Gateway API `CookieConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CookieConfig {
    /// `Session` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_type: Option<LifetimeType>,
}

/// Gateway API `CookieLifetimeType`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum LifetimeType {
    /// As long as the client's session.
    Session,
    /// For `absoluteTimeout`.
    Permanent,
}
