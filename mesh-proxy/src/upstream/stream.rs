//! Bytes to and from an endpoint, whatever carries them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::pool::IdleCheck;
use crate::buffer::{Buffer, Fill};
use crate::tunnel::TunnelStream;

/// A connection to an endpoint.
#[derive(Debug)]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A stream of a tunnel.
    Tunnel(TunnelStream),
}

/// Ends a connection as an error, in both directions: the other end sees a reset.
pub trait Reset {
    /// Ends it.
    fn reset(self);
}

impl Reset for TcpStream {
    fn reset(self) {
        // A zero linger time makes the close a RST.
        if let Err(error) = self.set_zero_linger() {
            tracing::debug!(%error, "a connection could not be reset");
        }
    }
}

impl Reset for TunnelStream {
    fn reset(self) {
        TunnelStream::reset(self);
    }
}

impl Reset for Stream {
    fn reset(self) {
        match self {
            Self::Tcp(socket) => socket.reset(),
            Self::Tunnel(stream) => stream.reset(),
        }
    }
}

impl IdleCheck for Stream {
    fn is_usable(&mut self) -> bool {
        match self {
            Self::Tcp(socket) => {
                let blocked = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
                socket
                    .try_read(&mut [0])
                    .is_err_and(|error| blocked(&error))
            }
            Self::Tunnel(stream) => stream.is_open_and_silent(),
        }
    }
}

macro_rules! forward {
    ($self:ident, $method:ident ( $($argument:expr),* )) => {
        match $self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Self::Tunnel(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        forward!(self, poll_read(context, buffer))
    }
}

impl Fill for Stream {
    fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Buffer,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => socket.poll_fill(context, buffer, room),
            Self::Tunnel(stream) => stream.poll_fill(context, buffer, room),
        }
    }

    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(socket) => Some(socket),
            Self::Tunnel(_) => None,
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        forward!(self, poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        forward!(self, poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        forward!(self, poll_shutdown(context))
    }
}
