//! Heads: what a request or a response says of itself, checked before anything of it is forwarded.

use bytes::Bytes;

use crate::h1::field::{Field, Fields, Kind};
use crate::h1::line::{self, Form, RequestLine, Span, StatusLine, Version};
use crate::h1::meaning::Meaning;
use crate::h1::reject::Refusal;

/// How the end of a message's content is known (RFC 9112 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// Bytes until the peer closes; responses and tunnels only.
    UntilClose,
}

impl Framing {
    /// True if content of `bytes` so far fits what was announced.
    pub(crate) fn takes(self, bytes: u64) -> bool {
        match self {
            Self::Empty => bytes == 0,
            Self::Length(length) => bytes <= length,
            Self::Chunked | Self::UntilClose => true,
        }
    }

    /// True if content of `bytes` in all is what was announced.
    pub(crate) fn ends_at(self, bytes: u64) -> bool {
        match self {
            Self::Length(length) => bytes == length,
            framing => framing.takes(bytes),
        }
    }
}

/// The head of a request, legal in every part; its fields are offsets into its own bytes.
#[derive(Clone, Debug)]
pub struct RequestHead {
    pub(crate) bytes: Bytes,
    pub(crate) fields: Fields,
    line: RequestLine,
    meaning: Meaning,
    host: Option<Span>,
    expect: bool,
}

/// The head of a response, legal in every part; its fields are offsets into its own bytes.
#[derive(Debug)]
pub struct ResponseHead {
    pub(crate) bytes: Bytes,
    pub(crate) fields: Fields,
    line: StatusLine,
    meaning: Meaning,
    content: bool,
}

impl RequestHead {
    pub(super) fn new(
        bytes: Bytes,
        mut fields: Fields,
        line: RequestLine,
    ) -> Result<Self, Refusal> {
        let mut meaning = Meaning::read(&bytes, &mut fields, line.version)?;
        if meaning.length.is_some() && meaning.chunked {
            return Err(Refusal::LengthAndEncoding);
        }
        let method = line.method.of(&bytes);
        meaning.framing = match meaning.length {
            _ if meaning.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::Empty,
        };
        if matches!(method, b"CONNECT" | b"TRACE") && meaning.framing != Framing::Empty {
            return Err(Refusal::ForbiddenContent);
        }
        let host = host(&bytes, &fields, &line)?;
        let expect = expectation(&bytes, &fields)?;
        Ok(Self {
            bytes,
            fields,
            line,
            meaning,
            host,
            expect,
        })
    }

    /// The head of an HTTP/2 request, written into `bytes` as an HTTP/1.1 head would be; `ended` if
    /// no content follows.
    pub(crate) fn assemble(
        bytes: Bytes,
        mut fields: Fields,
        line: RequestLine,
        ended: bool,
    ) -> Result<Self, Refusal> {
        let mut meaning = Meaning::read(&bytes, &mut fields, line.version)?;
        // A server may want to be told that such a request has none (RFC 9110 section 8.6).
        let announced = matches!(line.method.of(&bytes), b"POST" | b"PUT" | b"PATCH");
        meaning.framing = match meaning.length {
            _ if ended && announced => Framing::Length(0),
            _ if ended => Framing::Empty,
            // Trailers follow.
            Some(0) | None => Framing::Chunked,
            Some(length) => Framing::Length(length),
        };
        let host = host(&bytes, &fields, &line)?;
        let expect = expectation(&bytes, &fields)?;
        Ok(Self {
            bytes,
            fields,
            line,
            meaning,
            host,
            expect,
        })
    }

    /// The method, as received.
    pub fn method(&self) -> &str {
        self.line.method.text(&self.bytes)
    }

    /// The target, as received.
    pub fn target(&self) -> &str {
        self.line.target.text(&self.bytes)
    }

    /// The form of the target.
    pub fn form(&self) -> Form {
        self.line.form
    }

