//! The server name of a TLS ClientHello, read from a connection's first bytes without opening TLS.
//!
//! The bytes may end anywhere and come in any number of records (RFC 8446 section 5.1): a hello with
//! a post-quantum key share is longer than one packet. What is no TLS is told from what is broken.

use std::borrow::Cow;

/// Most bytes that are read for a ClientHello, the heads of its records included.
pub const MAX_BYTES: usize = 16 * 1024;

/// What a connection's first bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// So far the start of a ClientHello: read on, then ask again with all bytes.
    NeedMore,
    /// No TLS.
    NotTls,
    /// A whole ClientHello.
    Hello(Hello),
    /// TLS, but no ClientHello that a server would take; in words, why.
    Malformed(&'static str),
}

/// What a ClientHello asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The host that the client wants (RFC 6066 section 3), in lower case without a final dot.
    pub server_name: Option<String>,
    /// The application protocols it offers (RFC 7301), in its order.
    pub alpn: Vec<Vec<u8>>,
}

/// Reads `bytes`, all that came so far: at least 1, at most [`MAX_BYTES`] count.
pub fn read(bytes: &[u8]) -> Reading {
    let bytes = bytes.get(..MAX_BYTES).unwrap_or(bytes);
    let handshake = match handshake(bytes) {
        Ok(handshake) => handshake,
        Err(reading) => return reading,
    };
    match handshake.split_first_chunk::<4>() {
        Some((head, rest)) => match rest.get(..length(*head)) {
            Some(body) => hello(body).map_or_else(Reading::Malformed, Reading::Hello),
            None => more(bytes),
        },
        None => more(bytes),
    }
}

const HELLO: u8 = 1;
const HANDSHAKE: u8 = 22;
/// Largest fragment of a record (RFC 8446 section 5.1).
const MAX_FRAGMENT: usize = 16 * 1024;
const TOO_LONG: Reading = Reading::Malformed("the ClientHello is longer than 16 KiB");

fn more(bytes: &[u8]) -> Reading {
    if bytes.len() < MAX_BYTES {
        Reading::NeedMore
    } else {
        TOO_LONG
    }
}

