//! Keeps the bytes that arrived on a connection, so that `/echo` can show a head as received.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes kept per connection; older ones are let go.
const KEEP: usize = 256 * 1024;

/// The bytes received so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Received(Arc<Mutex<Vec<u8>>>);

/// A stream whose reads are kept in a [`Received`].
pub(super) struct Tee<S> {
    stream: S,
    received: Received,
}

impl<S> Tee<S> {
    pub(super) fn new(stream: S) -> (Self, Received) {
        let received = Received::default();
        let tee = Self {
            stream,
            received: received.clone(),
        };
        (tee, received)
    }
}

impl Received {
    /// Takes the oldest head that begins with `start_line`, and forgets all up to its end.
    pub(super) fn take_head(&self, start_line: &str) -> Option<Vec<u8>> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = find(&bytes, start_line.as_bytes())?;
        let length = find(bytes.get(start..)?, b"\r\n\r\n")? + 4;
        let head = bytes.get(start..start + length)?.to_vec();
        bytes.drain(..start + length);
        Some(head)
    }

    fn keep(&self, fresh: &[u8]) {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend_from_slice(fresh);
        if let Some(excess) = bytes.len().checked_sub(KEEP) {
            bytes.drain(..excess);
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

impl<S: AsyncRead + Unpin> AsyncRead for Tee<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Some(fresh) = buf.filled().get(before..) {
            this.received.keep(fresh);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tee<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