    /// Path and query, `*`, or an empty text for CONNECT.
    pub fn path_and_query(&self) -> &str {
        match self.line.path.text(&self.bytes) {
            "" if self.form() == Form::Absolute && self.method() == "OPTIONS" => "*",
            "" if self.form() == Form::Absolute => "/",
            path => path,
        }
    }

    /// The authority of the target, else Host; empty only in HTTP/1.0.
    pub fn authority(&self) -> &str {
        let part = Some(self.line.authority)
            .filter(|a| !a.is_empty())
            .or(self.host);
        part.map_or("", |part| part.text(&self.bytes))
    }

    /// `https` if an absolute target says so, else `http`.
    pub fn scheme(&self) -> &'static str {
        let secure = self.form() == Form::Absolute
            && self
                .bytes
                .get(self.line.target.start as usize + 4)
                .is_some_and(|b| *b != b':');
        if secure { "https" } else { "http" }
    }

    /// The version it came in.
    pub fn version(&self) -> Version {
        self.line.version
    }

    /// Names (as received) and values, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        pairs(&self.bytes, &self.fields)
    }

    /// The first value of the field named `name`, in any case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        first(&self.bytes, &self.fields, name)
    }

    /// Calls `visit` with the value of each field named `name`, in any case, in order.
    pub fn each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        each(&self.bytes, &self.fields, name, visit);
    }

    /// How its content ends.
    pub fn framing(&self) -> Framing {
        self.meaning.framing
    }

    /// True if the client wants to send another request.
    pub fn keep_alive(&self) -> bool {
        self.meaning.keep_alive
    }

    /// True if the client waits for `100 Continue` before it sends the content.
    pub fn expect_continue(&self) -> bool {
        self.expect
            && self.version() != Version::Http10
            && !matches!(self.framing(), Framing::Empty | Framing::Length(0))
    }

    /// The protocol the client offers to go on with; never `h2c`, which is not forwarded.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.meaning
            .upgrade(&self.bytes)
            .filter(|_| self.version() == Version::Http11)
    }

    /// True if the client reads trailers (`TE: trailers`).
    pub fn takes_trailers(&self) -> bool {
        self.meaning.trailers
    }

    /// Bytes of the head, as received.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl mesh_api::decide::HeaderFields for RequestHead {
    fn each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        RequestHead::each(self, name, visit);
    }
}

impl ResponseHead {
    pub(super) fn new(
        bytes: Bytes,
        mut fields: Fields,
        line: StatusLine,
        method: &str,
    ) -> Result<Self, Refusal> {
        let mut meaning = Meaning::read(&bytes, &mut fields, line.version)?;
        if meaning.length.is_some() && meaning.chunked {
            return Err(Refusal::LengthAndEncoding);
        }
        let tunnel =
            line.status == 101 || (method == "CONNECT" && (200..300).contains(&line.status));
        let none = matches!(line.status, 100..=199 | 204);
        if none && (meaning.chunked || meaning.length.is_some_and(|length| length > 0)) {
            return Err(Refusal::ForbiddenContent);
        }
        let content = !none && line.status != 304 && method != "HEAD";
        meaning.framing = match meaning.length {
            _ if tunnel => Framing::UntilClose,
            _ if !content => Framing::Empty,
            _ if meaning.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        };
        meaning.keep_alive &= meaning.framing != Framing::UntilClose;
        Ok(Self {
            bytes,
            fields,
            line,
            meaning,
            content,
        })
    }

    /// The head of an HTTP/2 response to `method`; `ended` if no content follows.
    pub(crate) fn assemble(
        bytes: Bytes,
        mut fields: Fields,
        line: StatusLine,
        method: &str,
        ended: bool,
    ) -> Result<Self, Refusal> {
        let mut meaning = Meaning::read(&bytes, &mut fields, line.version)?;
        let none = matches!(line.status, 100..=199 | 204);
        let content = !none && line.status != 304 && method != "HEAD";
        meaning.framing = match meaning.length {
            _ if !content => Framing::Empty,
            _ if ended => Framing::Length(0),
            // Trailers follow.
            Some(0) | None => Framing::Chunked,
            Some(length) => Framing::Length(length),
        };
        Ok(Self {
            bytes,
            fields,
            line,
            meaning,
            content,
        })
    }

