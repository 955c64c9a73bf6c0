//! What is queued for the peer: heads and small content in one buffer, large content as it is.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::buffer::Buffer;
use crate::h1::body::{self, BodyPart};
use crate::h1::head::Framing;

/// Bytes that may be queued before they must be written.
const FULL: usize = 64 * 1024;
/// Content up to here is copied behind what is queued, rather than queued as a piece of its own.
const COPIED: usize = 2 * 1024;
/// Pieces of one vectored write.
const SLICES: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Bytes>,
    tail: Buffer,
    queued: usize,
    /// True once trailers, which end chunked content, were queued.
    ended: bool,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.queued == 0 && self.tail.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queued + self.tail.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= FULL
    }

    pub(super) fn tail(&mut self) -> &mut BytesMut {
        self.tail.reserve(1);
        &mut self.tail
    }

    pub(super) fn queue_data(&mut self, part: BodyPart, framing: Framing) {
        let chunked = framing == Framing::Chunked;
        match part {
            BodyPart::Data(data) if data.is_empty() => {}
            BodyPart::Data(data) => {
                if chunked {
                    body::write_chunk_size(data.len(), self.tail());
                }
                self.queue_bytes(data);
                if chunked {
                    self.tail().extend_from_slice(b"\r\n");
                }
            }
            BodyPart::Trailers(lines) if chunked => {
                self.tail().extend_from_slice(b"0\r\n");
                self.queue_bytes(lines);
                self.tail().extend_from_slice(b"\r\n");
                self.ended = true;
            }
            BodyPart::Trailers(_) => {}
        }
    }

    pub(super) fn queue_end(&mut self, framing: Framing) {
        let ended = std::mem::take(&mut self.ended);
        if framing == Framing::Chunked && !ended {
            self.tail().extend_from_slice(b"0\r\n\r\n");
        }
    }

    /// Writes all of it, then flushes the connection; the buffer goes back to the worker.
    pub(super) fn poll_flush<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let written = if self.pieces.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.tail))?
            } else {
                ready!(self.poll_write_pieces(io, cx))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.drop_written(written);
        }
        self.tail.release();
        Pin::new(io).poll_flush(cx)
    }

    fn poll_write_pieces<T: AsyncWrite + Unpin>(
        &self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        let pieces = self
            .pieces
            .iter()
            .map(|piece| &piece[..])
            .chain([&self.tail[..]]);
        for (slice, piece) in slices
            .iter_mut()
            .zip(pieces.filter(|piece| !piece.is_empty()))
        {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        let slices = slices.get(..used).unwrap_or_default();
        Pin::new(io).poll_write_vectored(cx, slices)
    }

    fn queue_bytes(&mut self, bytes: Bytes) {
        if bytes.len() <= COPIED {
            self.tail().extend_from_slice(&bytes);
            return;
        }
        if !self.tail.is_empty() {
            let before = self.tail.split().freeze();
            self.queued += before.len();
            self.pieces.push_back(before);
        }
        self.queued += bytes.len();
        self.pieces.push_back(bytes);
    }

    fn drop_written(&mut self, mut written: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            let taken = piece.len().min(written);
            piece.advance(taken);
            self.queued -= taken;
            written -= taken;
            if !piece.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
        let rest = written.min(self.tail.len());
        self.tail.advance(rest);
    }
}
