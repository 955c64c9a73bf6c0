//! Tells what a connection speaks by its first bytes, where the port does not declare it.
//!
//! May use everything above it. One wait of at most [`WAIT`] in all, from the first byte looked for
//! to the last; silence means opaque (a server may speak first).

use std::time::Duration;

use bytes::BytesMut;
use mesh_api::decide::client_hello::{self, Reading};
use mesh_api::model::destination::Protocol;
use mesh_api::model::policy::DEFAULTS;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use crate::context::Context;
use crate::h1::MAX_TARGET;
use crate::telemetry::{Detection, Direction};
use crate::tunnel::Hint;

/// How long a peer may stay silent before its connection counts as opaque.
pub const WAIT: Duration = Duration::from_millis(100);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for one read of a `ClientHello`: most come whole.
const HELLO_READ: usize = 4 * 1024;
/// The longest method and its space that count as HTTP/1.
const LONGEST_METHOD: usize = 24;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.x.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS.
    Tls,
    /// Anything else, or nothing in time.
    Opaque,
}

impl Spoken {
    /// What a port is declared to speak; `None` where its bytes tell.
    pub fn declared(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::Http => Some(Self::Http1),
            Protocol::Http2 | Protocol::Grpc => Some(Self::Http2),
            Protocol::Tls => Some(Self::Tls),
            Protocol::Tcp => Some(Self::Opaque),
            Protocol::Detect => None,
        }
    }

    /// What a sender tells of it.
    pub fn hint(self) -> Hint {
        match self {
            Self::Http1 => Hint::Http,
            Self::Http2 => Hint::Http2,
            Self::Tls => Hint::Tls,
            Self::Opaque => Hint::Tcp,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Tls => "tls",
            Self::Opaque => "tcp",
        }
    }
}

impl From<Hint> for Spoken {
    fn from(hint: Hint) -> Self {
        match hint {
            Hint::Http => Self::Http1,
            Hint::Http2 => Self::Http2,
            Hint::Tls => Self::Tls,
            Hint::Tcp => Self::Opaque,
        }
    }
}

/// Takes a sender's word for what an undeclared port is spoken to with, and counts it.
pub fn hinted(context: &Context, hint: Hint) -> Spoken {
    let spoken = Spoken::from(hint);
    count(context, Direction::Inbound, spoken, "hint");
    spoken
}

/// A TLS connection's first message, as far as it tells something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// A whole `ClientHello`, with the server name if it has one.
    Hello(Option<String>),
    /// Something else.
    Other,
    /// TLS, but no `ClientHello` that a server would take.
    Malformed,
}

/// As [`protocol`], for a port whose connections go by server name: only a whole `ClientHello` is TLS.
pub async fn greeting<T: AsyncRead + Unpin>(
    context: &Context,
    direction: Direction,
    io: &mut T,
    buffer: &mut BytesMut,
) -> Greeting {
    let greeting = client_hello(io, buffer, WAIT).await;
    let (spoken, by) = match &greeting {
        Some(Greeting::Hello(_) | Greeting::Malformed) => (Spoken::Tls, "bytes"),
        Some(Greeting::Other) => (Spoken::Opaque, "bytes"),
        None => (Spoken::Opaque, "timeout"),
    };
    count(context, direction, spoken, by);
    greeting.unwrap_or(Greeting::Other)
}

