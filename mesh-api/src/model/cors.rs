//! Cross-origin rules (Gateway API 1.6 `HTTPCORSFilter`).

use std::fmt;
use std::str::FromStr;

use crate::name::HeaderName;

/// Which pages may read what a rule answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Any of these origins; empty: none.
    pub origins: Vec<OriginPattern>,
    /// Whether a request may carry credentials.
    pub credentials: bool,
    /// Methods beyond GET, HEAD and POST, exact.
    pub methods: Allowed<String>,
    /// Request fields beyond those that need no leave.
    pub headers: Allowed<HeaderName>,
    /// Response fields that a page may read beyond those that need no leave.
    pub expose: Allowed<HeaderName>,
    /// How long a browser may keep the answer to a preflight, in seconds.
    pub max_age: u32,
}

/// Names, or all there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed<T> {
    /// `*`.
    All,
    /// These.
    Listed(Vec<T>),
}

/// Origins that are allowed: `*`, or `scheme://host` with a port if it is not the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// `*`: every origin.
    All,
    /// Of one scheme and port.
    Of {
        /// True for `https`, false for `http`.
        is_https: bool,
        /// The host.
        host: HostPattern,
        /// The port.
        port: u16,
    },
}

/// Hosts of an origin, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `*`.
    All,
    /// `*.example.com`: what is left of the dot has one or more labels. Held with its leading dot.
    Below(String),
    /// One host.
    Exact(String),
}

/// Not an origin of the Gateway API's grammar (`CORSOrigin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not *, nor http:// or https:// with a host (which may start with *.) and perhaps a port"
)]
pub struct BadOrigin;

impl FromStr for OriginPattern {
    type Err = BadOrigin;

    fn from_str(text: &str) -> Result<Self, BadOrigin> {
        if text == "*" {
            return Ok(Self::All);
        }
        if text.len() > 253 {
            return Err(BadOrigin);
        }
        let (is_https, rest) = split_scheme(text).ok_or(BadOrigin)?;
        let (host, port) = split_port(rest, is_https).ok_or(BadOrigin)?;
        let host = host.to_ascii_lowercase();
        let host = match host.strip_prefix('*') {
            Some("") => HostPattern::All,
            Some(below) if below.strip_prefix('.').is_some_and(is_name) => {
                HostPattern::Below(below.to_owned())
            }
            None if is_name(&host) => HostPattern::Exact(host),
            _ => return Err(BadOrigin),
        };
        Ok(Self::Of {
            is_https,
            host,
            port,
        })
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Of {
            is_https,
            host,
            port,
        } = self
        else {
            return f.write_str("*");
        };
        f.write_str(if *is_https { "https://" } else { "http://" })?;
        match host {
            HostPattern::All => f.write_str("*")?,
            HostPattern::Below(below) => write!(f, "*{below}")?,
            HostPattern::Exact(host) => f.write_str(host)?,
        }
        if *port == own_port(*is_https) {
            Ok(())
        } else {
            write!(f, ":{port}")
        }
    }
}

impl OriginPattern {
    /// True if it takes in `origin`, the value of the field `Origin`.
    pub fn takes_in(&self, origin: &str) -> bool {
        let Self::Of {
            is_https,
            host,
            port,
        } = self
        else {
            return true;
        };
        let Some((given_https, rest)) = split_scheme(origin) else {
            return false;
        };
        let Some((given_host, given_port)) = split_port(rest, given_https) else {
            return false;
        };
        let fits = match host {
            HostPattern::All => true,
            HostPattern::Exact(host) => given_host.eq_ignore_ascii_case(host),
            HostPattern::Below(below) => {
                let at = given_host.len().checked_sub(below.len());
                at.filter(|at| *at > 0)
                    .and_then(|at| given_host.get(at..))
                    .is_some_and(|end| end.eq_ignore_ascii_case(below))
            }
        };
        fits && *is_https == given_https && *port == given_port
    }
}

fn split_scheme(text: &str) -> Option<(bool, &str)> {
    let https = text.strip_prefix("https://").map(|rest| (true, rest));
    https.or_else(|| text.strip_prefix("http://").map(|rest| (false, rest)))
}

/// Host and port; an IPv6 address is in brackets.
fn split_port(text: &str, is_https: bool) -> Option<(&str, u16)> {
    match text.rsplit_once(':') {
        Some((host, digits)) if !digits.ends_with(']') => {
            let is_number =
                (1..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            let port = digits.parse().ok().filter(|port| is_number && *port != 0)?;
            Some((host, port))
        }
        _ => Some((text, own_port(is_https))),
    }
}

fn own_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_by_scheme_host_and_port() {
        for (pattern, origin, expected) in [
            ("*", "https://a.example", true),
            ("*", "null", true),
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://A.example:443", true),
            ("https://a.example:443", "https://a.example", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:8443", false),
            ("https://a.example:8443", "https://a.example:8443", true),
            ("http://a.example", "http://a.example:80", true),
            ("https://*.example.com", "https://www.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*", "https://anything.at.all", true),
            ("https://*", "http://anything.at.all", false),
            ("https://*:8443", "https://a:8443", true),
            ("https://*", "null", false),
            ("https://*", "https://a:0", false),
            ("https://*", "https://a:x", false),
        ] {
            let pattern: OriginPattern = pattern.parse().unwrap();
            assert_eq!(pattern.takes_in(origin), expected, "{pattern} {origin}");
        }
    }

    #[test]
    fn patterns_keep_to_the_grammar_and_print_as_written() {
        for good in ["*", "https://a.example", "http://*.b:8080", "https://*"] {
            assert_eq!(good.parse::<OriginPattern>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "a.example",
            "ftp://a",
            "https://",
            "https://a/",
            "https://*a.example",
            "https://a.*.example",
            "https://a:0",
            "https://a:99999",
            "https://a:+80",
            "https://user@a",
        ] {
            assert_eq!(bad.parse::<OriginPattern>(), Err(BadOrigin), "{bad}");
        }
    }
}
