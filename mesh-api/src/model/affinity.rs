//! What of a request picks its backend or endpoint, so that a user stays where they are.

use std::fmt;
use std::time::Duration;

use crate::name::{CookieName, CookiePath, HeaderName};

/// A part of a request by which it is kept together with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The value of a header field.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(Cookie),
    /// The value of a query parameter, by its exact name.
    Query(String),
    /// The address of the calling workload.
    SourceIp,
    /// The identity of the calling workload.
    Identity,
}

/// A cookie that holds a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: CookieName,
    /// How the proxy makes one for a request without it; `None`: it makes none.
    pub issue: Option<CookieTerms>,
}

/// How a cookie is made (RFC 6265 section 4.1). It is always `HttpOnly`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieTerms {
    /// Its `Max-Age`; `None`: it ends with the client's session.
    pub ttl: Option<Duration>,
    /// Its `Path`.
    pub path: CookiePath,
    /// Its `SameSite`.
    pub same_site: SameSite,
    /// Whether it is `Secure`: sent over HTTPS only.
    pub secure: bool,
}

/// To which requests from other sites a browser attaches a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// To none.
    Strict,
    /// To those that follow a link.
    #[default]
    Lax,
    /// To all; it must be `Secure`.
    None,
}

impl SameSite {
    /// As the attribute says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// Keeps a user on a backend of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stickiness {
    /// By what.
    pub by: KeySource,
    /// How far.
    pub scope: Scope,
}

/// What a user is kept on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// On a backend: a version.
    #[default]
    Backend,
    /// On an endpoint of it as well.
    Endpoint,
}

impl Scope {
    /// As a policy says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "Backend",
            Self::Endpoint => "Endpoint",
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(cookie) => write!(f, "cookie {}", cookie.name),
            Self::Query(name) => write!(f, "query {name}"),
            Self::SourceIp => f.write_str("sourceIP"),
            Self::Identity => f.write_str("identity"),
        }
    }
}
