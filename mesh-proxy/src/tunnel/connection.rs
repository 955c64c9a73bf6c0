//! One pooled client connection: its handle, its streams' slots, and the task that drives it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use mesh_api::name::Identity;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{
    CONNECTION_WINDOW, FRAME_SIZE, HEADER_LIST, RESET_STREAMS, SEND_BUFFER, SMALL_FRAMES,
    STREAM_WINDOW, keepalive,
};

/// Streams on one connection; a peer may allow fewer.
const MAX_STREAMS: usize = 100;
/// After this time without a stream a connection closes.
const IDLE: Duration = Duration::from_mins(5);

/// A connection as its users see it.
pub(super) struct Connection {
    /// Taken away when it is retired: h2 closes once its streams end.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    streams: Cell<usize>,
    unused_since: Cell<Instant>,
    expires: SystemTime,
    pub(super) generation: u64,
    pub(super) peer: Rc<Identity>,
    pub(super) failure: RefCell<Option<String>>,
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
    }
}

impl Connection {
    pub(super) fn new(
        sender: SendRequest<Bytes>,
        peer: Rc<Identity>,
        expires: SystemTime,
        generation: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            sender: RefCell::new(Some(sender)),
            streams: Cell::new(0),
            unused_since: Cell::new(Instant::now()),
            expires,
            generation,
            peer,
            failure: RefCell::new(None),
        })
    }

    /// Whether new streams may still be opened, now or when others end.
    pub(super) fn is_live(&self) -> bool {
        self.sender.borrow().is_some()
    }

    /// Retires it if a certificate in use is about to end.
    pub(super) fn retire_expired(&self, now: SystemTime) {
        if now >= self.expires {
            self.retire();
        }
    }

    /// Opens no stream any more; those open go on.
    pub(super) fn retire(&self) {
        self.sender.borrow_mut().take();
    }

    /// A place for one more stream, and the handle to open it with.
    pub(super) fn reserve(self: &Rc<Self>) -> Option<(Slot, SendRequest<Bytes>)> {
        let sender = self.sender.borrow().clone()?;
        let limit = sender.current_max_send_streams().min(MAX_STREAMS);
        if self.streams.get() >= limit {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        let connection = self.clone();
        Some((Slot { connection }, sender))
    }

    fn retire_idle(&self) {
        if self.streams.get() == 0 && self.unused_since.get().elapsed() >= IDLE {
            self.retire();
        }
    }

    /// Carries the connection's frames until it ends; dropping `frames` breaks its streams.
    pub(super) async fn drive<T>(self: Rc<Self>, mut frames: client::Connection<T, Bytes>)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let alive = keepalive::watch(frames.ping_pong(), || self.retire_idle());
        let failure = tokio::select! {
            ended = &mut frames => ended.err().map(|error| describe(&error)),
            () = alive => Some("the peer stopped answering".to_owned()),
        };
        self.retire();
        *self.failure.borrow_mut() = failure;
    }
}

/// Starts HTTP/2 as a client.
pub(super) async fn start<T>(
    io: T,
) -> Result<(SendRequest<Bytes>, client::Connection<T, Bytes>), h2::Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
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
pub(super) fn describe(error: &h2::Error) -> String {
    let inner = error.get_io().and_then(io::Error::get_ref);
    inner.map_or_else(|| error.to_string(), ToString::to_string)
}
