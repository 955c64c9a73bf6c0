//! One shared client connection: its handle, its streams' slots, and the task that drives it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::peer::Pooled;
use super::{
    FRAME_SIZE, HEADER_LIST, MAX_STREAMS, RESET_STREAMS, SEND_BUFFER, SMALL_FRAMES, Windows,
};

/// A connection as its users see it.
pub(crate) struct Connection {
    /// Taken away when it is retired: h2 closes once its streams end.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    streams: Cell<usize>,
    unused_since: Cell<Instant>,
    idle: Duration,
    ends: Option<std::time::Instant>,
    /// Streams given up so soon that the peer may not have taken them yet, in order.
    leaving: RefCell<VecDeque<(Instant, Box<dyn Any>)>>,
    left: Notify,
}

/// A stream's place on its connection, given back on drop.
pub(crate) struct Slot {
    pub(crate) connection: Rc<Connection>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        connection.unused_since.set(Instant::now());
    }
}

/// A place and the handle to open a stream with.
pub(crate) struct Reserved {
    pub(crate) slot: Slot,
    pub(crate) sender: SendRequest<Bytes>,
}

impl Connection {
    /// A connection that closes after `idle` without a stream, and takes none from `ends` on.
    pub(crate) fn new(
        sender: SendRequest<Bytes>,
        idle: Duration,
        ends: Option<std::time::Instant>,
    ) -> Rc<Self> {
        Rc::new(Self {
            sender: RefCell::new(Some(sender)),
            streams: Cell::new(0),
            unused_since: Cell::new(Instant::now()),
            idle,
            ends,
            leaving: RefCell::default(),
            left: Notify::new(),
        })
    }

    /// Keeps a stream that is given up until `due`, and resets it then.
    ///
    /// Many servers take a stream that is reset before they look at it for an attack, and end the
    /// connection that other exchanges share after a few (20 in `h2`'s own defaults).
    pub(crate) fn leave(&self, due: Instant, stream: impl Any) {
        if self.is_live() {
            let mut leaving = self.leaving.borrow_mut();
            leaving.push_back((due, Box::new(stream)));
            self.left.notify_one();
        }
    }

    /// Drops streams that leave as each is due, which resets them.
    async fn let_go(&self) {
        loop {
            let due = self.leaving.borrow().front().map(|(due, _)| *due);
            match due {
                None => self.left.notified().await,
                Some(due) => {
                    sleep_until(due).await;
                    let leaving = self.leaving.borrow_mut().pop_front();
                    drop(leaving);
                }
            }
        }
    }

    /// Retires it if it has no stream.
    pub(crate) fn retire_unused(&self) {
        if self.streams.get() == 0 {
            self.retire();
        }
    }

    /// Carries the connection's frames until it ends; dropping `frames` breaks its streams. No PING:
    /// many apps take it badly.
    pub(crate) async fn drive<T>(self: Rc<Self>, mut frames: client::Connection<T, Bytes>)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let failure = tokio::select! {
            ended = &mut frames => ended.err().map(|error| describe(&error)),
            () = self.let_go() => None,
        };
        if let Some(failure) = failure {
            tracing::debug!(failure, "a connection broke");
        }
        self.retire();
        // What is left holds this connection.
        let leaving = std::mem::take(&mut *self.leaving.borrow_mut());
        drop(leaving);
    }
}

impl Pooled for Connection {
    type Place = Reserved;

    fn is_live(&self) -> bool {
        self.sender.borrow().is_some()
    }

    fn retire(&self) {
        self.sender.borrow_mut().take();
    }

    fn retire_idle(&self) {
        let is_old = self
            .ends
            .is_some_and(|ends| Instant::now().into_std() >= ends);
        let is_unused =
            || self.streams.get() == 0 && self.unused_since.get().elapsed() >= self.idle;
        if is_old || is_unused() {
            self.retire();
        }
    }

    fn reserve(self: &Rc<Self>, _fresh: bool) -> Option<Reserved> {
        let mut sender = self.sender.borrow().clone()?;
        let mut task = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(_)) = sender.poll_ready(&mut task) {
            // It broke, or the peer is leaving: what is open may still end well.
            self.retire();
            return None;
        }
        let limit = sender.current_max_send_streams().min(MAX_STREAMS as usize);
        if self.streams.get() >= limit {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        let slot = Slot {
            connection: self.clone(),
        };
        Some(Reserved { slot, sender })
    }
}

/// Starts HTTP/2 as a client.
pub(crate) async fn start<T>(
    io: T,
    windows: Windows,
) -> Result<(SendRequest<Bytes>, client::Connection<T, Bytes>), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    client::Builder::new()
        .initial_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .max_frame_size(FRAME_SIZE)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .data_frame_budget(SMALL_FRAMES)
        .enable_push(false)
        .handshake(io)
        .await
}

/// The innermost text of an error that h2 wrapped.
pub(crate) fn describe(error: &h2::Error) -> String {
    let inner = error.get_io().and_then(io::Error::get_ref);
    inner.map_or_else(|| error.to_string(), ToString::to_string)
}
