//! Who may queue how much in a turn, so that no stream keeps the others out.
//!
//! A turn begins when the queue was taken or the connection's window grew. Those who waited for it
//! share what there is room for; a stream that no other waits with has all of it.

/// The turns of one connection.
pub(super) struct Turns {
    /// Streams that wait for the connection's window or for room in the queue.
    waiting: Vec<u32>,
    now: Turn,
}

/// One turn.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) number: u64,
    /// Bytes that each stream may queue.
    pub(super) share: i64,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            waiting: Vec::new(),
            now: Turn {
                number: 0,
                share: i64::MAX,
            },
        }
    }

    pub(super) fn now(&self) -> Turn {
        self.now
    }

    pub(super) fn wait(&mut self, id: u32) {
        if !self.waiting.contains(&id) {
            self.waiting.push(id);
        }
    }

    /// Begins a turn with so much room; says who is to be woken.
    pub(super) fn begin(&mut self, room: i64) -> Vec<u32> {
        if room <= 0 {
            // Another event makes room, and comes here.
            return Vec::new();
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.now.number += 1;
        self.now.share = match i64::try_from(waiting.len()) {
            Ok(count @ 1..) => (room / count).max(1),
            _ => i64::MAX,
        };
        waiting
    }
}
