//! The start line: method, target and version; or version, status and reason (RFC 9112 sections 3 and 4).

use std::net::Ipv6Addr;
use std::ops::Range;

use memchr::memchr;

use crate::h1::reject::Refusal;

/// Bytes a target may have.
pub const MAX_TARGET: usize = 16 * 1024;
/// Bytes a method may have.
const MAX_METHOD: usize = 32;
/// What follows a target: ` HTTP/1.1`.
const VERSION_LEN: usize = 9;

/// A part of a head, as offsets from its first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(range: Range<usize>) -> Self {
        // A head is at most 64 KiB, so the offsets fit.
        let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: offset(range.start),
            end: offset(range.end),
        }
    }

    pub(crate) fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    pub(crate) fn text(self, bytes: &[u8]) -> &str {
        std::str::from_utf8(self.of(bytes)).unwrap_or_default()
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The version a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// The form of a target (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/path?query`
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `host:port`, of CONNECT
    Authority,
    /// `*`, of OPTIONS
    Asterisk,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLine {
    pub(crate) method: Span,
    pub(crate) target: Span,
    /// Empty in origin and asterisk form.
    pub(crate) authority: Span,
    /// Path and query; empty where the target names none.
    pub(crate) path: Span,
    pub(crate) form: Form,
    pub(crate) version: Version,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusLine {
    pub(crate) status: u16,
    pub(crate) reason: Span,
    pub(crate) version: Version,
}

/// Refuses what can never become a request line, however it goes on.
pub(crate) fn check_start(line: &[u8]) -> Result<(), Refusal> {
    if line.first().is_some_and(|first| !is_token(*first)) {
        return Err(Refusal::BadMethod);
    }
    match memchr(
        b' ',
        line.get(..line.len().min(MAX_METHOD + 1))
            .unwrap_or_default(),
    ) {
        None if line.len() > MAX_METHOD => Err(Refusal::BadMethod),
        Some(end) if line.len() > end + 1 + MAX_TARGET + VERSION_LEN => Err(Refusal::TargetTooLong),
        _ => Ok(()),
    }
}

pub(crate) fn request_line(line: &[u8]) -> Result<RequestLine, Refusal> {
    let end = memchr(b' ', line).ok_or(Refusal::BadMethod)?;
    let (method, rest) = (part(line, 0..end), part(line, end + 1..line.len()));
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err(Refusal::BadMethod);
    }
    let target_end = end + 1 + memchr(b' ', rest).ok_or(Refusal::BadVersion)?;
    let target = end + 1..target_end;
    if target.len() > MAX_TARGET {
        return Err(Refusal::TargetTooLong);
    }
    let version = match part(line, target_end + 1..line.len()) {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        b"HTTP/2.0" if method == b"PRI" => return Err(Refusal::Http2Preface),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Refusal::OtherVersion);
        }
        _ => return Err(Refusal::BadVersion),
    };
    let (form, authority, path) = target_parts(line, method, target.clone())?;
    Ok(RequestLine {
        method: Span::new(0..end),
        target: Span::new(target),
        authority: Span::new(authority),
        path: Span::new(path),
        form,
        version,
    })
}

pub(crate) fn status_line(line: &[u8]) -> Result<StatusLine, Refusal> {
    let (Some(version), Some(status)) = (line.get(..9), line.get(9..12)) else {
        return Err(Refusal::BadStatusLine);
    };
    let version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return Err(Refusal::BadStatusLine),
    };
    if !status.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::BadStatusLine);
    }
    let status = status
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    // Some servers leave out the space before an empty reason.
    let reason = match line.get(12) {
        None => 12..12,
        Some(b' ') => 13..line.len(),
        Some(_) => return Err(Refusal::BadStatusLine),
    };
    let legal = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    if !(100..600).contains(&status) || !part(line, reason.clone()).iter().all(legal) {
        return Err(Refusal::BadStatusLine);
    }
    Ok(StatusLine {
        status,
        reason: Span::new(reason),
        version,
    })
}

/// True for a Host or authority: a name, IPv4 or `[IPv6]`, and a port of 1 to 65535 if any.
pub(crate) fn is_authority(text: &[u8]) -> bool {
    let (host, port) = split_port(text);
    let port_fits = |digits: &[u8]| {
        (1..=5).contains(&digits.len())
            && digits.iter().all(u8::is_ascii_digit)
            && (1..=65_535).contains(&digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0')))
    };
    is_host(host) && port.is_none_or(port_fits)
}

/// True if both name the same host, in any case, and the same port, where `default` is implied.
pub(crate) fn same_authority(one: &[u8], other: &[u8], default: &[u8]) -> bool {
    let ((host, port), (other_host, other_port)) = (split_port(one), split_port(other));
    host.eq_ignore_ascii_case(other_host)
        && port.unwrap_or(default) == other_port.unwrap_or(default)
}

/// A character of a token (RFC 9110 section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// By byte: whether it may be in a token.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let is = matches!(byte as u8, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#' | b'$'
            | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~');
        table[byte] = is;
        byte += 1;
    }
    table
};

type Parts = (Form, Range<usize>, Range<usize>);

fn target_parts(line: &[u8], method: &[u8], target: Range<usize>) -> Result<Parts, Refusal> {
    let text = part(line, target.clone());
    let none = target.end..target.end;
    if method == b"CONNECT" {
        let whole = is_authority(text) && split_port(text).1.is_some();
        return whole
            .then_some((Form::Authority, target, none))
            .ok_or(Refusal::BadTarget);
    }
    if text == b"*" && method == b"OPTIONS" {
        return Ok((Form::Asterisk, none, target));
    }
    if !text.iter().copied().all(is_target_byte) {
        return Err(Refusal::BadTarget);
    }
    if text.first() == Some(&b'/') {
        return Ok((Form::Origin, none, target));
    }
    let scheme = scheme_len(text).ok_or(Refusal::BadTarget)?;
    let start = target.start + scheme;
    let rest = part(line, start..target.end);
    let authority_end = memchr::memchr2(b'/', b'?', rest).map_or(target.end, |at| start + at);
    if !is_authority(part(line, start..authority_end)) {
        return Err(Refusal::BadTarget);
    }
    // `http://host?query` has an empty path, which no origin form can say.
    if line.get(authority_end) == Some(&b'?') {
        return Err(Refusal::BadTarget);
    }
    Ok((
        Form::Absolute,
        start..authority_end,
        authority_end..target.end,
    ))
}

fn scheme_len(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|t| t.eq_ignore_ascii_case(scheme))
        })
        .map(<[u8]>::len)
}

/// Visible ASCII, without what starts a fragment and what servers read differently.
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>' | b'\\')
}

fn is_host(host: &[u8]) -> bool {
    if let Some(address) = host
        .strip_prefix(b"[")
        .and_then(|rest| rest.strip_suffix(b"]"))
    {
        return std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    }
    (1..=255).contains(&host.len())
        && host
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
}

fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let bracket = memchr(b']', authority).map_or(0, |at| at + 1);
    match memchr(b':', part(authority, bracket..authority.len())) {
        None => (authority, None),
        Some(at) => (
            part(authority, 0..bracket + at),
            Some(part(authority, bracket + at + 1..authority.len())),
        ),
    }
}

fn part(bytes: &[u8], range: Range<usize>) -> &[u8] {
    bytes.get(range).unwrap_or_default()
}
