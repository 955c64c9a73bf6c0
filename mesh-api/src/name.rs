//! Checked names: what is held is known to be well formed. May use nothing of this crate.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name that breaks its grammar, with the grammar as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not {expected}")]
pub struct BadName {
    value: String,
    expected: &'static str,
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:path, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                if $check(text) {
                    Ok(Self(text.into()))
                } else {
                    let value = text.chars().take(300).collect();
                    Err(BadName { value, expected: $expected })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

checked_text!(
    /// A Kubernetes namespace: an RFC 1123 label.
    Namespace, is_label, "a namespace (lower-case letters, digits and '-', at most 63)"
);
checked_text!(
    /// The name of an object: an RFC 1123 subdomain.
    Name, is_subdomain, "a name (lower-case letters, digits, '-' and '.', at most 253)"
);
checked_text!(
    /// A DNS host name in lower case without a trailing dot; `*.` may lead (Gateway API `Hostname`).
    Hostname, is_hostname, "a lower-case host name"
);
checked_text!(
    /// The root of trust an identity belongs to: the host part of a SPIFFE ID (SPIFFE-ID section 2.1).
    TrustDomain, is_trust_domain, "a trust domain (lower-case letters, digits, '-', '.' and '_', at most 255)"
);
checked_text!(
    /// A header field name in lower case (RFC 9110 section 5.1).
    HeaderName, is_header_name, "a header name in lower case"
);
checked_text!(
    /// A header field value that can be sent as it is (RFC 9110 section 5.5, visible ASCII and spaces).
    HeaderValue, is_header_value, "a header value (visible ASCII, inner spaces and tabs, at most 4096 bytes)"
);

checked_text!(
    /// A cookie's name: a token (RFC 6265 section 4.1.1).
    CookieName, is_cookie_name, "a cookie's name (letters, digits and !#$%&'*+-.^_`|~, at most 64)"
);
checked_text!(
    /// The path that a cookie is for (RFC 6265 section 4.1.2.4).
    CookiePath, is_cookie_path, "a cookie's path (/, then visible ASCII without ';', at most 256)"
);

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_hostname(text: &str) -> bool {
    is_subdomain(text.strip_prefix("*.").unwrap_or(text))
}

fn is_trust_domain(text: &str) -> bool {
    let inner =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
    (1..=255).contains(&text.len()) && text.bytes().all(inner)
}

fn is_cookie_name(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(token)
}

fn is_cookie_path(text: &str) -> bool {
    let inner = |b: u8| matches!(b, 0x21..=0x7e) && b != b';';
    text.starts_with('/') && text.len() <= 256 && text.bytes().all(inner)
}

fn is_header_name(text: &str) -> bool {
    let token = |b: u8| {
        b.is_ascii_lowercase()
            || b.is_ascii_digit()
            || matches!(
                b,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
            )
            || matches!(b, b'`' | b'|' | b'~')
    };
    (1..=256).contains(&text.len()) && text.bytes().all(token)
}

fn is_header_value(text: &str) -> bool {
    text.len() <= 4096
        && text
            .bytes()
            .all(|b| matches!(b, b' ' | b'\t' | 0x21..=0x7e))
        && text.trim_matches([' ', '\t']) == text
}

/// A TCP port, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Port(NonZeroU16);

impl Port {
    /// The port, or `None` for 0.
    pub const fn new(port: u16) -> Option<Self> {
        match NonZeroU16::new(port) {
            Some(port) => Some(Self(port)),
            None => None,
        }
    }

    /// The port as a number.
    pub const fn number(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u32> for Port {
    type Error = BadName;

    fn try_from(number: u32) -> Result<Self, BadName> {
        u16::try_from(number)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| BadName {
                value: number.to_string(),
                expected: "a port (1 to 65535)",
            })
    }
}

impl TryFrom<i32> for Port {
    type Error = BadName;

    fn try_from(number: i32) -> Result<Self, BadName> {
        u32::try_from(number)
            .map_err(|_| BadName {
                value: number.to_string(),
                expected: "a port (1 to 65535)",
            })
            .and_then(Self::try_from)
    }
}

impl From<Port> for u32 {
    fn from(port: Port) -> Self {
        Self::from(port.number())
    }
}

impl FromStr for Port {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName {
            value: text.into(),
            expected: "a port (1 to 65535)",
        };
        text.parse::<u32>()
            .map_err(|_| bad())
            .and_then(Self::try_from)
            .map_err(|_| bad())
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A workload's SPIFFE ID, `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity {
    /// The root of trust that vouches for it.
    pub trust_domain: TrustDomain,
    /// The namespace of its service account.
    pub namespace: Namespace,
    /// Its service account.
    pub service_account: Name,
}

impl FromStr for Identity {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let parse = || {
            let rest = text.strip_prefix("spiffe://")?;
            let mut parts = rest.split('/');
            let trust_domain = parts.next()?.parse().ok()?;
            let (ns, namespace) = (parts.next()?, parts.next()?.parse().ok()?);
            let (sa, service_account) = (parts.next()?, parts.next()?.parse().ok()?);
            (ns == "ns" && sa == "sa" && parts.next().is_none()).then_some(Self {
                trust_domain,
                namespace,
                service_account,
            })
        };
        parse().ok_or_else(|| BadName {
            value: text.chars().take(300).collect(),
            expected: "an identity (spiffe://<trust domain>/ns/<namespace>/sa/<service account>)",
        })
    }
}

impl TryFrom<String> for Identity {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.to_string()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trust_domain,
            namespace,
            service_account,
        } = self;
        write!(
            f,
            "spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"
        )
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A namespaced object of a kind known from the context, `namespace/name` as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName {
    /// The namespace it is in.
    pub namespace: Namespace,
    /// Its name there.
    pub name: Name,
}

impl ObjectName {
    /// `namespace/name`.
    pub fn new(namespace: Namespace, name: Name) -> Self {
        Self { namespace, name }
    }
}

impl FromStr for ObjectName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        text.split_once('/')
            .and_then(|(namespace, name)| {
                Some(Self::new(namespace.parse().ok()?, name.parse().ok()?))
            })
            .ok_or_else(|| BadName {
                value: text.into(),
                expected: "namespace/name",
            })
    }
}

