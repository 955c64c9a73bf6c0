//! The state of one connection, without I/O: what streams ask for goes into one queue of bytes,
//! what was received comes out of [`State::receive`](super::receive).

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, BytesMut};

use super::frame::{self, Code, MOST, kind, setting};
use super::head::Head;
use super::hpack::Decoder;
use super::stream::{Reset, Stream};
use super::streams::Streams;
use super::turn::Turns;
use crate::buffer::Buffer;
use crate::h2::{Credit, FRAME_SIZE, HEADER_LIST, MAX_STREAMS};
use crate::tunnel::WINDOWS;

/// Bytes that wait for the socket; streams wait beyond it. A large buffer has room for them.
const QUEUE: usize = 128 * 1024;
/// Bytes that wait for the socket, beyond which nothing is read: what is queued for what a peer
/// sends is bounded by what it takes.
const CLOGGED: usize = 2 * QUEUE;
/// Streams a peer may have open on one connection.
pub(super) const ACCEPTED: usize = 200;
/// The windows of a connection without settings (RFC 9113 section 6.9.2).
const DEFAULT_WINDOW: u32 = 65_535;
/// In the PING that follows the first GOAWAY: its answer shows that the peer has seen both.
pub(super) const SHUTDOWN: [u8; 8] = *b"shutdown";

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It opens streams.
    Caller,
    /// It accepts them.
    Receiver,
}

/// How far it is in taking no more streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    No,
    /// The first GOAWAY is sent.
    Announced,
    /// No stream is taken any more.
    Now,
}

/// A head whose block goes on in another frame.
pub(super) struct Block {
    pub(super) stream: u32,
    pub(super) ends: bool,
    pub(super) bytes: BytesMut,
}

/// The end of what was queued last, where it is DATA that may grow.
#[derive(Clone, Copy)]
pub(super) struct Last {
    pub(super) stream: u32,
    /// Where its frame begins.
    pub(super) at: usize,
}

/// One connection.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, in any combination"
)]
pub(crate) struct State {
    pub(super) role: Role,
    pub(super) streams: Streams,
    pub(super) out: Buffer,
    pub(super) last: Option<Last>,
    pub(super) send_window: i64,
    /// What the peer may still send in all, and what was read since it was last told.
    pub(super) room: u32,
    released: u32,
    pub(super) initial_window: u32,
    pub(super) max_frame: usize,
    max_streams: usize,
    /// The number of the next stream opened here.
    pub(super) next: u32,
    /// The highest number that the peer used.
    pub(super) highest: u32,
    pub(super) decoder: Decoder,
    pub(super) block: Option<Block>,
    pub(super) has_preface: bool,
    pub(super) has_settings: bool,
    pub(super) credit: Credit,
    /// Streams reset here, of which late frames may come.
    pub(super) resets: VecDeque<u32>,
    /// Streams to be handed to their handlers.
    pub(super) accepted: VecDeque<u32>,
    pub(super) turns: Turns,
    pub(super) leaving: Leaving,
    /// The peer's GOAWAY: it has taken nothing beyond this stream.
    pub(super) gone: Option<(u32, Code)>,
    /// Whether anything came since the last PING.
    pub(super) is_answered: bool,
    /// Why it ended, once it has.
    pub(super) ended: Option<String>,
    driver: Option<Waker>,
    /// Whether the driver runs, and writes what is queued before it rests.
    pub(super) is_driving: bool,
}

impl State {
    /// A connection on which nothing was sent or received.
    pub(crate) fn new(role: Role) -> Self {
        let mut state = Self {
            role,
            streams: Streams::default(),
            out: Buffer::default(),
            last: None,
            send_window: i64::from(DEFAULT_WINDOW),
            room: WINDOWS.connection,
            released: 0,
            initial_window: DEFAULT_WINDOW,
            max_frame: 16 * 1024,
            max_streams: MAX_STREAMS as usize,
            next: 1,
            highest: 0,
            decoder: Decoder::new(),
            block: None,
            has_preface: role == Role::Caller,
            has_settings: false,
            credit: Credit::of_mesh(),
            resets: VecDeque::new(),
            accepted: VecDeque::new(),
            turns: Turns::new(),
            leaving: Leaving::No,
            gone: None,
            is_answered: true,
            ended: None,
            driver: None,
            is_driving: false,
        };
        state.greet();
        state
    }

