//! Tells what a connection speaks by its first bytes, where the port does not declare it.
//!
//! May use `buffer`. Waits at most [`WAIT`]; silence means opaque (a server may speak first).

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

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

    #[tokio::test(start_paused = true)]
    async fn silence_is_opaque() {
        let (mut near, _far) = tokio::io::duplex(64);
        let mut buffer = BytesMut::new();
        assert_eq!(protocol(&mut near, &mut buffer).await, Spoken::Opaque);
    }
}
