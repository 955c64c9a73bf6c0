//! A leg whose content goes down no faster than so many bytes per second.
//!
//! Parts are cut into slices of a twentieth of a second, and each makes the next wait: on the average the
//! rate is exact. Heads, trailers and what goes up are not slowed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::filter::ResponseChanges;
use crate::h1::{Body, BodyFault, BodyPart, Framing, ResponseHead};
use crate::leg::{Bytestream, Downstream, Leg};

/// Slices in a second.
const SLICES: u64 = 20;

/// The leg towards the peer that asked, slowed down.
pub(super) struct Paced<'d> {
    inner: &'d mut dyn Downstream,
    bytes_per_second: u64,
    /// What waits for its turn.
    held: Option<(Bytes, Framing)>,
    /// Set while what was queued last takes its time.
    turn: Option<Pin<Box<Sleep>>>,
    /// When the next slice may go.
    next: Instant,
}

impl<'d> Paced<'d> {
    pub(super) fn new(inner: &'d mut dyn Downstream, bytes_per_second: u64) -> Self {
        Self {
            inner,
            bytes_per_second: bytes_per_second.max(1),
            held: None,
            turn: None,
            next: Instant::now(),
        }
    }

    /// Queues a slice, and keeps the rest for later.
    fn queue_slice(&mut self, mut bytes: Bytes, framing: Framing) {
        let slice = usize::try_from(self.bytes_per_second / SLICES).unwrap_or(usize::MAX);
        let rest = bytes.split_off(slice.max(1).min(bytes.len()));
        let nanos = u128::from(bytes.len() as u64) * 1_000_000_000;
        let nanos = nanos / u128::from(self.bytes_per_second);
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.next = self.next.max(Instant::now()) + time;
        self.turn = Some(Box::pin(sleep_until(self.next)));
        self.inner.queue_data(BodyPart::Data(bytes), framing);
        self.held = (!rest.is_empty()).then_some((rest, framing));
    }
}

impl Leg for Paced<'_> {
    fn poll_part(
        &mut self,
        body: &mut Body,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<BodyPart>, BodyFault>> {
        self.inner.poll_part(body, task)
    }

    fn queue_data(&mut self, part: BodyPart, framing: Framing) {
        match part {
            BodyPart::Data(bytes) => self.queue_slice(bytes, framing),
            trailers @ BodyPart::Trailers(_) => self.inner.queue_data(trailers, framing),
        }
    }

    fn queue_end(&mut self, framing: Framing) {
        self.inner.queue_end(framing);
    }

    fn needs_flush(&self) -> bool {
        self.turn.is_some() || self.held.is_some() || self.inner.needs_flush()
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.inner.poll_flush(task) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            if let Some(turn) = &mut self.turn {
                if turn.as_mut().poll(task).is_pending() {
                    return Poll::Pending;
                }
                self.turn = None;
            }
            match self.held.take() {
                Some((bytes, framing)) => self.queue_slice(bytes, framing),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    fn is_clean(&self) -> bool {
        self.held.is_none() && self.inner.is_clean()
    }
}

impl Downstream for Paced<'_> {
    fn poll_broken(&mut self, task: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_broken(task)
    }

    fn queue_informational(&mut self, head: &ResponseHead) {
        self.inner.queue_informational(head);
    }

    fn queue_response(&mut self, head: &ResponseHead, changes: &ResponseChanges<'_>) {
        self.inner.queue_response(head, changes);
    }

    fn queue_reply(&mut self, method: &str, status: u16, fields: &[(&str, &str)], body: &[u8]) {
        self.inner.queue_reply(method, status, fields, body);
    }

    fn upgrade(&mut self) -> Option<(&mut dyn Bytestream, BytesMut)> {
        self.inner.upgrade()
    }
}
