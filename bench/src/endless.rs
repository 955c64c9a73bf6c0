//! A connection on which the same message comes again and again, and what is written is lost.
//!
//! May use nothing of this crate.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use mesh_proxy::buffer::Fill;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Each read gives one whole message.
#[derive(Debug)]
pub(crate) struct Endless(&'static [u8]);

impl Endless {
    pub(crate) fn new(message: &'static [u8]) -> Self {
        Self(message)
    }
}

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if into.remaining() < self.0.len() {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        into.put_slice(self.0);
        Poll::Ready(Ok(()))
    }
}

impl Fill for Endless {}

impl AsyncWrite for Endless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The value of a future that waits for nothing.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
