//! The connections to one peer: streams share them, and one caller at a time makes another.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

use super::connection::{Connection, Reserved};

/// The connections to one peer; `E` is why one could not be made.
pub(crate) struct Peer<E> {
    connections: RefCell<Vec<Rc<Connection>>>,
    /// Held by the one who dials.
    dialling: tokio::sync::Mutex<()>,
    dials: Cell<u64>,
    last_failure: RefCell<Option<E>>,
}

impl<E> Default for Peer<E> {
    fn default() -> Self {
        Self {
            connections: RefCell::default(),
            dialling: tokio::sync::Mutex::default(),
            dials: Cell::new(0),
            last_failure: RefCell::new(None),
        }
    }
}

impl<E: Clone> Peer<E> {
    /// A place on a connection of `generation`: one with room, or one that `dial` makes. Those who
    /// waited for another's dial share its connection, or its failure.
    ///
    /// # Errors
    /// The dial's, or `full` where the new connection takes no stream.
    pub(crate) async fn reserve_or_dial(
        &self,
        generation: u64,
        dial: impl AsyncFnOnce() -> Result<Rc<Connection>, E>,
        full: impl FnOnce() -> E,
    ) -> Result<Reserved, E> {
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
    pub(crate) fn adopt(&self, connection: Rc<Connection>) {
        self.connections.borrow_mut().push(connection);
    }

    /// A place on the first connection with room; forgets those that take no more streams.
    fn reserve(&self, generation: u64) -> Option<Reserved> {
        let now = SystemTime::now();
        let mut connections = self.connections.borrow_mut();
        for connection in &*connections {
            connection.retire_expired(now);
            if connection.generation != generation {
                connection.retire();
            }
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
