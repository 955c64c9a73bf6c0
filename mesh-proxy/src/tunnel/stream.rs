//! One tunnelled connection: bytes both ways, half-close, and resets that stay resets.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use mesh_api::name::Identity;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Slot;
use super::mux::{Code, State};
use crate::buffer::{Buffer, Fill};

/// A stream of a connection; dropping it resets what is not at its end.
pub(super) struct Handle {
    state: Rc<RefCell<State>>,
    id: u32,
    /// Given back after the state has forgotten the stream.
    _slot: Option<Slot>,
}

impl Handle {
    pub(super) fn new(state: Rc<RefCell<State>>, id: u32, slot: Option<Slot>) -> Self {
        Self {
            state,
            id,
            _slot: slot,
        }
    }

    /// Sends a head.
    pub(super) fn answer(&self, block: &[u8], ends: bool) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        if state.failure().is_some() || state.reset_of(self.id).is_some() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        state.head(self.id, block, ends);
        Ok(())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.state.borrow_mut().drop_handle(self.id);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.id).finish()
    }
}

/// A CONNECT stream that was answered with 200.
///
/// A peer's reset and a dead connection are [`io::ErrorKind::ConnectionReset`], never a clean end.
/// Dropping a stream that is not at its end resets it.
pub struct TunnelStream {
    handle: Handle,
    peer: Rc<Identity>,
}

impl TunnelStream {
    pub(super) fn new(handle: Handle, peer: Rc<Identity>) -> Self {
        Self { handle, peer }
    }

    /// Who is at the other end, by its certificate.
    pub fn peer(&self) -> &Identity {
        &self.peer
    }

    /// Ends it as an error, in both directions: the other end sees a reset (RFC 9113 section 8.5).
    pub fn reset(self) {
        let mut state = self.handle.state.borrow_mut();
        state.reset(self.handle.id, Code::CONNECT);
    }

    /// Whether it could still carry bytes: the peer has neither ended nor reset it, and sent
    /// nothing that is unread. Never blocks.
    pub fn is_open_and_silent(&mut self) -> bool {
        self.handle.state.borrow_mut().is_silent(self.handle.id)
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Handle { state, id, .. } = &self.handle;
        let mut state = state.borrow_mut();
        if ready!(state.poll_unread(*id, context))? > 0 {
            state.read(*id, buffer.remaining(), |bytes| buffer.put_slice(bytes));
        }
        Poll::Ready(Ok(()))
    }
}

impl Fill for TunnelStream {
    fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Buffer,
        _room: usize,
    ) -> Poll<io::Result<usize>> {
        let Handle { state, id, .. } = &self.handle;
        let mut state = state.borrow_mut();
        if ready!(state.poll_unread(*id, context))? == 0 {
            return Poll::Ready(Ok(0));
        }
        let piece = state.take_unread(*id);
        let count = piece.len();
        if buffer.is_empty() {
            *buffer = piece;
        } else {
            buffer.reserve(count);
            buffer.extend_from_slice(&piece);
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.iter().all(|slice| slice.is_empty()) {
            // An empty DATA frame would count against the connection.
            return Poll::Ready(Ok(0));
        }
        let Handle { state, id, .. } = &self.handle;
        state.borrow_mut().poll_write(*id, slices, context)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes what is queued.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Handle { state, id, .. } = &self.handle;
        Poll::Ready(state.borrow_mut().end(*id))
    }
}

impl fmt::Debug for TunnelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelStream")
            .field("id", &self.handle.id)
            .field("peer", &self.peer)
            .finish()
    }
}