impl TryFrom<String> for ObjectName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A destination: a port of a Service, `namespace/service:port` as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DestinationName {
    /// The Service.
    pub service: ObjectName,
    /// Its port, as clients dial it.
    pub port: Port,
}

impl DestinationName {
    /// `service:port`.
    pub fn new(service: ObjectName, port: Port) -> Self {
        Self { service, port }
    }

    /// The host that names its Service from any namespace, `service.namespace`.
    pub fn host(&self) -> String {
        format!("{}.{}", self.service.name, self.service.namespace)
    }
}

impl FromStr for DestinationName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        text.rsplit_once(':')
            .and_then(|(service, port)| Some(Self::new(service.parse().ok()?, port.parse().ok()?)))
            .ok_or_else(|| BadName {
                value: text.into(),
                expected: "namespace/service:port",
            })
    }
}

impl TryFrom<String> for DestinationName {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<DestinationName> for String {
    fn from(name: DestinationName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for DestinationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

impl fmt::Debug for DestinationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let good = |text: &str| text.parse::<Namespace>().is_ok();
        assert!(good("demo") && good("a-1") && good(&"a".repeat(63)));
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "é", &"a".repeat(64)] {
            assert!(!good(bad), "{bad}");
        }
        assert!("reviews.v1".parse::<Name>().is_ok() && "a..b".parse::<Name>().is_err());
        assert!(
            "*.example.com".parse::<Hostname>().is_ok() && "a*.com".parse::<Hostname>().is_err()
        );
        assert!("x-\u{7f}".parse::<HeaderName>().is_err() && "X-A".parse::<HeaderName>().is_err());
        assert!(" a".parse::<HeaderValue>().is_err() && "a\r\nb".parse::<HeaderValue>().is_err());
    }

    #[test]
    fn identities_and_destinations_read_back() {
        let id = "spiffe://cluster.local/ns/demo/sa/shop";
        assert_eq!(id.parse::<Identity>().unwrap().to_string(), id);
        for bad in [
            "spiffe://cluster.local/ns/demo",
            "spiffe://c/ns/d/sa/s/x",
            "https://c/ns/d/sa/s",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
        assert_eq!(
            "demo/catalog:80"
                .parse::<DestinationName>()
                .unwrap()
                .port
                .number(),
            80
        );
        assert!("demo/catalog:0".parse::<DestinationName>().is_err());
    }
}
