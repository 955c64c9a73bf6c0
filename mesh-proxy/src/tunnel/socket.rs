//! A socket between proxies that reads ahead: rustls asks for 4 KiB at a time, the records of a
//! turn are often longer, and each read is a system call. May use `buffer`.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::buffer::{Buffer, SIZE};

/// Room for the largest read: those that fill theirs get more.
const MAX_READ: usize = 128 * 1024;

/// A socket, and what was read of it before it was asked for.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    ahead: Buffer,
    /// Room for the next read.
    room: usize,
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self {
            stream,
            ahead: Buffer::default(),
            room: SIZE,
        }
    }
}

impl Socket {
    /// Reads once into an empty buffer.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead.reserve(self.room);
        let bytes: &mut BytesMut = &mut self.ahead;
        // Nothing is lost where it is dropped: it reads at most once.
        let polled = pin!(self.stream.read_buf(bytes)).poll(context);
        match polled {
            Poll::Ready(Ok(count)) => {
                let filled = count >= self.room;
                self.room = if filled { self.room * 4 } else { SIZE }.min(MAX_READ);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.ahead.release();
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if socket.ahead.is_empty() {
            ready!(socket.poll_fill(context))?;
        }
        let count = socket.ahead.len().min(buffer.remaining());
        buffer.put_slice(&socket.ahead[..count]);
        socket.ahead.advance(count);
        socket.ahead.release();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
