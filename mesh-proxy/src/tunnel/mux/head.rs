//! Heads of CONNECT streams: decoded fields, checked (RFC 9113 sections 8.2, 8.3 and 8.5).

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::hpack;
use crate::h2::HEADER_LIST;

/// Fields that belong to one connection of HTTP/1 (RFC 9113 section 8.2.2).
const CONNECTION_FIELDS: [&[u8]; 5] = [
    b"connection",
    b"proxy-connection",
    b"keep-alive",
    b"transfer-encoding",
    b"upgrade",
];

/// The fields of one block.
#[derive(Debug, Default)]
pub(crate) struct Head {
    method: Option<Vec<u8>>,
    /// `:authority`.
    pub(crate) authority: Option<Vec<u8>>,
    scheme: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    /// `:status`.
    pub(crate) status: Option<u16>,
    /// All other fields.
    pub(crate) headers: HeaderMap,
    size: usize,
    is_malformed: bool,
}

impl Head {
    /// Takes the next field.
    pub(super) fn field(&mut self, name: &[u8], value: &[u8]) {
        self.size += name.len() + value.len() + hpack::OVERHEAD;
        if self.size > HEADER_LIST as usize {
            self.is_malformed = true;
        }
        if !self.is_malformed && self.take(name, value).is_none() {
            self.is_malformed = true;
        }
    }

    fn take(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        if name.first() == Some(&b':') {
            return self.pseudo(name, value);
        }
        let is_trailers = name == b"te" && value == b"trailers";
        if name.iter().any(u8::is_ascii_uppercase)
            || CONNECTION_FIELDS.contains(&name)
            || (name == b"te" && !is_trailers)
        {
            return None;
        }
        let name = HeaderName::from_bytes(name).ok()?;
        let value = HeaderValue::from_bytes(value).ok()?;
        self.headers.try_append(name, value).ok().map(drop)
    }

    /// Each at most once, before all other fields.
    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        if !self.headers.is_empty() {
            return None;
        }
        if name == b":status" {
            let status = std::str::from_utf8(value).ok()?.parse().ok()?;
            let is_valid = value.len() == 3 && (100..1000).contains(&status);
            let is_first = self.status.replace(status).is_none();
            return (is_valid && is_first).then_some(());
        }
        let place = match name {
            b":method" => &mut self.method,
            b":authority" => &mut self.authority,
            b":scheme" => &mut self.scheme,
            b":path" => &mut self.path,
            _ => return None,
        };
        place.replace(value.to_vec()).is_none().then_some(())
    }

    pub(super) fn is_request(&self) -> bool {
        let is_absolute =
            self.scheme.is_some() && self.path.as_ref().is_some_and(|p| !p.is_empty());
        let names_nothing = self.scheme.is_none() && self.path.is_none();
        let has_target = if self.is_connect() {
            names_nothing && self.authority.is_some()
        } else {
            self.method.is_some() && is_absolute
        };
        !self.is_malformed && self.status.is_none() && has_target
    }

    pub(super) fn is_response(&self) -> bool {
        !self.is_malformed && self.has_no_request() && self.status.is_some()
    }

    pub(super) fn is_trailers(&self) -> bool {
        !self.is_malformed && self.has_no_request() && self.status.is_none()
    }

    /// Whether it asks for a tunnel.
    pub(crate) fn is_connect(&self) -> bool {
        self.method.as_deref() == Some(b"CONNECT")
    }

    fn has_no_request(&self) -> bool {
        self.method.is_none()
            && self.authority.is_none()
            && self.scheme.is_none()
            && self.path.is_none()
    }
}

/// The block of a CONNECT.
pub(crate) fn connect(authority: &str, extra: Option<(&str, &str)>) -> BytesMut {
    let mut block = BytesMut::new();
    hpack::encode(":method", b"CONNECT", &mut block);
    hpack::encode(":authority", authority.as_bytes(), &mut block);
    if let Some((name, value)) = extra {
        hpack::encode(name, value.as_bytes(), &mut block);
    }
    block
}

/// The block of an answer.
pub(crate) fn answer(status: u16, extra: Option<(&str, &str)>) -> BytesMut {
    let mut block = BytesMut::new();
    hpack::encode(":status", status.to_string().as_bytes(), &mut block);
    if let Some((name, value)) = extra {
        hpack::encode(name, value.as_bytes(), &mut block);
    }
    block
}
