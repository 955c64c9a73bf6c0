//! Frames of HTTP/2 (RFC 9113 section 4): their header, and those we send.

use bytes::{BufMut, BytesMut};

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;
/// What a client sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest window, and the largest number of a stream.
pub(super) const MOST: u32 = (1 << 31) - 1;

/// Types of frames.
pub(super) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(super) mod flag {
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 32;
}

/// Identifiers of settings.
pub(super) mod setting {
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW: u16 = 4;
    pub(crate) const MAX_FRAME: u16 = 5;
    pub(crate) const HEADER_LIST: u16 = 6;
}

/// Codes of errors (RFC 9113 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

impl Code {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const PROTOCOL: Self = Self(1);
    pub(crate) const FLOW_CONTROL: Self = Self(3);
    pub(crate) const STREAM_CLOSED: Self = Self(5);
    pub(crate) const FRAME_SIZE: Self = Self(6);
    pub(crate) const REFUSED: Self = Self(7);
    pub(crate) const CANCEL: Self = Self(8);
    pub(crate) const COMPRESSION: Self = Self(9);
    pub(crate) const CONNECT: Self = Self(10);
    pub(crate) const CALM: Self = Self(11);
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Header {
    /// Reads one, once all its bytes are there.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<HEADER>()?;
        let (length, stream) = (bytes.first_chunk()?, bytes.last_chunk()?);
        Some(Self {
            length: (u32::from_be_bytes(*length) >> 8) as usize,
            kind: bytes[3],
            flags: bytes[4],
            stream: u32::from_be_bytes(*stream) & MOST,
        })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame's header.
#[expect(clippy::cast_possible_truncation, reason = "lengths are below 2^24")]
pub(super) fn put(out: &mut BytesMut, length: usize, kind: u8, flags: u8, stream: u32) {
    out.put_u32((length as u32) << 8 | u32::from(kind));
    out.put_u8(flags);
    out.put_u32(stream);
}

/// Appends SETTINGS.
pub(super) fn settings(out: &mut BytesMut, settings: &[(u16, u32)]) {
    put(out, settings.len() * 6, kind::SETTINGS, 0, 0);
    for (id, value) in settings {
        out.put_u16(*id);
        out.put_u32(*value);
    }
}

/// Appends a frame of one number: `RST_STREAM` or `WINDOW_UPDATE`.
pub(super) fn number(out: &mut BytesMut, kind: u8, stream: u32, value: u32) {
    put(out, 4, kind, 0, stream);
    out.put_u32(value);
}

/// Appends PING or its answer.
pub(super) fn ping(out: &mut BytesMut, flags: u8, payload: [u8; 8]) {
    put(out, 8, kind::PING, flags, 0);
    out.put_slice(&payload);
}

/// Appends GOAWAY.
pub(super) fn goaway(out: &mut BytesMut, last: u32, code: Code) {
    put(out, 8, kind::GOAWAY, 0, 0);
    out.put_u32(last);
    out.put_u32(code.0);
}
