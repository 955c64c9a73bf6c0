//! The connections to one peer: streams share them, and one caller at a time makes another.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

/// A connection that streams share.
pub(crate) trait Pooled {
    /// A stream's place on it, given back on drop.
    type Place;

    /// Whether new streams may still be opened, now or when others end.
    fn is_live(&self) -> bool;

    /// Opens no stream any more; those open go on.
    fn retire(&self);

    /// Retires it if it had no stream for its idle time.
    fn retire_idle(&self);

    /// Retires it if it does not serve callers of `generation`, or not at this time.
    fn retire_unfit(&self, _generation: u64, _now: SystemTime) {}

    /// A place for one more stream; `fresh` if the connection was made for it.
    fn reserve(self: &Rc<Self>, fresh: bool) -> Option<Self::Place>;
}

/// The connections to one peer; `E` is why one could not be made.
pub(crate) struct Peer<C, E> {
    connections: RefCell<Vec<Rc<C>>>,
    /// Held by the one who dials.
    dialling: tokio::sync::Mutex<()>,
    dials: Cell<u64>,
    last_failure: RefCell<Option<E>>,
}

impl<C, E> Default for Peer<C, E> {
    fn default() -> Self {
        Self {
            connections: RefCell::default(),
            dialling: tokio::sync::Mutex::default(),
            dials: Cell::new(0),
            last_failure: RefCell::new(None),
        }
    }
}

impl<C: Pooled, E: Clone> Peer<C, E> {
    /// A place on a connection of `generation`: one with room, or one that `dial` makes. Those who
    /// waited for another's dial share its connection, or its failure.
    ///
    /// # Errors
    /// The dial's, or `full` where the new connection takes no stream.
    pub(crate) async fn reserve_or_dial(
        &self,
        generation: u64,
        dial: impl AsyncFnOnce() -> Result<Rc<C>, E>,
        full: impl FnOnce() -> E,
    ) -> Result<C::Place, E> {
        if let Some(reserved) = self.reserve(generation) {
            return Ok(reserved);
        }
        let dials = self.dials.get();
        let _dialling = self.dialling.lock().await;
        if let Some(reserved) = self.reserve(generation) {
            return Ok(reserved);
        }
        if self.dials.get() > dials
            && let Some(failure) = &*self.last_failure.borrow()
        {
            return Err(failure.clone());
        }
        let dialled = dial().await;
        self.dials.set(self.dials.get() + 1);
        *self.last_failure.borrow_mut() = dialled.as_ref().err().cloned();
        let connection = dialled?;
        let reserved = connection.reserve(true);
        self.connections.borrow_mut().push(connection);
        reserved.ok_or_else(full)
    }

    /// Takes a connection that was made elsewhere.
    pub(crate) fn adopt(&self, connection: Rc<C>) {
        self.connections.borrow_mut().push(connection);
    }

    /// A place on the first connection with room; forgets those that take no more streams.
    fn reserve(&self, generation: u64) -> Option<C::Place> {
        let now = SystemTime::now();
        let mut connections = self.connections.borrow_mut();
        for connection in &*connections {
            connection.retire_unfit(generation, now);
        }
        connections.retain(|connection| connection.is_live());
        connections
            .iter()
            .find_map(|connection| connection.reserve(false))
    }

    /// Opens no stream on what is there now; open ones go on.
    pub(crate) fn retire(&self) {
        self.connections
            .borrow()
            .iter()
            .for_each(|connection| connection.retire());
    }

    /// Retires what had no stream for its idle time.
    pub(crate) fn retire_idle(&self) {
        let mut connections = self.connections.borrow_mut();
        connections
            .iter()
            .for_each(|connection| connection.retire_idle());
        connections.retain(|connection| connection.is_live());
    }

    /// Connections that take streams.
    pub(crate) fn live(&self) -> usize {
        let connections = self.connections.borrow();
        connections
            .iter()
            .filter(|connection| connection.is_live())
            .count()
    }
}