/// The fragments of the handshake records in `bytes`, the last as far as it came.
fn handshake(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Reading> {
    let mut joined: Cow<'_, [u8]> = Cow::Borrowed(&[]);
    let mut rest = bytes;
    while let Some((&kind, after)) = rest.split_first() {
        if !starts_record(kind, after.first().copied()) {
            return Err(if joined.is_empty() {
                Reading::NotTls
            } else {
                Reading::Malformed("a record of another kind is inside the ClientHello")
            });
        }
        let Some((&[_, _, high, low], after)) = after.split_first_chunk::<4>() else {
            break;
        };
        let length = usize::from(high) << 8 | usize::from(low);
        if length == 0 || length > MAX_FRAGMENT {
            return Err(Reading::Malformed("a record is empty or too long"));
        }
        let fragment = after.get(..length).unwrap_or(after);
        if joined.is_empty() {
            joined = Cow::Borrowed(fragment);
        } else {
            joined.to_mut().extend_from_slice(fragment);
        }
        rest = after.get(length..).unwrap_or_default();
        match is_whole(&joined) {
            Ok(false) => {}
            // Early data may follow, in records of other kinds.
            Ok(true) => break,
            Err(reading) => return Err(reading),
        }
    }
    Ok(joined)
}

/// A handshake record of TLS (major version 3), as far as its first two bytes say.
fn starts_record(kind: u8, major: Option<u8>) -> bool {
    kind == HANDSHAKE && major.is_none_or(|major| major == 3)
}

/// True once the whole message is there; an error for one that no ClientHello starts like.
fn is_whole(handshake: &[u8]) -> Result<bool, Reading> {
    if handshake.first().is_some_and(|kind| *kind != HELLO) {
        return Err(Reading::NotTls);
    }
    match handshake.split_first_chunk::<4>() {
        Some((head, _)) if length(*head) > MAX_BYTES => Err(TOO_LONG),
        Some((head, rest)) => Ok(rest.len() >= length(*head)),
        None => Ok(false),
    }
}

/// The length of a handshake message, by its head.
fn length([_, a, b, c]: [u8; 4]) -> usize {
    usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
}

/// Reads the body of a ClientHello (RFC 8446 section 4.1.2).
fn hello(body: &[u8]) -> Result<Hello, &'static str> {
    const CUT: &str = "a length in the ClientHello leads beyond its end";
    let mut body = Bytes(body);
    body.take(2 + 32).ok_or(CUT)?;
    let session = body.vector8().ok_or(CUT)?;
    let suites = body.vector16().ok_or(CUT)?;
    let compressions = body.vector8().ok_or(CUT)?;
    if session.len() > 32 || suites.len() < 2 || suites.len() % 2 != 0 || compressions.is_empty() {
        return Err("a list in the ClientHello is of a length it cannot have");
    }
    let mut hello = Hello::default();
    if body.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Bytes(body.vector16().ok_or(CUT)?);
    if !body.0.is_empty() {
        return Err("something follows the extensions of the ClientHello");
    }
    let (mut has_name, mut has_alpn) = (false, false);
    while !extensions.0.is_empty() {
        let kind = extensions.number16().ok_or(CUT)?;
        let content = extensions.vector16().ok_or(CUT)?;
        let seen = match kind {
            SERVER_NAME => {
                hello.server_name = server_name(content)?;
                &mut has_name
            }
            ALPN => {
                hello.alpn = protocols(content)?;
                &mut has_alpn
            }
            _ => continue,
        };
        if std::mem::replace(seen, true) {
            return Err("an extension of the ClientHello comes twice");
        }
    }
    Ok(hello)
}

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const HOST_NAME: u8 = 0;

fn server_name(content: &[u8]) -> Result<Option<String>, &'static str> {
    const BAD: &str = "the server name list of the ClientHello is malformed";
    let mut content = Bytes(content);
    let mut names = Bytes(content.vector16().ok_or(BAD)?);
    if names.0.is_empty() || !content.0.is_empty() {
        return Err(BAD);
    }
    let mut host = None;
    while !names.0.is_empty() {
        let kind = names.take(1).and_then(<[u8]>::first).copied();
        let name = names.vector16().ok_or(BAD)?;
        if kind == Some(HOST_NAME) && host.replace(name).is_some() {
            return Err(BAD);
        }
    }
    host.map(host_name).transpose()
}

fn host_name(name: &[u8]) -> Result<String, &'static str> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let good = (1..=255).contains(&name.len()) && name.iter().all(plain);
    let text = std::str::from_utf8(name).ok().filter(|_| good);
    text.map(str::to_ascii_lowercase)
        .ok_or("the server name of the ClientHello is no host name")
}

fn protocols(content: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    const BAD: &str = "the protocol list of the ClientHello is malformed";
    let mut content = Bytes(content);
    let mut names = Bytes(content.vector16().ok_or(BAD)?);
    let mut protocols = Vec::new();
    while !names.0.is_empty() {
        let name = names.vector8().filter(|name| !name.is_empty());
        protocols.push(name.ok_or(BAD)?.to_vec());
    }
    if protocols.is_empty() || !content.0.is_empty() {
        return Err(BAD);
    }
    Ok(protocols)
}

/// Bytes that are read from the front; `None` where there are too few.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number16(&mut self) -> Option<u16> {
        let (&bytes, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(bytes))
    }

    fn vector8(&mut self) -> Option<&'b [u8]> {
        let length = self.take(1)?.first().copied()?;
        self.take(length.into())
    }

    fn vector16(&mut self) -> Option<&'b [u8]> {
        let length = self.number16()?;
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests;
