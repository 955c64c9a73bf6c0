//! Between two exchanges of an HTTP/1.1 connection: until the next request comes, or none will.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use mesh_api::model::policy::DEFAULTS;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use crate::drain;
use crate::h1::{Connection, RequestFault, RequestHead};

/// Idle time after which a downstream connection is closed.
pub(super) const IDLE: Duration = Duration::from_hours(1);

/// The head of the next request; `None` if the peer closed, or took too long.
pub(super) async fn read_head<T>(
    downstream: &mut Connection<T>,
) -> Result<Option<RequestHead>, RequestFault>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // Most come whole, and need no timer.
    if let Some(head) = downstream.take_request()? {
        return Ok(Some(head));
    }
    let reading = tokio::time::timeout(DEFAULTS.head_timeout, downstream.read_request());
    Box::pin(reading).await.unwrap_or(Ok(None))
}

/// What a connection waits for between two exchanges.
pub(super) struct Rest<'p, D> {
    watch: drain::Watch,
    draining: Pin<&'p mut D>,
    /// Set anew only when it goes off.
    idle: Pin<&'p mut Sleep>,
    /// When the last exchange ended.
    pub(super) since: Instant,
    /// True once both know whom to wake.
    is_listening: bool,
}

impl<'p, D: Future<Output = ()>> Rest<'p, D> {
    /// Of a connection that begins now. `draining` is ready when no other request is taken, `idle` after
    /// [`IDLE`], and `watch` follows what the former waits for.
    pub(super) fn new(
        watch: drain::Watch,
        draining: Pin<&'p mut D>,
        idle: Pin<&'p mut Sleep>,
    ) -> Self {
        Self {
            watch,
            draining,
            idle,
            since: Instant::now(),
            is_listening: false,
        }
    }

    /// True when a request's first bytes are there; false when the connection should end.
    pub(super) async fn until_request<T>(&mut self, downstream: &mut Connection<T>) -> bool
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        // What has not happened yet wakes this task: only then, or where it may have been woken while an
        // exchange ran, are the others worth a look.
        let mut looks = !self.is_listening || self.idle.is_elapsed() || self.watch.has_changed();
        self.is_listening = true;
        poll_fn(|task| {
            if let Poll::Ready(readable) = downstream.poll_readable(task) {
                return Poll::Ready(readable.unwrap_or(false));
            }
            if !std::mem::replace(&mut looks, true) {
                return Poll::Pending;
            }
            if self.draining.as_mut().poll(task).is_ready() || self.poll_idle(task).is_ready() {
                return Poll::Ready(false);
            }
            Poll::Pending
        })
        .await
    }

    /// Ready once [`IDLE`] has passed since the last exchange.
    fn poll_idle(&mut self, task: &mut Context<'_>) -> Poll<()> {
        while self.idle.as_mut().poll(task).is_ready() {
            let end = tokio::time::Instant::from_std(self.since) + IDLE;
            if self.idle.deadline() >= end {
                return Poll::Ready(());
            }
            self.idle.as_mut().reset(end);
        }
        Poll::Pending
    }
}