    /// The status: 100 to 599.
    pub fn status(&self) -> u16 {
        self.line.status
    }

    /// The reason, as received; may be empty.
    pub fn reason(&self) -> &[u8] {
        self.line.reason.of(&self.bytes)
    }

    /// The version it came in.
    pub fn version(&self) -> Version {
        self.line.version
    }

    /// Names (as received) and values, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        pairs(&self.bytes, &self.fields)
    }

    /// The first value of the field named `name`, in any case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        first(&self.bytes, &self.fields, name)
    }

    /// Calls `visit` with the value of each field named `name`, in any case, in order.
    pub fn each<'a>(&'a self, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
        each(&self.bytes, &self.fields, name, visit);
    }

    /// How its content ends.
    pub fn framing(&self) -> Framing {
        self.meaning.framing
    }

    /// The Content-Length of a response whose content is not sent (HEAD, 304).
    pub fn declared_length(&self) -> Option<u64> {
        self.meaning
            .length
            .filter(|_| !self.content && !matches!(self.status(), 100..=199 | 204))
    }

    /// True if the server takes another request on this connection.
    pub fn keep_alive(&self) -> bool {
        self.meaning.keep_alive
    }

    /// True for 1xx except 101: the final response follows.
    pub fn is_informational(&self) -> bool {
        matches!(self.status(), 100 | 102..=199)
    }

    /// The protocol the server goes on with, or offers.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.meaning.upgrade(&self.bytes)
    }

    /// Bytes of the head, as received.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

fn host(head: &[u8], fields: &Fields, line: &RequestLine) -> Result<Option<Span>, Refusal> {
    let mut hosts = fields.iter().filter(|field| field.kind == Kind::Host);
    let host = hosts.next().map(|field| field.value);
    if hosts.next().is_some() {
        return Err(Refusal::SeveralHosts);
    }
    let Some(value) = host else {
        return match line.version {
            Version::Http10 => Ok(None),
            Version::Http11 | Version::Http2 => Err(Refusal::MissingHost),
        };
    };
    let text = value.of(head);
    if !line::is_authority(text) {
        return Err(Refusal::BadHost);
    }
    let authority = line.authority.of(head);
    let default: &[u8] = match line.form {
        Form::Origin | Form::Asterisk => return Ok(host),
        Form::Authority => authority
            .rsplit(|byte| *byte == b':')
            .next()
            .unwrap_or_default(),
        Form::Absolute if head.get(line.target.start as usize + 4) == Some(&b':') => b"80",
        Form::Absolute => b"443",
    };
    if line::same_authority(text, authority, default) {
        Ok(host)
    } else {
        Err(Refusal::HostMismatch)
    }
}

fn expectation(head: &[u8], fields: &Fields) -> Result<bool, Refusal> {
    let mut expect = false;
    for field in fields.iter().filter(|field| field.kind == Kind::Expect) {
        if expect || !field.value.of(head).eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::BadExpectation);
        }
        expect = true;
    }
    Ok(expect)
}

fn pairs<'a>(head: &'a [u8], fields: &'a Fields) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    fields
        .iter()
        .map(|field| (field.name.of(head), field.value.of(head)))
}

fn first<'a>(head: &'a [u8], fields: &Fields, name: &str) -> Option<&'a [u8]> {
    let mut fields = fields.as_slice().iter();
    let found = fields.find(|field| is_named(head, field, name));
    found.map(|field| field.value.of(head))
}

fn each<'a>(head: &'a [u8], fields: &Fields, name: &str, visit: &mut dyn FnMut(&'a [u8])) {
    for field in fields.as_slice() {
        if is_named(head, field, name) {
            visit(field.value.of(head));
        }
    }
}

/// Few fields have the name's length: most are passed over without a look at their bytes.
#[inline]
fn is_named(head: &[u8], field: &Field, name: &str) -> bool {
    field.name.len() == name.len() && field.name.of(head).eq_ignore_ascii_case(name.as_bytes())
}
