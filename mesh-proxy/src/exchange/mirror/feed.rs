//! Content of a request on its way to a copy.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::{Context as Task, Poll, Waker};

use crate::h1::{BodyFault, BodyPart};

/// What a part of content counts as at least, in bytes: its place in memory.
const PART: u64 = 256;

/// Content on its way to a copy.
#[derive(Default)]
pub(super) struct Feed(RefCell<Waiting>);

#[derive(Default)]
struct Waiting {
    parts: VecDeque<BodyPart>,
    bytes: u64,
    most: u64,
    end: Option<End>,
    waker: Option<Waker>,
}

/// How the content ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Lost,
}

impl Feed {
    pub(super) fn new(most: u64) -> Self {
        Self(RefCell::new(Waiting {
            most,
            ..Waiting::default()
        }))
    }

    pub(super) fn push(&self, part: &BodyPart) {
        let mut waiting = self.0.borrow_mut();
        if waiting.end.is_some() {
            return;
        }
        waiting.bytes += size(part);
        if waiting.bytes > waiting.most {
            waiting.parts.clear();
            waiting.end = Some(End::Lost);
        } else {
            waiting.parts.push_back(part.clone());
        }
        waiting.wake();
    }

    /// Ends it, unless it ended before.
    pub(super) fn end(&self, end: End) {
        let mut waiting = self.0.borrow_mut();
        if waiting.end.is_none() {
            waiting.end = Some(end);
            waiting.wake();
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.0.borrow().end == Some(End::Lost)
    }

    /// Ready once it is lost, also while nobody asks for its next part.
    pub(super) fn poll_lost(&self, task: &Task<'_>) -> Poll<()> {
        let mut waiting = self.0.borrow_mut();
        if waiting.end == Some(End::Lost) {
            return Poll::Ready(());
        }
        waiting.waker = Some(task.waker().clone());
        Poll::Pending
    }

    pub(super) fn poll(&self, task: &Task<'_>) -> Poll<Result<Option<BodyPart>, BodyFault>> {
        let mut waiting = self.0.borrow_mut();
        if waiting.end == Some(End::Lost) {
            return Poll::Ready(Err(BodyFault::Cut));
        }
        if let Some(part) = waiting.parts.pop_front() {
            waiting.bytes -= size(&part);
            return Poll::Ready(Ok(Some(part)));
        }
        if waiting.end.is_some() {
            return Poll::Ready(Ok(None));
        }
        waiting.waker = Some(task.waker().clone());
        Poll::Pending
    }
}

impl Waiting {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn size(part: &BodyPart) -> u64 {
    match part {
        BodyPart::Data(bytes) | BodyPart::Trailers(bytes) => (bytes.len() as u64).max(PART),
    }
}
