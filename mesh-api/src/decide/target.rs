//! One form of a request target, so that the path that is matched and authorised is the path that is
//! forwarded (RFC 9112 section 3.2, RFC 3986 section 6.2.2).
//!
//! In the path, escapes of unreserved characters are decoded, other escapes are written in upper
//! case, and dot segments are removed; an escaped slash stays escaped, and `//` is not merged. What
//! apps read in different ways is refused: a `..` above the root, a broken escape, `%00`, control and
//! non-ASCII bytes, `\` and `#`. The query stays as received; only bytes that no URI may carry are
//! refused there.

use std::borrow::Cow;

/// A request target in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The scheme of an absolute-form target, as received.
    pub scheme: Option<&'a str>,
    /// The authority of an absolute-form target: it replaces the Host.
    pub authority: Option<&'a str>,
    /// The path, normal; `*` for the asterisk-form (the caller allows it for OPTIONS alone).
    /// Borrowed if it was normal as received.
    pub path: Cow<'a, str>,
    /// What follows `?`, as received.
    pub query: Option<&'a str>,
}

/// Why a target is refused (400).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// Neither a path, nor an `http` or `https` URI, nor `*`.
    #[error("the target is neither a path nor an http URI")]
    Form,
    /// The authority is empty or holds user information or a character no authority has.
    #[error("the target's authority is malformed")]
    Authority,
    /// A `%` without two hexadecimal digits.
    #[error("the path holds a broken escape")]
    Escape,
    /// `%00`.
    #[error("the path holds an escaped NUL")]
    Nul,
    /// A control, space or non-ASCII byte, `\` in the path, or `#`.
    #[error("the target holds a byte that is not allowed")]
    Byte,
    /// More `..` than segments.
    #[error("the path climbs above the root")]
    AboveRoot,
}

/// Takes a request target apart and normalises its path.
///
/// # Errors
/// Why it is refused.
pub fn normalise(target: &str) -> Result<Target<'_>, BadTarget> {
    if target == "*" {
        return Ok(whole(Cow::Borrowed("*"), None));
    }
    if target.starts_with('/') {
        return path_and_query(target);
    }
    let (scheme, rest) = target.split_once("://").ok_or(BadTarget::Form)?;
    if !(scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")) {
        return Err(BadTarget::Form);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if !is_authority(authority) {
        return Err(BadTarget::Authority);
    }
    let parts = match rest.strip_prefix('?') {
        Some(query) => whole(Cow::Borrowed("/"), Some(checked_query(query)?)),
        None if rest.is_empty() => whole(Cow::Borrowed("/"), None),
        None => path_and_query(rest)?,
    };
    Ok(Target {
        scheme: Some(scheme),
        authority: Some(authority),
        ..parts
    })
}

/// The host of an authority, without its port; an IPv6 address keeps its brackets.
pub fn host(authority: &str) -> &str {
    let after_bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let (_, tail) = authority.split_at(after_bracket);
    match tail.find(':') {
        Some(colon) => authority.split_at(after_bracket + colon).0,
        None => authority,
    }
}

/// True if `text` can be a Host or the authority of a target: a name, an IPv4 address or an IPv6
/// address in brackets, then a port of 0 to 65535 or none. No user information.
pub fn is_authority(text: &str) -> bool {
    let host = host(text);
    let port = text.strip_prefix(host).unwrap_or_default();
    let port_good = match port.strip_prefix(':') {
        Some(digits) => {
            digits.is_empty()
                || digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok()
        }
        None => port.is_empty(),
    };
    let host_good = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            (1..=255).contains(&host.len())
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        }
    };
    port_good && host_good
}

fn whole<'a>(path: Cow<'a, str>, query: Option<&'a str>) -> Target<'a> {
    Target {
        scheme: None,
        authority: None,
        path,
        query,
    }
}

fn path_and_query(text: &str) -> Result<Target<'_>, BadTarget> {
    let (path, query) = match text.bytes().position(|byte| byte == b'?') {
        Some(at) => {
            let (path, query) = text.split_at(at);
            let query = query.strip_prefix('?').unwrap_or_default();
            (path, Some(checked_query(query)?))
        }
        None => (text, None),
    };
    Ok(whole(normal_path(path)?, query))
}

fn checked_query(query: &str) -> Result<&str, BadTarget> {
    let good = |b: u8| (0x21..=0x7e).contains(&b) && b != b'#';
    if query.bytes().all(good) {
        Ok(query)
    } else {
        Err(BadTarget::Byte)
    }
}

fn normal_path(path: &str) -> Result<Cow<'_, str>, BadTarget> {
    let escapes = checked_escapes(path)?;
    let decoded = if escapes {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(decode_unreserved(path))
    };
    // Each segment follows a slash: most paths have none that begins with a dot.
    let may_have_dots = decoded.as_bytes().windows(2).any(|pair| pair == b"/.");
    let is_dots = |segment: &str| segment == "." || segment == "..";
    if !may_have_dots || !decoded.split('/').any(is_dots) {
        return Ok(decoded);
    }
    without_dots(&decoded).map(Cow::Owned)
}

