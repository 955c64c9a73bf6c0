//! Reads into buffers of a worker, in which what carries the bytes may hold them already.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

use super::{Buffer, SIZE, poll_scratch};

/// What a [`Buffer`] is filled from.
pub trait Fill: AsyncRead + Unpin {
    /// One read of about `room` bytes behind what `buffer` holds; one without memory gets some only
    /// if there are any. What has them in a buffer already gives all of that, [`LARGE`](super::LARGE)
    /// bytes at most. Ready with how many they were; 0 at the end.
    ///
    /// # Errors
    ///
    /// The read's.
    fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Buffer,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if room < SIZE && !buffer.owns_memory() {
            // Mostly nothing is there yet, or little.
            return poll_scratch(self, buffer, context);
        }
        buffer.reserve(room);
        let bytes: &mut BytesMut = &mut *buffer;
        // Nothing is lost where it is dropped: it reads at most once.
        let polled = pin!(self.read_buf(bytes)).poll(context);
        buffer.release();
        Poll::Ready(ready!(polled))
    }

    /// The socket, where its bytes are carried as they are.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

impl Fill for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl<T: Fill + ?Sized> Fill for &mut T {
    fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Buffer,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        (**self).poll_fill(context, buffer, room)
    }

    fn socket(&self) -> Option<&TcpStream> {
        (**self).socket()
    }
}

#[cfg(test)]
impl Fill for tokio::io::DuplexStream {}
