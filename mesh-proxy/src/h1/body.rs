//! Content: taken out of its framing on one side, put into the other side's (RFC 9112 sections 6 and 7).

use bytes::{Buf, Bytes, BytesMut};

use crate::h1::field::{Fields, Kind};
use crate::h1::head::Framing;
use crate::h1::reject::Refusal;
use crate::h1::scan::{Scan, Section};

/// Digits of a chunk size.
const MAX_DIGITS: u8 = 16;
/// Bytes of one chunk extension.
const MAX_EXTENSION: usize = 256;
/// Bytes of all chunk extensions of a body.
const MAX_EXTENSIONS: usize = 16 * 1024;

/// A piece of content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPart {
    /// Bytes, without chunk framing; never empty.
    Data(Bytes),
    /// The trailers, each a line that ends with CRLF, as received and legal; the last part.
    Trailers(Bytes),
}

/// How far the content of one message has been read.
#[derive(Debug)]
pub struct Body {
    state: State,
    extensions: usize,
}

#[derive(Debug)]
enum State {
    Length(u64),
    UntilClose,
    Size { value: u64, digits: u8 },
    Extension { value: u64, len: usize },
    Chunk(u64),
    ChunkEnd,
    Trailers(Box<Scan>),
    Done,
    Failed,
}

/// What [`Body::take`] found.
pub(super) enum Taken {
    Part(BodyPart),
    End,
    More,
}

impl Body {
    /// The content behind a head with this framing.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size {
                value: 0,
                digits: 0,
            },
            Framing::UntilClose => State::UntilClose,
        };
        Self {
            state,
            extensions: 0,
        }
    }

    /// True if all of it was read.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// True if it was refused or cut: it must not be completed upstream.
    pub fn is_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    pub(super) fn fail(&mut self) {
        self.state = State::Failed;
    }

    /// The peer closed: true if that is how this content ends.
    pub(super) fn close(&mut self) -> bool {
        let ends = matches!(self.state, State::UntilClose | State::Done);
        self.state = if ends { State::Done } else { State::Failed };
        ends
    }

    /// Takes the next part out of what was read.
    pub(super) fn take(&mut self, read: &mut BytesMut) -> Result<Taken, Refusal> {
        loop {
            match &mut self.state {
                State::Done => return Ok(Taken::End),
                State::Failed => return Ok(Taken::More),
                _ if read.is_empty() => return Ok(Taken::More),
                State::UntilClose => return Ok(data(read, u64::MAX).0),
                State::Length(left) => {
                    let (part, len) = data(read, *left);
                    *left -= len;
                    if *left == 0 {
                        self.state = State::Done;
                    }
                    return Ok(part);
                }
                State::Chunk(left) => {
                    let (part, len) = data(read, *left);
                    *left -= len;
                    if *left == 0 {
                        self.state = State::ChunkEnd;
                    }
                    return Ok(part);
                }
                State::Trailers(scan) => {
                    let Some(complete) = scan.advance(read)? else {
                        return Ok(Taken::More);
                    };
                    self.state = State::Done;
                    return trailers(&read.split_to(complete.len).freeze(), &complete.fields);
                }
                State::ChunkEnd | State::Size { .. } | State::Extension { .. } => {
                    if !self.take_framing(read)? {
                        return Ok(Taken::More);
                    }
                }
            }
        }
    }

    /// Goes over the bytes between data; false if more are needed.
    fn take_framing(&mut self, read: &mut BytesMut) -> Result<bool, Refusal> {
        let Some(byte) = read.first().copied() else {
            return Ok(false);
        };
        match &mut self.state {
            State::Size { digits: 1.., value } if byte == b'\r' => {
                let value = *value;
                return self.end_size(value, read, Refusal::BadChunkSize);
            }
            State::Size { digits: 1.., value } if byte == b';' => {
                self.state = State::Extension {
                    value: *value,
                    len: 0,
                };
                read.advance(1);
            }
            State::Size { value, digits } => {
                let digit = hex(byte).filter(|_| *digits < MAX_DIGITS);
                let digit = digit.ok_or(Refusal::BadChunkSize)?;
                *digits += 1;
                let next = value
                    .checked_mul(16)
                    .and_then(|value| value.checked_add(digit));
                let fits = next.filter(|value| *value <= i64::MAX.unsigned_abs());
                *value = fits.ok_or(Refusal::ChunkTooLarge)?;
                read.advance(1);
            }
            State::Extension { value, .. } if byte == b'\r' => {
                let value = *value;
                return self.end_size(value, read, Refusal::BadChunkExtension);
            }
            State::Extension { len, .. } => {
                if byte != b'\t' && (byte < b' ' || byte == 0x7f) {
                    return Err(Refusal::BadChunkExtension);
                }
                *len += 1;
                self.extensions += 1;
                if *len > MAX_EXTENSION || self.extensions > MAX_EXTENSIONS {
                    return Err(Refusal::ChunkExtensionTooLong);
                }
                read.advance(1);
            }
            _ => {
                if !take_crlf(read, Refusal::BadChunkEnd)? {
                    return Ok(false);
                }
                self.state = State::Size {
                    value: 0,
                    digits: 0,
                };
            }
        }
        Ok(true)
    }

    fn end_size(&mut self, value: u64, read: &mut BytesMut, bad: Refusal) -> Result<bool, Refusal> {
        if !take_crlf(read, bad)? {
            return Ok(false);
        }
        self.state = match value {
            0 => State::Trailers(Box::new(Scan::new(Section::Trailers))),
            left => State::Chunk(left),
        };
        Ok(true)
    }
}

/// The head of a chunk of `len` bytes, in `out`.
pub(super) fn write_chunk_size(len: usize, out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    let mut start = text.len();
    let mut rest = len;
    for slot in text.iter_mut().rev() {
        *slot = DIGITS.get(rest & 15).copied().unwrap_or(b'0');
        start -= 1;
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(text.get(start..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

fn data(read: &mut BytesMut, left: u64) -> (Taken, u64) {
    let len = usize::try_from(left).unwrap_or(usize::MAX).min(read.len());
    (
        Taken::Part(BodyPart::Data(read.split_to(len).freeze())),
        len as u64,
    )
}

fn take_crlf(read: &mut BytesMut, bad: Refusal) -> Result<bool, Refusal> {
    match (read.first(), read.get(1)) {
        (Some(b'\r'), Some(b'\n')) => {
            read.advance(2);
            Ok(true)
        }
        (None, _) | (Some(b'\r'), None) => Ok(false),
        _ => Err(bad),
    }
}

fn trailers(section: &Bytes, fields: &Fields) -> Result<Taken, Refusal> {
    let lines = section.slice(..section.len().saturating_sub(2));
    if lines.is_empty() {
        return Ok(Taken::End);
    }
    let bad = |name: &[u8]| Kind::of(name) != Kind::Other || is_forbidden(name);
    if fields.iter().any(|field| bad(field.name.of(section))) {
        return Err(Refusal::BadTrailer);
    }
    Ok(Taken::Part(BodyPart::Trailers(lines)))
}

/// Fields that mean something before the content, or not at all (RFC 9110 section 6.5.1).
pub(crate) fn is_forbidden(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 11] = [
        b"trailer",
        b"cookie",
        b"set-cookie",
        b"content-encoding",
        b"content-type",
        b"content-range",
        b"cache-control",
        b"forwarded",
        b"location",
        b"proxy-authorization",
        b"mesh-error",
    ];
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}
