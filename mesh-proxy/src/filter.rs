//! Writes heads: a checked head's own bytes where nothing changes, and a decision's changes to it.
//!
//! Host, framing and fields that belong to one connection (RFC 9110 section 7.6.1) are never
//! copied: they are written anew. May use [`crate::h1`].

use std::ops::Range;

use bytes::BytesMut;
use mesh_api::decide::change;
use mesh_api::model::route::{HeaderChanges, UNCHANGED};

use crate::h1::{Field, Fields, Framing, Kind, RequestHead, ResponseHead, Version};

pub mod http2;

/// How a request's head goes on.
#[derive(Clone, Copy, Debug)]
pub struct RequestChanges<'a> {
    /// The target to write: path and query, normalised.
    pub target: &'a str,
    /// The Host to write.
    pub host: &'a str,
    /// The rule's changes, then the backend's.
    pub changes: [&'a HeaderChanges; 2],
    /// How the content is framed on the connection it goes out on.
    pub framing: Framing,
    /// Fields the mesh adds, `connection` and `upgrade` of an upgrade among them.
    pub append: &'a [(&'a str, &'a str)],
    /// Names of fields, in lower case, that do not cross this boundary.
    pub strip: &'a [&'static str],
}

/// How a response's head goes on.
#[derive(Clone, Copy, Debug)]
pub struct ResponseChanges<'a> {
    /// The backend's changes, then the rule's.
    pub changes: [&'a HeaderChanges; 2],
    /// How the content is framed on the connection it goes out on.
    pub framing: Framing,
    /// Fields the mesh adds: `connection: close`, `connection: keep-alive` for HTTP/1.0, `mesh-error`.
    pub append: &'a [(&'a str, &'a str)],
    /// Names of fields, in lower case, that do not cross this boundary.
    pub strip: &'a [&'static str],
}

/// How a 1xx head goes on.
static INFORMATIONAL: ResponseChanges<'static> = ResponseChanges {
    changes: [&UNCHANGED; 2],
    framing: Framing::Empty,
    append: &[],
    strip: &["mesh-error"],
};

