//! Tells what a connection speaks by its first bytes, where the port does not declare it.
//!
//! May use `buffer` and `h1`. Waits at most [`WAIT`]; silence means opaque (a server may speak first).

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::h1::MAX_TARGET;

/// How long a peer may stay silent before its connection counts as opaque.
pub const WAIT: Duration = Duration::from_millis(100);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
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

/// Reads the first bytes of `io` into `buffer` until they tell what is spoken.
pub async fn protocol<T: AsyncRead + Unpin>(io: &mut T, buffer: &mut BytesMut) -> Spoken {
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
    tokio::time::timeout(WAIT, read)
        .await
        .unwrap_or(Spoken::Opaque)
}

/// Which version of HTTP `io` speaks, where HTTP/1.1 is declared: a client speaks first, so this
/// waits for nothing but its bytes. Whatever is not HTTP/2 is taken as HTTP/1, and refused there if
/// it is no HTTP at all.
pub async fn http<T: AsyncRead + Unpin>(io: &mut T, buffer: &mut BytesMut) -> Spoken {
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
pub async fn http2<T: AsyncRead + Unpin>(io: &mut T, buffer: &mut BytesMut) -> Spoken {
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
        assert_eq!(protocol(&mut near, &mut buffer).await, Spoken::Opaque);
    }
}