/// Reads a `ClientHello` of `io` into `buffer`, where some of it may be already: whatever segments and
/// records it comes in, up to 16 KiB. `None` if it is not whole after `limit`.
pub async fn client_hello<T: AsyncRead + Unpin>(
    io: &mut T,
    buffer: &mut BytesMut,
    limit: Duration,
) -> Option<Greeting> {
    let read = async {
        loop {
            match client_hello::read(buffer) {
                Reading::Hello(hello) => return Greeting::Hello(hello.server_name),
                Reading::NotTls if !buffer.is_empty() => return Greeting::Other,
                Reading::Malformed(why) => {
                    tracing::debug!(why, "no ClientHello");
                    return Greeting::Malformed;
                }
                Reading::NeedMore | Reading::NotTls => {}
            }
            buffer.reserve(HELLO_READ);
            match io.read_buf(buffer).await {
                Ok(0) | Err(_) => return Greeting::Other,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(limit, read).await.ok()
}

/// Reads the first bytes of `io` into `buffer` until they tell what is spoken, and counts what came
/// of it.
pub async fn protocol<T: AsyncRead + Unpin>(
    context: &Context,
    direction: Direction,
    io: &mut T,
    buffer: &mut BytesMut,
) -> Spoken {
    let told = first_bytes(io, buffer, Instant::now() + WAIT).await;
    let by = if told.is_some() { "bytes" } else { "timeout" };
    let spoken = told.unwrap_or(Spoken::Opaque);
    count(context, direction, spoken, by);
    spoken
}

fn count(context: &Context, direction: Direction, spoken: Spoken, by: &'static str) {
    let result = spoken.label();
    context.shared.telemetry().detection(&Detection {
        direction,
        result,
        by,
    });
}

/// What the first bytes tell; `None` if too few came until `end`.
async fn first_bytes<T: AsyncRead + Unpin>(
    io: &mut T,
    buffer: &mut BytesMut,
    end: Instant,
) -> Option<Spoken> {
    let read = async {
        loop {
            if let Some(spoken) = judge(buffer) {
                return spoken;
            }
            match io.read_buf(buffer).await {
                Ok(0) | Err(_) => return Spoken::Opaque,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout_at(end, read).await.ok()
}

/// Which version of HTTP `io` speaks, where `protocol` is declared to be HTTP, or a sender says that it
/// is; [`Spoken::Opaque`] if it is none, and must not be answered as if it were.
///
/// A peer that stays silent is left to the exchanges, which end idle connections; one that began has
/// the time of a head.
pub async fn version<T: AsyncRead + Unpin>(
    context: &Context,
    protocol: Protocol,
    io: &mut T,
    buffer: &mut BytesMut,
) -> Spoken {
    if buffer.is_empty() {
        let mut drain = context.shared.drain.clone();
        tokio::select! {
            biased;
            read = io.read_buf(buffer) => if !matches!(read, Ok(1..)) {
                return Spoken::Http1;
            },
            () = drain.draining() => return Spoken::Http1,
        }
    }
    let telling = async {
        match protocol {
            Protocol::Http2 | Protocol::Grpc => http2(io, buffer).await,
            Protocol::Http | Protocol::Detect | Protocol::Tls | Protocol::Tcp => {
                http(io, buffer).await
            }
        }
    };
    let told = tokio::time::timeout(DEFAULTS.head_timeout, telling).await;
    told.unwrap_or(Spoken::Opaque)
}

/// Which version of HTTP `io` speaks, where HTTP/1.1 is declared: a client speaks first, so this
/// waits for nothing but its bytes. Whatever is not HTTP/2 is taken as HTTP/1, and refused there if
/// it is no HTTP at all.
async fn http<T: AsyncRead + Unpin>(io: &mut T, buffer: &mut BytesMut) -> Spoken {
    loop {
        let seen = buffer.len().min(PREFACE.len());
        if buffer.get(..seen) != PREFACE.get(..seen) {
            return Spoken::Http1;
        }
        if seen == PREFACE.len() {
            return Spoken::Http2;
        }
        match io.read_buf(buffer).await {
            Ok(0) | Err(_) => return Spoken::Http1,
            Ok(_) => {}
        }
    }
}

/// As [`http`], where HTTP/2 is declared: HTTP/1 is still translated, but must show by its first
/// line that it is. Anything else is opaque, and not to be answered in HTTP/1.
async fn http2<T: AsyncRead + Unpin>(io: &mut T, buffer: &mut BytesMut) -> Spoken {
    if http(io, buffer).await == Spoken::Http2 {
        return Spoken::Http2;
    }
    loop {
        let end = memchr::memchr(b'\n', buffer);
        let line = buffer
            .get(..end.unwrap_or(buffer.len()))
            .unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if end.is_some() {
            let is_http1 = [&b" HTTP/1.1"[..], b" HTTP/1.0"]
                .iter()
                .any(|version| line.ends_with(version));
            return if is_http1 {
                Spoken::Http1
            } else {
                Spoken::Opaque
            };
        }
        if line.len() > MAX_TARGET || !matches!(io.read_buf(buffer).await, Ok(1..)) {
            return Spoken::Opaque;
        }
    }
}

/// What `bytes` begin, or `None` while more could change the answer.
fn judge(bytes: &[u8]) -> Option<Spoken> {
    let (&first, _) = bytes.split_first()?;
    if first == 0x16 {
        return match bytes.get(1) {
            None => None,
            Some(3) => Some(Spoken::Tls),
            Some(_) => Some(Spoken::Opaque),
        };
    }
    let common = bytes
        .iter()
        .zip(PREFACE)
        .take_while(|(a, b)| a == b)
        .count();
    if common == PREFACE.len() {
        return Some(Spoken::Http2);
    }
    if common == bytes.len() {
        return None;
    }
    let method = bytes
        .iter()
        .take(LONGEST_METHOD)
        .position(|&b| !b.is_ascii_uppercase());
    match method {
        Some(0) => Some(Spoken::Opaque),
        // After `METHOD ` a target begins with `/`, `*`, or a letter or digit (absolute, authority).
        Some(at) if bytes.get(at) == Some(&b' ') => match bytes.get(at + 1) {
            None => None,
            Some(b) if b.is_ascii_graphic() => Some(Spoken::Http1),
            Some(_) => Some(Spoken::Opaque),
        },
        Some(_) => Some(Spoken::Opaque),
        None if bytes.len() >= LONGEST_METHOD => Some(Spoken::Opaque),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell() {
        let cases: &[(&[u8], Option<Spoken>)] = &[
            (b"", None),
            (b"G", None),
            (b"GET ", None),
            (b"GET /", Some(Spoken::Http1)),
            (b"OPTIONS *", Some(Spoken::Http1)),
            (b"CONNECT a:1", Some(Spoken::Http1)),
            (b"PRI * HTT", None),
            (PREFACE, Some(Spoken::Http2)),
            (b"PRINT /x", Some(Spoken::Http1)),
            (b"\x16", None),
            (b"\x16\x03\x01", Some(Spoken::Tls)),
            (b"\x16\x02", Some(Spoken::Opaque)),
            (b"get /", Some(Spoken::Opaque)),
            (b"SELECT\n", Some(Spoken::Opaque)),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAA", Some(Spoken::Opaque)),
            (b"\0", Some(Spoken::Opaque)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(
                judge(bytes),
                *expected,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[tokio::test]
    async fn a_declared_version_is_told_without_a_wait() {
        let cases: &[(&[u8], Spoken, Spoken)] = &[
            (PREFACE, Spoken::Http2, Spoken::Http2),
            (b"PRI * HTTP/1.1\r\n", Spoken::Http1, Spoken::Http1),
            (b"GET / HTTP/1.1\r\n", Spoken::Http1, Spoken::Http1),
            (b"GET / HTTP/1.0\n", Spoken::Http1, Spoken::Http1),
            (
                b"INVALID CONNECTION PREFACE\r\n\r\n",
                Spoken::Http1,
                Spoken::Opaque,
            ),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Spoken::Http1, Spoken::Opaque),
            (b"GET / HTTP/1.1", Spoken::Http1, Spoken::Opaque),
            (b"", Spoken::Http1, Spoken::Opaque),
        ];
        for (bytes, as_http, as_http2) in cases {
            let mut read = BytesMut::new();
            assert_eq!(
                http(&mut &bytes[..], &mut read).await,
                *as_http,
                "{bytes:?}"
            );
            let mut read = BytesMut::new();
            assert_eq!(
                http2(&mut &bytes[..], &mut read).await,
                *as_http2,
                "{bytes:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_opaque() {
        let (mut near, _far) = tokio::io::duplex(64);
        let mut buffer = BytesMut::new();
        let end = Instant::now() + WAIT;
        assert_eq!(first_bytes(&mut near, &mut buffer, end).await, None);
    }
}
