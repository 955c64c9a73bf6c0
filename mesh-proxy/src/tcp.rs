//! Opaque forwarding: bytes both ways, each direction ending by itself. May use `drain` and `upstream`.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::drain;
use crate::upstream::Reset;

/// Bytes carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// From downstream to upstream.
    pub sent: u64,
    /// From upstream to downstream.
    pub received: u64,
}

/// Writes `first` upstream, then copies both ways until both ends are done or a drain cuts.
///
/// # Errors
/// The first error of either leg; both are then reset.
pub async fn forward<D, U>(
    mut downstream: D,
    mut upstream: U,
    first: &[u8],
    mut drain: drain::Watch,
) -> io::Result<Carried>
where
    D: AsyncRead + AsyncWrite + Reset + Unpin,
    U: AsyncRead + AsyncWrite + Reset + Unpin,
{
    upstream.write_all(first).await?;
    let copy = tokio::io::copy_bidirectional(&mut downstream, &mut upstream);
    let carried = tokio::select! {
        copied = copy => copied.map(|(sent, received)| Carried { sent, received }),
        () = drain.cut() => Err(io::ErrorKind::ConnectionAborted.into()),
    };
    if carried.is_err() {
        // What broke on one leg must not look like an end on the other.
        downstream.reset();
        upstream.reset();
    }
    carried
}