/// Refuses bad bytes and escapes; true if every escape is in its normal form.
fn checked_escapes(path: &str) -> Result<bool, BadTarget> {
    let mut normal = true;
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'%' => {
                let [high, low, after @ ..] = after else {
                    return Err(BadTarget::Escape);
                };
                if !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
                    return Err(BadTarget::Escape);
                }
                let byte = digit(*high) << 4 | digit(*low);
                if byte == 0 {
                    return Err(BadTarget::Nul);
                }
                let upper = !high.is_ascii_lowercase() && !low.is_ascii_lowercase();
                normal &= upper && !is_unreserved(byte);
                rest = after;
            }
            b'\\' | b'#' => return Err(BadTarget::Byte),
            0x21..=0x7e => {}
            _ => return Err(BadTarget::Byte),
        }
    }
    Ok(normal)
}

/// Of a path that [`checked_escapes`] passed.
fn decode_unreserved(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(char::from(byte));
            continue;
        }
        let (high, low) = (bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0'));
        let byte = digit(high) << 4 | digit(low);
        if is_unreserved(byte) {
            decoded.push(char::from(byte));
        } else {
            let escape = [b'%', high, low].map(|b| char::from(b.to_ascii_uppercase()));
            decoded.extend(escape);
        }
    }
    decoded
}

/// RFC 3986 section 5.2.4, refusing to climb above the root.
fn without_dots(path: &str) -> Result<String, BadTarget> {
    let mut kept: Vec<&str> = Vec::new();
    let segments = path.strip_prefix('/').unwrap_or(path);
    let mut ends_open = false;
    for segment in segments.split('/') {
        ends_open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop().ok_or(BadTarget::AboveRoot)?;
            }
            _ => kept.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if ends_open || normal.is_empty() {
        normal.push('/');
    }
    Ok(normal)
}

/// The value of a hexadecimal digit; 0 for anything else.
pub(super) fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ => 0,
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_normal() {
        for (target, path, query) in [
            ("/", "/", None),
            ("/a/b?x=%zz&y", "/a/b", Some("x=%zz&y")),
            ("/a?", "/a", Some("")),
            ("/%7euser/%2f/%e4", "/~user/%2F/%E4", None),
            ("/a/./b/../c", "/a/c", None),
            ("/a/%2E%2e/b", "/b", None),
            ("/a/b/..", "/a/", None),
            ("/a/.", "/a/", None),
            ("/a/..", "/", None),
            ("/a//b", "/a//b", None),
            ("/...", "/...", None),
            ("/[a]|{b};c=1", "/[a]|{b};c=1", None),
            ("*", "*", None),
        ] {
            let parts = normalise(target).unwrap();
            assert_eq!((&*parts.path, parts.query), (path, query), "{target}");
            assert_eq!(
                matches!(parts.path, Cow::Borrowed(_)),
                target.split('?').next() == Some(path),
                "{target}"
            );
            let again = normalise(&parts.path).unwrap();
            assert_eq!(again.path, parts.path, "normal once is normal twice");
        }
    }

    #[test]
    fn absolute_targets_give_their_authority() {
        let parts = normalise("HTTP://[::1]:80/a/../b?q").unwrap();
        assert_eq!(
            (parts.scheme, parts.authority),
            (Some("HTTP"), Some("[::1]:80"))
        );
        assert_eq!((&*parts.path, parts.query), ("/b", Some("q")));
        assert_eq!(&*normalise("http://shop").unwrap().path, "/");
        assert_eq!(normalise("http://shop?a").unwrap().query, Some("a"));
    }

    #[test]
    fn ambiguous_targets_are_refused() {
        use BadTarget::{AboveRoot, Authority, Byte, Escape, Form, Nul};
        for (target, why) in [
            ("", Form),
            ("a", Form),
            ("shop:80", Form),
            ("ftp://shop/", Form),
            ("http:///a", Authority),
            ("http://a@shop/", Authority),
            ("http://shop:99999/", Authority),
            ("http://[::1/", Authority),
            ("/..", AboveRoot),
            ("/a/../../b", AboveRoot),
            ("/%2e%2e/b", AboveRoot),
            ("/%", Escape),
            ("/%4", Escape),
            ("/%zz", Escape),
            ("/a%00b", Nul),
            ("/a\\b", Byte),
            ("/a#b", Byte),
            ("/a?b#c", Byte),
            ("/a b", Byte),
            ("/\u{e4}", Byte),
            ("/a\u{7f}", Byte),
            ("/a?\u{1}", Byte),
        ] {
            assert_eq!(normalise(target), Err(why), "{target:?}");
        }
    }

    #[test]
    fn hosts_lose_their_port() {
        for (authority, expected) in [
            ("shop:80", "shop"),
            ("shop", "shop"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host(authority), expected);
        }
    }
}
