//! Between two exchanges of an HTTP/1.1 connection: until the next request comes, or none will.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use mesh_api::model::policy::DEFAULTS;
use tokio::io::AsyncWrite;
use tokio::time::Sleep;

use crate::buffer::Fill;
use crate::drain;
use crate::h1::{Connection, RequestFault, RequestHead};

/// Idle time after which a downstream connection is closed.
pub(super) const IDLE: Duration = Duration::from_hours(1);

/// The head of the next request; `None` if the peer closed, or took too long.
pub(super) async fn read_head<T>(
    downstream: &mut Connection<T>,
) -> Result<Option<RequestHead>, RequestFault>
where
    T: Fill + AsyncWrite,
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
    watch: &'p drain::Watch,
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
        watch: &'p drain::Watch,
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
        T: Fill + AsyncWrite,
    {
        // What has not happened yet wakes this task: only then, or where it may have been woken while an
        // exchange ran, are the others worth a look.
        let mut looks = !self.is_listening || self.idle.is_elapsed() || self.watch.has_changed();
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
            // Not before: a first request that was there already was answered without a look at them.
            self.is_listening = true;
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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use bytes::BytesMut;
    use tokio::time::sleep;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_drain_is_heard_after_a_first_request_that_was_there_already() {
        let drain = drain::Drain::default();
        let watch = drain.watch();
        let mut follower = watch.clone();
        let draining = pin!(async move { follower.draining().await });
        let idle = pin!(sleep(IDLE));
        let mut rest = Rest::new(&watch, draining, idle);
        let (near, _far) = tokio::io::duplex(64);
        let first = BytesMut::from(&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..]);
        let mut downstream = Connection::with_read(near, first);
        assert!(rest.until_request(&mut downstream).await);
        assert!(downstream.take_request().unwrap().is_some());
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut task = Context::from_waker(&waker);
        let mut next = pin!(rest.until_request(&mut downstream));
        assert!(next.as_mut().poll(&mut task).is_pending());
        assert!(!woken.0.load(Ordering::Relaxed));
        drain.enter(drain::Phase::Draining);
        assert!(woken.0.load(Ordering::Relaxed), "nobody told the task");
        assert_eq!(next.as_mut().poll(&mut task), Poll::Ready(false));
    }
}
