//! Which error a breach of the protocol is (RFC 9113 section 5.4).

use super::frame::Code;

/// A breach of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It ends the connection.
    Connection(Code, &'static str),
    /// It ends one stream.
    Stream(u32, Code),
}

/// What becomes of a frame.
pub(super) type Result<T = ()> = std::result::Result<T, Fault>;

/// A fault that ends the connection.
pub(super) const fn broken<T>(code: Code, why: &'static str) -> Result<T> {
    Err(Fault::Connection(code, why))
}

/// A number of 32 bits that is a whole payload.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.try_into().ok()?))
}
