//! Counts the frames of a connection as its bytes pass, so that a peer cannot keep us busy with
//! frames that do no work.
//!
//! `h2` bounds resets, CONTINUATION and small DATA; it answers any number of SETTINGS and PING and
//! takes any number of PRIORITY and `WINDOW_UPDATE`. Here each of those costs a credit. Work that was
//! done earns credits, and so does time; a peer without credit is cut off.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Credits at the start.
const START: u64 = 1000;
/// The most that can be saved up.
const MOST: u64 = 4000;
/// Credits that a second earns.
const PER_SECOND: u64 = 100;
/// Below this many the time since the last look is counted.
const LOW: u64 = 500;
/// Content that earns one credit, in bytes.
const WORTH: u64 = 512;
/// What the end of a message we sent earns.
const MESSAGE: u64 = 2;
/// Bytes of a client's preface, before its first frame.
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// A connection whose frames are counted.
pub(super) struct Metered<T> {
    io: T,
    /// Read before, by the detection of the protocol.
    first: BytesMut,
    received: Frames,
    sent: Frames,
    credit: Credit,
}

/// What a reset stream costs a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resets {
    /// As any frame that does no work.
    Cost,
    /// Nothing: a peer of the mesh passes on what all its callers cancel, and has charged them; and
    /// an app may refuse what it likes.
    Free,
}

/// What a peer may still cost.
pub(crate) struct Credit {
    resets: Resets,
    left: u64,
    counted: Instant,
    exhausted: bool,
}

/// A frame's header, as far as it matters here.
#[derive(Clone, Copy)]
struct Frame {
    length: u64,
    kind: u8,
    flags: u8,
}

/// Finds the headers of frames in a stream of bytes.
struct Frames {
    header: [u8; 9],
    filled: usize,
    skip: usize,
}

impl<T> Metered<T> {
    /// The server's side of a connection, of which `first` was read already.
    pub(super) fn server(io: T, first: BytesMut, resets: Resets) -> Self {
        Self::new(io, first, (PREFACE, 0), resets)
    }

    /// The client's side of a connection.
    pub(super) fn client(io: T) -> Self {
        Self::new(io, BytesMut::new(), (0, PREFACE), Resets::Free)
    }

    fn new(io: T, first: BytesMut, (received, sent): (usize, usize), resets: Resets) -> Self {
        Self {
            io,
            first,
            received: Frames::after(received),
            sent: Frames::after(sent),
            credit: Credit::new(resets),
        }
    }

    fn count_received(&mut self, bytes: &[u8]) {
        let credit = &mut self.credit;
        self.received.find(bytes, |frame| credit.receive(frame));
    }

    fn count_sent(&mut self, slices: &[IoSlice<'_>], mut written: usize) {
        let credit = &mut self.credit;
        for slice in slices {
            let part = slice.get(..written.min(slice.len())).unwrap_or_default();
            written -= part.len();
            self.sent.find(part, |frame| credit.send(frame));
        }
    }
}

impl Credit {
    /// That of a peer of the mesh.
    pub(crate) fn of_mesh() -> Self {
        Self::new(Resets::Free)
    }

    fn new(resets: Resets) -> Self {
        Self {
            resets,
            left: START,
            counted: Instant::now(),
            exhausted: false,
        }
    }

    /// Charges for a frame that came; whether the peer may go on.
    pub(crate) fn received(&mut self, kind: u8, length: usize, flags: u8) -> bool {
        let length = length as u64;
        self.receive(Frame {
            length,
            kind,
            flags,
        });
        !self.exhausted
    }

    /// Work was done for the peer: content, and maybe the end of a message.
    pub(crate) fn sent(&mut self, length: usize, ends: bool) {
        self.send(Frame {
            length: length as u64,
            kind: DATA,
            flags: if ends { END_STREAM } else { 0 },
        });
    }

    /// Charges for something else; whether the peer may go on.
    pub(crate) fn charge(&mut self) -> bool {
        self.spend();
        !self.exhausted
    }

    fn receive(&mut self, frame: Frame) {
        match frame.kind {
            HEADERS => {}
            RST_STREAM if self.resets == Resets::Free => {}
            DATA if frame.length > 0 => self.earn(frame.length / WORTH),
            DATA if frame.flags & END_STREAM != 0 => {}
            // RST_STREAM, SETTINGS, PING, PRIORITY, WINDOW_UPDATE, CONTINUATION, empty DATA, and
            // whatever has no meaning.
            _ => self.spend(),
        }
    }

    fn send(&mut self, frame: Frame) {
        if frame.kind == DATA && frame.length > 0 {
            self.earn(1 + frame.length / WORTH);
        }
        if frame.kind <= HEADERS && frame.flags & END_STREAM != 0 {
            self.earn(MESSAGE);
        }
    }

    fn earn(&mut self, credits: u64) {
        self.left = (self.left + credits).min(MOST);
    }

    fn spend(&mut self) {
        if self.left < LOW {
            let now = Instant::now();
            let passed = now.saturating_duration_since(self.counted).as_millis();
            let earned = u64::try_from(passed).unwrap_or(u64::MAX) / (1000 / PER_SECOND);
            if earned > 0 {
                self.counted = now;
                self.earn(earned);
            }
        }
        self.exhausted |= self.left == 0;
        self.left = self.left.saturating_sub(1);
    }
}

impl Frames {
    fn after(skip: usize) -> Self {
        Self {
            header: [0; 9],
            filled: 0,
            skip,
        }
    }

    fn find(&mut self, mut bytes: &[u8], mut visit: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes.advance(skipped);
            let taken = (self.header.len() - self.filled).min(bytes.len());
            let room = self.header.get_mut(self.filled..self.filled + taken);
            if let (Some(room), Some(part)) = (room, bytes.get(..taken)) {
                room.copy_from_slice(part);
            }
            self.filled += taken;
            bytes.advance(taken);
            if self.filled == self.header.len() {
                self.filled = 0;
                let [a, b, c, kind, flags, ..] = self.header;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.skip = length as usize;
                visit(Frame {
                    length: u64::from(length),
                    kind,
                    flags,
                });
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let metered = self.get_mut();
        if metered.credit.exhausted {
            let text = "the peer sends frames that do no work";
            return Poll::Ready(Err(io::Error::other(text)));
        }
        let before = buffer.filled().len();
        if metered.first.is_empty() {
            ready!(Pin::new(&mut metered.io).poll_read(context, buffer))?;
        } else {
            let count = metered.first.len().min(buffer.remaining());
            buffer.put_slice(&metered.first.split_to(count));
            if metered.first.is_empty() {
                metered.first = BytesMut::new();
            }
        }
        let read = buffer.filled().get(before..).unwrap_or_default();
        metered.count_received(read);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
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
        let metered = self.get_mut();
        let written = ready!(Pin::new(&mut metered.io).poll_write_vectored(context, slices))?;
        metered.count_sent(slices, written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}
