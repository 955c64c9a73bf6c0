//! One stream of a connection, as its state knows it.

use std::task::{Context, Waker};

use super::frame::Code;
use super::head::Head;
use super::turn::Turn;
use super::unread::Unread;
use crate::tunnel::WINDOWS;

/// How a stream was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// By us.
    Here,
    /// By the peer.
    Peer(Code),
    /// The peer went away, with this code, before it took the stream.
    Gone(Code),
}

/// One stream.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, in any combination"
)]
pub(super) struct Stream {
    pub(super) id: u32,
    pub(super) send_window: i64,
    /// What the peer may still send, and what was read since it was last told.
    pub(super) room: u32,
    released: u32,
    pub(super) unread: Unread,
    pub(super) remote_ended: bool,
    pub(super) local_ended: bool,
    /// The peer's head, until it is taken.
    pub(super) head: Option<Head>,
    pub(super) has_head: bool,
    pub(super) reset: Option<Reset>,
    /// Whether somebody has a handle to it.
    pub(super) is_held: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// The turn in which it queued last, and how much.
    turn: u64,
    queued: i64,
}

impl Stream {
    pub(super) fn new(id: u32, send_window: u32, is_held: bool) -> Self {
        Self {
            id,
            send_window: i64::from(send_window),
            room: WINDOWS.stream,
            released: 0,
            unread: Unread::default(),
            remote_ended: false,
            local_ended: false,
            head: None,
            has_head: false,
            reset: None,
            is_held,
            reader: None,
            writer: None,
            turn: 0,
            queued: 0,
        }
    }

    /// What it may still queue in this turn.
    pub(super) fn left(&self, turn: Turn) -> i64 {
        if self.turn == turn.number {
            turn.share - self.queued
        } else {
            turn.share
        }
    }

    /// It queued so much.
    pub(super) fn queue(&mut self, turn: Turn, count: i64) {
        if self.turn != turn.number {
            self.turn = turn.number;
            self.queued = 0;
        }
        self.queued += count;
        self.send_window -= count;
    }

    pub(super) fn is_open(&self) -> bool {
        self.reset.is_none() && !(self.remote_ended && self.local_ended)
    }

    /// Takes the peer's head.
    pub(super) fn begin(&mut self, head: Head, ends: bool) {
        self.head = Some(head);
        self.has_head = true;
        self.remote_ended |= ends;
        self.wake_reader();
    }

    /// Bytes were read; what the peer is to be told that it may send, if it is time.
    #[expect(clippy::cast_possible_truncation, reason = "within the window")]
    pub(super) fn release(&mut self, count: usize) -> Option<u32> {
        self.released += count as u32;
        if self.released < WINDOWS.stream / 2 || self.remote_ended || self.reset.is_some() {
            return None;
        }
        let more = std::mem::take(&mut self.released);
        self.room += more;
        Some(more)
    }

    pub(super) fn fail(&mut self, reset: Reset) {
        self.reset.get_or_insert(reset);
        self.wake();
    }

    pub(super) fn wake(&mut self) {
        self.wake_reader();
        self.wake_writer();
    }

    pub(super) fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    pub(super) fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    pub(super) fn wait_to_read(&mut self, context: &Context<'_>) {
        self.reader = Some(context.waker().clone());
    }
}
