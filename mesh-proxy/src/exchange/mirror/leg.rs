//! The two legs of a mirrored request: towards the peer that asked, whose content the copies get, and what a
//! copy takes for one.

use std::io;
use std::rc::Rc;
use std::task::{Context as Task, Poll};
use std::time::Instant;

use bytes::BytesMut;

use super::answer::{Answered, Pair};
use super::feed::{End, Feed};
use crate::filter::ResponseChanges;
use crate::h1::{Body, BodyFault, BodyPart, Framing, ResponseHead};
use crate::leg::{Bytestream, Downstream, Leg};

/// The leg towards the peer that asked, of whose content the copies get theirs.
pub(in crate::exchange) struct Copied<'d> {
    pub(super) inner: &'d mut dyn Downstream,
    pub(super) feeds: Vec<Rc<Feed>>,
    pub(super) answered: Answered,
    pub(super) pairs: Vec<Rc<Pair>>,
}

impl Drop for Copied<'_> {
    fn drop(&mut self) {
        // What was not settled was cut off.
        for feed in &self.feeds {
            feed.end(End::Lost);
        }
    }
}

impl Leg for Copied<'_> {
    fn poll_part(
        &mut self,
        body: &mut Body,
        task: &mut Task<'_>,
    ) -> Poll<Result<Option<BodyPart>, BodyFault>> {
        let polled = self.inner.poll_part(body, task);
        for feed in &self.feeds {
            match &polled {
                Poll::Ready(Ok(Some(part))) => feed.push(part),
                Poll::Ready(Ok(None)) => feed.end(End::Whole),
                Poll::Ready(Err(_)) => feed.end(End::Lost),
                Poll::Pending => {}
            }
        }
        polled
    }

    fn queue_data(&mut self, part: BodyPart, framing: Framing) {
        self.answered.note(&part);
        self.inner.queue_data(part, framing);
    }

    fn queue_end(&mut self, framing: Framing) {
        self.answered.is_whole = true;
        self.inner.queue_end(framing);
    }

    fn needs_flush(&self) -> bool {
        self.inner.needs_flush()
    }

    fn poll_flush(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_flush(task)
    }

    fn is_clean(&self) -> bool {
        self.inner.is_clean()
    }
}

impl Downstream for Copied<'_> {
    fn poll_broken(&mut self, task: &mut Task<'_>) -> Poll<()> {
        self.inner.poll_broken(task)
    }

    fn queue_informational(&mut self, head: &ResponseHead) {
        self.inner.queue_informational(head);
    }

    fn queue_response(&mut self, head: &ResponseHead, changes: &ResponseChanges<'_>) {
        self.answered.head = Some((head.status(), Instant::now()));
        self.inner.queue_response(head, changes);
    }

    fn queue_reply(&mut self, method: &str, status: u16, fields: &[(&str, &str)], body: &[u8]) {
        self.inner.queue_reply(method, status, fields, body);
    }

    fn upgrade(&mut self) -> Option<(&mut dyn Bytestream, BytesMut)> {
        self.inner.upgrade()
    }
}

/// What a copy takes for the peer that asked: content comes from the request, and the answer goes nowhere.
pub(super) struct CopyLeg {
    pub(super) feed: Rc<Feed>,
    pub(super) answered: Answered,
}

impl Leg for CopyLeg {
    fn poll_part(
        &mut self,
        _body: &mut Body,
        task: &mut Task<'_>,
    ) -> Poll<Result<Option<BodyPart>, BodyFault>> {
        self.feed.poll(task)
    }

    fn queue_data(&mut self, part: BodyPart, _framing: Framing) {
        self.answered.note(&part);
    }

    fn queue_end(&mut self, _framing: Framing) {
        self.answered.is_whole = true;
    }

    fn needs_flush(&self) -> bool {
        false
    }

    fn poll_flush(&mut self, _task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_clean(&self) -> bool {
        true
    }
}

impl Downstream for CopyLeg {
    fn poll_broken(&mut self, task: &mut Task<'_>) -> Poll<()> {
        self.feed.poll_lost(task)
    }

    fn queue_informational(&mut self, _head: &ResponseHead) {}

    fn queue_response(&mut self, _head: &ResponseHead, _changes: &ResponseChanges<'_>) {}

    fn queue_reply(&mut self, _method: &str, _status: u16, _fields: &[(&str, &str)], _body: &[u8]) {
    }

    fn upgrade(&mut self) -> Option<(&mut dyn Bytestream, BytesMut)> {
        None
    }
}
