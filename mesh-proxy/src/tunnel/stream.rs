//! One tunnelled connection: bytes both ways, half-close, and resets that stay resets.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use mesh_api::name::Identity;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::h2::connection::Slot;

/// Most bytes taken from one write.
const MAX_WRITE: usize = 64 * 1024;

/// A CONNECT stream that was answered with 200.
///
/// A peer's reset and a dead connection are [`ErrorKind::ConnectionReset`], never a clean end.
/// Dropping a stream that is not at its end resets it.
pub struct TunnelStream {
    send: SendStream<Bytes>,
    receive: RecvStream,
    unread: Bytes,
    ended: Ended,
    peer: Rc<Identity>,
    _slot: Option<Slot>,
}

#[derive(Default)]
struct Ended {
    receiving: bool,
    sending: bool,
}

impl TunnelStream {
    pub(super) fn new(
        send: SendStream<Bytes>,
        receive: RecvStream,
        peer: Rc<Identity>,
        slot: Option<Slot>,
    ) -> Self {
        Self {
            send,
            receive,
            unread: Bytes::new(),
            ended: Ended::default(),
            peer,
            _slot: slot,
        }
    }

    /// Who is at the other end, by its certificate.
    pub fn peer(&self) -> &Identity {
        &self.peer
    }

    /// Ends it as an error, in both directions: the other end sees a reset (RFC 9113 section 8.5).
    pub fn reset(mut self) {
        self.send.send_reset(Reason::CONNECT_ERROR);
    }

    /// Whether it could still carry bytes: the peer has neither ended nor reset it, and sent
    /// nothing that is unread. Never blocks.
    pub fn is_open_and_silent(&mut self) -> bool {
        if self.ended.receiving || self.ended.sending || !self.unread.is_empty() {
            return false;
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        match self.poll_fill(&mut context) {
            Poll::Pending => self.send.poll_reset(&mut context).is_pending(),
            Poll::Ready(_) => false,
        }
    }

    /// Waits for unread bytes or the end of what the peer sends.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() && !self.ended.receiving {
            match ready!(self.receive.poll_data(context)) {
                Some(Ok(bytes)) => self.unread = bytes,
                None => self.ended.receiving = true,
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_room(&mut self, wanted: usize, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended.sending {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        self.send.reserve_capacity(wanted.min(MAX_WRITE));
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(broken(&error))),
                None => return Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
            }
        }
        Poll::Ready(Ok(self.send.capacity().min(wanted).min(MAX_WRITE)))
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(stream.poll_fill(context))?;
        let count = stream.unread.len().min(buffer.remaining());
        buffer.put_slice(&stream.unread[..count]);
        stream.unread.advance(count);
        if count > 0 {
            let released = stream.receive.flow_control().release_capacity(count);
            released.map_err(|error| broken(&error))?;
        }
        Poll::Ready(Ok(()))
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
        let stream = self.get_mut();
        let wanted = slices.iter().map(|slice| slice.len()).sum();
        if wanted == 0 {
            // An empty DATA frame would count against the connection.
            return Poll::Ready(Ok(0));
        }
        let count = ready!(stream.poll_room(wanted, context))?;
        let mut frame = BytesMut::with_capacity(count);
        for slice in slices {
            let part = slice.len().min(count - frame.len());
            frame.extend_from_slice(&slice[..part]);
        }
        let sent = stream.send.send_data(frame.freeze(), false);
        Poll::Ready(sent.map(|()| count).map_err(|error| broken(&error)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's own task writes what is queued.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        if stream.ended.sending {
            return Poll::Ready(Ok(()));
        }
        stream.ended.sending = true;
        let sent = stream.send.send_data(Bytes::new(), true);
        Poll::Ready(sent.map_err(|error| broken(&error)))
    }
}

impl fmt::Debug for TunnelStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelStream")
            .field("id", &self.receive.stream_id())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

fn broken(error: &h2::Error) -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, error.to_string())
}