    fn greet(&mut self) {
        let out = self.queue(128);
        let (id, value) = match out.1 {
            Role::Caller => (setting::ENABLE_PUSH, 0),
            Role::Receiver => (setting::MAX_STREAMS, 200),
        };
        if out.1 == Role::Caller {
            out.0.put_slice(frame::PREFACE);
        }
        let settings = [
            (id, value),
            (setting::INITIAL_WINDOW, WINDOWS.stream),
            (setting::MAX_FRAME, FRAME_SIZE),
            (setting::HEADER_LIST, HEADER_LIST),
        ];
        frame::settings(out.0, &settings);
        let more = WINDOWS.connection - DEFAULT_WINDOW;
        frame::number(out.0, kind::WINDOW_UPDATE, 0, more);
    }

    /// The queue, with room for a frame that is not DATA; the driver is woken for it.
    pub(super) fn queue(&mut self, room: usize) -> (&mut BytesMut, Role) {
        self.last = None;
        self.wake_driver();
        self.out.reserve(room);
        (&mut self.out, self.role)
    }

    /// Whoever drives the connection: woken when there is something to do.
    pub(super) fn driven_by(&mut self, waker: &Waker) {
        if !self.driver.as_ref().is_some_and(|own| own.will_wake(waker)) {
            self.driver = Some(waker.clone());
        }
    }

    pub(crate) fn wake_driver(&self) {
        if let Some(driver) = self.driver.as_ref().filter(|_| !self.is_driving) {
            driver.wake_by_ref();
        }
    }

    /// Swaps all that is queued for an empty buffer.
    pub(super) fn take(&mut self, into: &mut Buffer) {
        std::mem::swap(&mut self.out, into);
        self.last = None;
        self.wake_waiting();
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether so much is queued that no more is to be read.
    pub(super) fn is_clogged(&self) -> bool {
        self.out.len() >= CLOGGED
    }

    /// Whether the peer has said its settings.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_settings
    }

    pub(super) fn wake_waiting(&mut self) {
        let room = self.shared_room();
        for id in self.turns.begin(room) {
            if let Some(stream) = self.stream(id) {
                stream.wake_writer();
            }
        }
    }

    /// What all streams together may queue.
    pub(super) fn shared_room(&self) -> i64 {
        let room = QUEUE.saturating_sub(self.out.len());
        self.send_window.min(usize_to_window(room))
    }

