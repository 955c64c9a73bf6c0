//! Heads of HTTP/2 messages as those of [`crate::h1`], checked by the same rules; and trailers.
//!
//! What `h2` has refused already is not looked for again: misplaced or repeated pseudo-header
//! fields, names in upper case, and fields that belong to an HTTP/1.1 connection.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{COOKIE, HOST};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, request, response};

use crate::h1::{
    Fields, Form, Kind, MAX_FIELDS, MAX_HEAD, MAX_TARGET, Refusal, RequestHead, RequestLine,
    ResponseHead, Span, StatusLine, Version, is_forbidden,
};

/// A request's head; `ended` if no content follows.
pub(super) fn request(parts: &request::Parts, ended: bool) -> Result<RequestHead, Refusal> {
    if parts.method == Method::TRACE && !ended {
        return Err(Refusal::ForbiddenContent);
    }
    check_size(&parts.headers)?;
    let mut bytes = BytesMut::with_capacity(512);
    let method = put(&mut bytes, parts.method.as_str().as_bytes())?;
    bytes.put_u8(b' ');
    let target = target(&parts.uri, &parts.method)?;
    let target = put(&mut bytes, target.as_bytes())?;
    bytes.extend_from_slice(b" HTTP/2\r\n");
    let mut fields = Spans::default();
    // The pseudo-header field is the Host of HTTP/1.1 (RFC 9113 section 8.3.1).
    let authority = parts.uri.authority().map(Authority::as_str);
    if let Some(authority) = authority {
        fields.put(&mut bytes, b"host", authority.as_bytes())?;
    }
    let mut cookies = false;
    for (name, value) in &parts.headers {
        if name == HOST && authority.is_some() {
            // Two hosts must be one.
            let same = authority.is_some_and(|known| value.as_bytes() == known.as_bytes());
            if !same {
                return Err(Refusal::HostMismatch);
            }
        } else if name != COOKIE {
            fields.put(&mut bytes, name.as_str().as_bytes(), value.as_bytes())?;
        } else if !std::mem::replace(&mut cookies, true) {
            fields.put(&mut bytes, b"cookie", &joined_cookies(&parts.headers))?;
        }
    }
    bytes.extend_from_slice(b"\r\n");
    let bytes = bytes.freeze();
    let line = RequestLine {
        method,
        target,
        authority: Span::default(),
        path: target,
        form: if target.of(&bytes) == b"*" {
            Form::Asterisk
        } else {
            Form::Origin
        },
        version: Version::Http2,
    };
    let fields = fields.of(&bytes)?;
    RequestHead::assemble(bytes, fields, line, ended)
}

/// The head of a response to `method`; `ended` if no content follows.
pub(super) fn response(
    parts: &response::Parts,
    method: &str,
    ended: bool,
) -> Result<ResponseHead, Refusal> {
    check_size(&parts.headers)?;
    let mut bytes = BytesMut::with_capacity(512);
    let mut fields = Spans::default();
    for (name, value) in &parts.headers {
        fields.put(&mut bytes, name.as_str().as_bytes(), value.as_bytes())?;
    }
    bytes.extend_from_slice(b"\r\n");
    let bytes = bytes.freeze();
    let line = StatusLine {
        status: parts.status.as_u16(),
        reason: Span::default(),
        version: Version::Http2,
    };
    // 1xx without 101, which HTTP/2 does not have.
    if line.status == 101 || line.status >= 600 {
        return Err(Refusal::BadStatusLine);
    }
    let fields = fields.of(&bytes)?;
    ResponseHead::assemble(bytes, fields, line, method, ended)
}

/// Trailers as lines that end with CRLF, without those that may not be trailers.
pub(super) fn trailer_lines(trailers: &HeaderMap) -> Bytes {
    let mut lines = BytesMut::new();
    for (name, value) in trailers {
        if may_trail(name.as_str().as_bytes()) {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value.as_bytes().trim_ascii());
            lines.extend_from_slice(b"\r\n");
        }
    }
    lines.freeze()
}

/// Checked trailer lines as fields.
pub(super) fn trailer_map(lines: &[u8]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            trailers.append(name, value);
        }
    }
    trailers
}

fn may_trail(name: &[u8]) -> bool {
    Kind::of(name) == Kind::Other && !is_forbidden(name)
}

fn check_size(headers: &HeaderMap) -> Result<(), Refusal> {
    // Cookies become one field again.
    let cookies = headers.get_all(COOKIE).iter().count();
    if headers.len() - cookies.saturating_sub(1) > MAX_FIELDS {
        return Err(Refusal::TooManyFields);
    }
    Ok(())
}

fn target<'u>(uri: &'u Uri, method: &Method) -> Result<&'u str, Refusal> {
    let target = uri.path_and_query().map_or("", |path| path.as_str());
    let legal = match target {
        "*" => method == Method::OPTIONS,
        path => path.starts_with('/'),
    };
    match target.len() {
        _ if !legal => Err(Refusal::BadTarget),
        length if length > MAX_TARGET => Err(Refusal::TargetTooLong),
        _ => Ok(target),
    }
}

/// Cookies that came as several fields are one field again (RFC 9113 section 8.2.3).
fn joined_cookies(headers: &HeaderMap) -> Vec<u8> {
    let values: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    values.join(&b"; "[..])
}

/// Names and values written so far, as offsets.
#[derive(Default)]
struct Spans(Vec<(Span, Span)>);

impl Spans {
    fn put(&mut self, bytes: &mut BytesMut, name: &[u8], value: &[u8]) -> Result<(), Refusal> {
        // RFC 9113 section 8.2.1.
        if value != value.trim_ascii() {
            return Err(Refusal::BadFieldValue);
        }
        let name = put(bytes, name)?;
        bytes.extend_from_slice(b": ");
        let value = put(bytes, value)?;
        bytes.extend_from_slice(b"\r\n");
        self.0.push((name, value));
        Ok(())
    }

    fn of(self, head: &[u8]) -> Result<Fields, Refusal> {
        let mut fields = Fields::none();
        for (name, value) in self.0 {
            fields.push(head, name, value)?;
        }
        Ok(fields)
    }
}

fn put(bytes: &mut BytesMut, part: &[u8]) -> Result<Span, Refusal> {
    let start = bytes.len();
    bytes.extend_from_slice(part);
    if bytes.len() > MAX_HEAD {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(Span::new(start..bytes.len()))
}