/// Writes the head of a request that goes upstream, always as HTTP/1.1.
pub fn write_request(head: &RequestHead, changes: &RequestChanges<'_>, out: &mut BytesMut) {
    out.reserve(head.size() + 256);
    put(
        out,
        &[
            head.method().as_bytes(),
            b" ",
            changes.target.as_bytes(),
            b" HTTP/1.1\r\nhost: ",
        ],
    );
    put(out, &[changes.host.as_bytes(), b"\r\n"]);
    write_fields(
        &head.bytes,
        &head.fields,
        changes.changes,
        changes.strip,
        out,
    );
    if head.takes_trailers() {
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    write_framing(changes.framing, out);
    write_end(changes.append, out);
}

/// Writes the head of a response that goes downstream, always as HTTP/1.1.
///
/// A response to HEAD and a 304 keep their Content-Length.
pub fn write_response(head: &ResponseHead, changes: &ResponseChanges<'_>, out: &mut BytesMut) {
    out.reserve(head.size() + 256);
    let mut digits = itoa::Buffer::new();
    let reason = match head.version() {
        Version::Http2 => reason(head.status()),
        Version::Http10 | Version::Http11 => head.reason(),
    };
    put(
        out,
        &[
            b"HTTP/1.1 ",
            digits.format(head.status()).as_bytes(),
            b" ",
            reason,
            b"\r\n",
        ],
    );
    write_fields(
        &head.bytes,
        &head.fields,
        changes.changes,
        changes.strip,
        out,
    );
    match (changes.framing, head.declared_length()) {
        (Framing::Empty, Some(length)) => write_framing(Framing::Length(length), out),
        (framing, _) => write_framing(framing, out),
    }
    write_end(changes.append, out);
}

/// Writes a 1xx head on its way down: status and end-to-end fields, as received.
pub fn write_informational(head: &ResponseHead, out: &mut BytesMut) {
    write_response(head, &INFORMATIONAL, out);
}

/// Writes an answer the mesh makes itself, with its length; no content where `body` is `None` or
/// the status has none, and for HEAD the caller passes the text and writes only the head.
pub fn write_reply(status: u16, fields: &[(&str, &str)], body: &[u8], out: &mut BytesMut) {
    let mut digits = itoa::Buffer::new();
    put(
        out,
        &[
            b"HTTP/1.1 ",
            digits.format(status).as_bytes(),
            b" ",
            reason(status),
            b"\r\n",
        ],
    );
    let bodyless = matches!(status, 100..=199 | 204 | 304);
    if !bodyless {
        write_framing(Framing::Length(body.len() as u64), out);
    }
    write_end(fields, out);
    if !bodyless {
        out.extend_from_slice(body);
    }
}

fn write_fields(
    head: &[u8],
    fields: &Fields,
    changes: [&HeaderChanges; 2],
    strip: &[&'static str],
    out: &mut BytesMut,
) {
    let mut run = Run::new(head, out);
    each_field(
        head,
        fields,
        changes,
        strip,
        |name, value, field| match field {
            Some(field) => run.received(field),
            None => run.new_field(name, value),
        },
    );
    run.flush();
}

/// Calls `visit` with each field that goes on, changed; and with what was received, where it is as it came.
fn each_field<'f>(
    head: &'f [u8],
    fields: &'f Fields,
    changes: [&HeaderChanges; 2],
    strip: &[&'static str],
    mut visit: impl FnMut(&[u8], &[u8], Option<&'f Field>),
) {
    let numbered = fields.iter().enumerate();
    let kept = numbered.filter(|(_, field)| is_kept(head, field, strip));
    let received = kept.map(|(at, field)| (at, field.name.of(head), field.value.of(head)));
    if change::is_noop(&changes) {
        return received
            .for_each(|(at, name, value)| visit(name, value, fields.as_slice().get(at)));
    }
    // Entries with changes of the connection's own fields are refused; were one to come, it would
    // still not get onto the wire.
    for changed in change::fields(&changes, received) {
        let field = changed.original.and_then(|at| fields.as_slice().get(at));
        if field.is_some() || !Kind::of(changed.name).is_own() {
            visit(changed.name, changed.value, field);
        }
    }
}

fn is_kept(head: &[u8], field: &Field, strip: &[&'static str]) -> bool {
    !field.kind.is_own() && !is_named(head, field, strip)
}

/// Writes fields; received neighbours that are canonical go out as one run of the received bytes.
struct Run<'w> {
    head: &'w [u8],
    out: &'w mut BytesMut,
    waiting: Range<usize>,
}

impl<'w> Run<'w> {
    fn new(head: &'w [u8], out: &'w mut BytesMut) -> Self {
        Self {
            head,
            out,
            waiting: 0..0,
        }
    }

    fn received(&mut self, field: &Field) {
        let line = field.name.start as usize..field.value.end as usize + 2;
        if field.canonical && line.start == self.waiting.end {
            self.waiting.end = line.end;
            return;
        }
        if field.canonical {
            self.flush();
            self.waiting = line;
        } else {
            self.new_field(field.name.of(self.head), field.value.of(self.head));
        }
    }

    fn new_field(&mut self, name: &[u8], value: &[u8]) {
        self.flush();
        put(self.out, &[name, b": ", value, b"\r\n"]);
    }

    fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        put(self.out, &[self.head.get(waiting).unwrap_or_default()]);
    }
}

fn is_named(head: &[u8], field: &Field, names: &[&'static str]) -> bool {
    let own = field.name.of(head);
    let is_own = |name: &&str| own.len() == name.len() && own.eq_ignore_ascii_case(name.as_bytes());
    names.iter().any(is_own)
}

fn write_framing(framing: Framing, out: &mut BytesMut) {
    match framing {
        Framing::Empty | Framing::UntilClose => {}
        Framing::Length(length) => {
            let mut digits = itoa::Buffer::new();
            put(
                out,
                &[
                    b"content-length: ",
                    digits.format(length).as_bytes(),
                    b"\r\n",
                ],
            );
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
}

fn write_end(fields: &[(&str, &str)], out: &mut BytesMut) {
    for (name, value) in fields {
        put(out, &[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    out.extend_from_slice(b"\r\n");
}

fn put(out: &mut BytesMut, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn reason(status: u16) -> &'static [u8] {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default()
        .as_bytes()
}
