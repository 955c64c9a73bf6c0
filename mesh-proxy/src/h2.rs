//! HTTP/2 ends on the crate `h2`, which frames, compresses and controls flow; what it does not
//! bound is bounded here.
//!
//! [`server`] takes requests, [`client`] sends them on connections that [`peer`] shares. Heads are
//! those of [`crate::h1`], so that everything after reading is the same for both versions. May use
//! `h1`.

pub mod client;
pub(crate) mod connection;
mod content;
mod head;
mod meter;
pub(crate) mod peer;
pub mod server;
#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::io;

use h2::Reason;

pub use self::client::ClientStream;
pub(crate) use self::meter::Credit;
pub use self::meter::Resets;
pub use self::server::ServerStream;

/// Unread bytes that a peer may send: on one stream, and on one connection. The second covers
/// [`MAX_STREAMS`] of the first, so that streams that stall never stop the others.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// Of one stream.
    pub stream: u32,
    /// Of a connection.
    pub connection: u32,
}

/// The windows of HTTP/2 ends.
pub const ENDS: Windows = Windows {
    stream: 256 * 1024,
    connection: 25 * 1024 * 1024,
};

/// Streams that may be open on one connection.
pub const MAX_STREAMS: u32 = 100;
/// Bytes of one stream kept while the peer takes none.
pub(crate) const SEND_BUFFER: usize = 256 * 1024;
/// Longest frame taken from a peer of the mesh or an app.
pub(crate) const FRAME_SIZE: u32 = 64 * 1024;
/// Longest header list taken, in bytes as HTTP/2 counts them.
pub(crate) const HEADER_LIST: u32 = 64 * 1024;
/// What h2 may spend on unread small DATA frames, in bytes (256 a frame): bounds the memory of a
/// connection whose peer sends byte by byte.
pub(crate) const SMALL_FRAMES: usize = 64 * 1024 * 1024;
/// Reset streams remembered, so that late frames of them are ignored rather than an error.
pub(crate) const RESET_STREAMS: usize = 1024;

/// True if the peer said that it processed nothing of the request (RFC 9113 section 8.7).
pub fn is_unprocessed(error: &io::Error) -> bool {
    inner(error).is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
    })
}

/// True if the peer takes no more streams on the connection.
pub(crate) fn is_leaving(error: &io::Error) -> bool {
    inner(error).is_some_and(h2::Error::is_go_away)
}

/// The code to reset a stream with, because of `error`: the one that a peer reset its own with, so
/// that a cancelled call stays a cancelled call.
pub fn reason_of(error: &(dyn StdError + 'static)) -> Reason {
    let mut next = Some(error);
    while let Some(error) = next {
        let wrapped = error.downcast_ref::<io::Error>().and_then(inner);
        if let Some(h2) = wrapped.or_else(|| error.downcast_ref::<h2::Error>())
            && let Some(reason) = h2.reason().filter(|_| h2.is_reset())
        {
            return match reason {
                // Said of this stream, these would be untrue: it was processed, and is not whole.
                Reason::REFUSED_STREAM | Reason::NO_ERROR => Reason::INTERNAL_ERROR,
                reason => reason,
            };
        }
        next = error.source();
    }
    Reason::INTERNAL_ERROR
}

fn inner(error: &io::Error) -> Option<&h2::Error> {
    error.get_ref()?.downcast_ref::<h2::Error>()
}

/// As the failure of a connection; the code stays inside.
fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