    pub(super) fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.get_mut(id)
    }

    /// Streams on which something may still come or go.
    pub(super) fn open(&self) -> usize {
        self.streams
            .iter()
            .filter(|stream| stream.is_open())
            .count()
    }

    /// Whether the peer has done with a number that it used or we did.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        match self.role {
            Role::Caller => id >= self.next || id.is_multiple_of(2),
            Role::Receiver => {
                (id > self.highest && self.leaving != Leaving::Now) || id.is_multiple_of(2)
            }
        }
    }

    /// Whether it was reset here or came after the last GOAWAY, so that its frames are no fault.
    pub(super) fn was_reset(&self, id: u32) -> bool {
        let is_late = self.role == Role::Receiver && id > self.highest;
        is_late || self.resets.contains(&id)
    }

    /// Streams that may be open at once.
    pub(crate) fn limit(&self) -> usize {
        self.max_streams.min(MAX_STREAMS as usize)
    }

    pub(super) fn limit_streams(&mut self, limit: u32) {
        self.max_streams = limit as usize;
    }

    /// Whether the peer may take another stream.
    pub(crate) fn is_live(&self) -> bool {
        self.ended.is_none() && self.gone.is_none() && self.next < MOST
    }

    /// Opens a stream with the block of a request.
    pub(crate) fn connect(&mut self, block: &[u8]) -> Option<u32> {
        if !self.is_live() {
            return None;
        }
        let id = self.next;
        self.next += 2;
        self.streams
            .push(Stream::new(id, self.initial_window, true));
        self.head(id, block, false);
        Some(id)
    }

    /// The next stream for a handler, and its head.
    pub(super) fn accept(&mut self) -> Option<(u32, Head)> {
        while let Some(id) = self.accepted.pop_front() {
            if let Some(stream) = self.stream(id)
                && let Some(head) = stream.head.take()
            {
                stream.is_held = true;
                return Some((id, head));
            }
        }
        None
    }

    /// The answer to a stream opened here.
    pub(crate) fn poll_answer(&mut self, id: u32, context: &mut Context<'_>) -> Poll<Option<Head>> {
        let has_ended = self.ended.is_some();
        let Some(stream) = self.stream(id) else {
            return Poll::Ready(None);
        };
        if let Some(head) = stream.head.take() {
            return Poll::Ready(Some(head));
        }
        if has_ended || stream.reset.is_some() {
            return Poll::Ready(None);
        }
        stream.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// How a stream was reset, if it was.
    pub(crate) fn reset_of(&mut self, id: u32) -> Option<Reset> {
        self.stream(id)?.reset
    }

    /// Why the connection ended.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Waits for bytes of a stream, or its end.
    pub(crate) fn poll_unread(
        &mut self,
        id: u32,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let has_ended = self.ended.is_some();
        let Some(stream) = self.stream(id) else {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        };
        if !stream.unread.is_empty() || stream.remote_ended {
            return Poll::Ready(Ok(stream.unread.len()));
        }
        if has_ended || stream.reset.is_some() {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        stream.wait_to_read(context);
        Poll::Pending
    }

    /// Whether a stream could still carry bytes, and none are unread.
    pub(crate) fn is_silent(&mut self, id: u32) -> bool {
        let is_over = self.ended.is_some();
        self.stream(id).is_some_and(|stream| {
            let has_ended = stream.remote_ended || stream.local_ended || stream.reset.is_some();
            !is_over && !has_ended && stream.unread.is_empty()
        })
    }

    /// Moves unread bytes out; the peer may send as many more.
    pub(crate) fn read(&mut self, id: u32, wanted: usize, put: impl FnOnce(&[u8])) {
        let Some(stream) = self.stream(id) else {
            return;
        };
        let count = stream.unread.read(wanted, put);
        self.was_read(id, count);
    }

    /// Moves a piece of what is unread out as it is; the peer may send as many more.
    pub(crate) fn take_unread(&mut self, id: u32) -> Buffer {
        let Some(stream) = self.stream(id) else {
            return Buffer::default();
        };
        let taken = stream.unread.take();
        self.was_read(id, taken.len());
        taken
    }

    fn was_read(&mut self, id: u32, count: usize) {
        let told = self.stream(id).and_then(|stream| stream.release(count));
        if let Some(more) = told {
            frame::number(self.queue(16).0, kind::WINDOW_UPDATE, id, more);
        }
        self.release(count);
    }

    /// Bytes were read or thrown away: they no longer count against the connection.
    #[expect(clippy::cast_possible_truncation, reason = "within the window")]
    pub(super) fn release(&mut self, count: usize) {
        self.released += count as u32;
        if self.released >= WINDOWS.connection / 2 {
            let more = std::mem::take(&mut self.released);
            self.room += more;
            frame::number(self.queue(16).0, kind::WINDOW_UPDATE, 0, more);
        }
    }

    /// The handle of a stream is gone: what was not ended is reset.
    pub(crate) fn drop_handle(&mut self, id: u32) {
        if let Some(stream) = self.stream(id) {
            stream.is_held = false;
            let is_done = stream.local_ended && self.role == Role::Receiver;
            self.reset(id, if is_done { Code::NONE } else { Code::CANCEL });
            self.forget(id);
            self.wake_driver();
        }
    }

    pub(super) fn forget(&mut self, id: u32) {
        if let Some(stream) = self.streams.remove(id) {
            self.release(stream.unread.len());
        }
    }

    /// The connection is over: every stream fails.
    pub(super) fn finish(&mut self, why: &str) {
        self.ended.get_or_insert_with(|| why.to_owned());
        self.accepted.clear();
        self.streams.iter_mut().for_each(Stream::wake);
        self.streams.retain(|stream| stream.is_held);
    }
}

/// A number of bytes as windows are counted.
pub(super) fn usize_to_window(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
