//! One pooled connection of the calling end: its state, its streams' places, and the task that
//! drives it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::time::Instant;

use super::IDLE;
use super::mux::{Driver, Role, State};
use crate::h2::peer::Pooled;

/// A connection as its users see it.
pub(super) struct Connection {
    state: Rc<RefCell<State>>,
    streams: Cell<usize>,
    unused_since: Cell<Instant>,
    is_retired: Cell<bool>,
    generation: u64,
    expires: SystemTime,
}

/// A stream's place on its connection, given back on drop.
pub(super) struct Slot {
    pub(super) connection: Rc<Connection>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        connection.unused_since.set(Instant::now());
        if connection.is_retired.get() {
            connection.state.borrow().wake_driver();
        }
    }
}

impl Connection {
    /// A connection for callers of `generation`, that takes streams until `expires`.
    pub(super) fn new(generation: u64, expires: SystemTime) -> Rc<Self> {
        Rc::new(Self {
            state: Rc::new(RefCell::new(State::new(Role::Caller))),
            streams: Cell::new(0),
            unused_since: Cell::new(Instant::now()),
            is_retired: Cell::new(false),
            generation,
            expires,
        })
    }

    /// Its streams.
    pub(super) fn state(&self) -> &Rc<RefCell<State>> {
        &self.state
    }

    /// Carries the connection's frames until it ends.
    pub(super) async fn drive<T: AsyncBufRead + AsyncWrite + Unpin>(self: Rc<Self>, io: T) {
        let mut driver = Driver::new(io, Rc::clone(&self.state));
        let tick = || {
            self.retire_idle();
            self.is_retired.get() && self.streams.get() == 0
        };
        // A peer opens no stream here.
        if let Err(error) = driver.next(tick).await {
            tracing::debug!(%error, "a tunnel broke");
        }
        self.retire();
    }
}

impl Pooled for Connection {
    /// A place, and whether the connection was made for it.
    type Place = (Slot, bool);

    fn is_live(&self) -> bool {
        !self.is_retired.get() && self.state.borrow().is_live()
    }

    fn retire(&self) {
        self.is_retired.set(true);
        self.state.borrow().wake_driver();
    }

    fn retire_idle(&self) {
        if self.streams.get() == 0 && self.unused_since.get().elapsed() >= IDLE {
            self.is_retired.set(true);
        }
    }

    fn retire_unfit(&self, generation: u64, now: SystemTime) {
        if self.generation != generation || now >= self.expires {
            self.retire();
        }
    }

    fn reserve(self: &Rc<Self>, fresh: bool) -> Option<Self::Place> {
        if !self.is_live() || self.streams.get() >= self.state.borrow().limit() {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        let slot = Slot {
            connection: Rc::clone(self),
        };
        Some((slot, fresh))
    }
}
