//! What goes out: heads, bytes of streams, their ends and resets, signs of life and goodbyes.

use std::io::{self, ErrorKind, IoSlice};
use std::task::{Context, Poll};

use bytes::BufMut;

use super::frame::{self, Code, MOST, flag, kind};
use super::state::{Last, Leaving, SHUTDOWN, State, usize_to_window};
use super::stream::Reset;
use crate::h2::RESET_STREAMS;

/// Content of the largest DATA frame sent, whatever larger the peer takes: one TLS record with its header.
const FRAME: usize = 16 * 1024 - frame::HEADER;

impl State {
    /// Sends a head.
    pub(crate) fn head(&mut self, id: u32, block: &[u8], ends: bool) {
        let flags = flag::END_HEADERS | if ends { flag::END_STREAM } else { 0 };
        let out = self.queue(block.len() + frame::HEADER).0;
        frame::put(out, block.len(), kind::HEADERS, flags, id);
        out.put_slice(block);
        if let Some(stream) = self.stream(id) {
            stream.local_ended = ends;
        }
    }

    /// Queues bytes of a stream, as many as the windows and the queue take: at least one.
    pub(crate) fn poll_write(
        &mut self,
        id: u32,
        slices: &[IoSlice<'_>],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let (shared, turn) = (self.shared_room(), self.turns.now());
        let has_ended = self.ended.is_some();
        let Some(stream) = self.stream(id) else {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        };
        if has_ended || stream.reset.is_some() {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        if stream.local_ended {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let shared = shared.min(stream.left(turn));
        let room = shared.min(stream.send_window);
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        if room <= 0 {
            stream.writer = Some(context.waker().clone());
            if shared <= 0 {
                self.turns.wait(id);
            }
            return Poll::Pending;
        }
        let room = usize::try_from(room).unwrap_or(0);
        let count = wanted.min(room).min(self.frame_room(id));
        self.put_data(id, slices, count);
        Poll::Ready(Ok(count))
    }

    /// What the last frame still takes if it is of this stream, else what a new one does.
    fn frame_room(&self, id: u32) -> usize {
        let most = self.max_frame.min(FRAME);
        let filled = self.growing(id).map_or(0, |last| self.filled(last));
        if filled < most { most - filled } else { most }
    }

    fn growing(&self, id: u32) -> Option<Last> {
        self.last.filter(|last| last.stream == id)
    }

    fn filled(&self, last: Last) -> usize {
        self.out.len() - last.at - frame::HEADER
    }

    fn put_data(&mut self, id: u32, slices: &[IoSlice<'_>], count: usize) {
        let max_frame = self.max_frame.min(FRAME);
        self.out.reserve(count + frame::HEADER);
        let grows = self
            .growing(id)
            .filter(|last| self.filled(*last) + count <= max_frame);
        let at = grows.map_or(self.out.len(), |last| last.at);
        if grows.is_none() {
            if self.out.is_empty() {
                self.wake_driver();
            }
            frame::put(&mut self.out, count, kind::DATA, 0, id);
        }
        let mut left = count;
        for slice in slices {
            let part = slice.len().min(left);
            self.out.put_slice(&slice[..part]);
            left -= part;
        }
        if grows.is_some() {
            let length = self.out.len() - at - frame::HEADER;
            let [_, a, b, c] = u32::try_from(length).unwrap_or(0).to_be_bytes();
            self.out[at..at + 3].copy_from_slice(&[a, b, c]);
        }
        self.last = Some(Last { stream: id, at });
        self.credit.sent(count, false);
        let (count, turn) = (usize_to_window(count), self.turns.now());
        self.send_window -= count;
        if let Some(stream) = self.stream(id) {
            stream.queue(turn, count);
        }
    }

    /// Ends what is sent on a stream.
    pub(crate) fn end(&mut self, id: u32) -> io::Result<()> {
        let has_ended = self.ended.is_some();
        let Some(stream) = self.stream(id) else {
            return Err(ErrorKind::ConnectionReset.into());
        };
        if stream.local_ended {
            return Ok(());
        }
        if has_ended || stream.reset.is_some() {
            return Err(ErrorKind::ConnectionReset.into());
        }
        stream.local_ended = true;
        self.credit.sent(0, true);
        match self.last {
            Some(last) if last.stream == id => {
                self.out[last.at + 4] |= flag::END_STREAM;
                self.last = None;
            }
            _ => frame::put(
                self.queue(frame::HEADER).0,
                0,
                kind::DATA,
                flag::END_STREAM,
                id,
            ),
        }
        Ok(())
    }

    /// Resets a stream; its handle, if there is one, learns of it.
    pub(crate) fn reset(&mut self, id: u32, code: Code) {
        let Some(stream) = self.stream(id) else {
            self.send_reset(id, code);
            return;
        };
        if stream.reset.is_none() && stream.is_open() {
            stream.fail(Reset::Here);
            let is_held = stream.is_held;
            self.send_reset(id, code);
            if !is_held {
                self.forget(id);
            }
        }
    }

    pub(super) fn send_reset(&mut self, id: u32, code: Code) {
        frame::number(self.queue(16).0, kind::RST_STREAM, id, code.0);
        if self.resets.len() >= RESET_STREAMS {
            self.resets.pop_front();
        }
        self.resets.push_back(id);
    }

    /// Asks the peer for a sign of life.
    pub(super) fn ping(&mut self) {
        self.is_answered = false;
        frame::ping(self.queue(32).0, 0, *b"mesh\0\0\0\0");
    }

    /// Takes no more streams, in two steps, so that those under way are not lost.
    pub(crate) fn leave(&mut self) {
        if self.leaving == Leaving::No {
            self.leaving = Leaving::Announced;
            let out = self.queue(64).0;
            frame::goaway(out, MOST, Code::NONE);
            frame::ping(out, 0, SHUTDOWN);
        }
    }

    /// Says goodbye with `code`: nothing after it counts.
    pub(super) fn goodbye(&mut self, code: Code) {
        let last = self.highest;
        self.leaving = Leaving::Now;
        frame::goaway(self.queue(32).0, last, code);
    }
}
