//! What was reached, what it counts for, and the watch over a try of it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Task, Waker};
use std::time::Instant;

use mesh_api::snapshot::BackendTable;

use super::Context;
use crate::h1::Connection;
use crate::leg::Upstream;
use crate::upstream::{AttemptOutcome, Group, IdleCheck, Outstanding, Place, PoolKey, Stream};

/// A connection to an endpoint, with what it counts for.
pub struct Reached {
    /// The connection, or a stream of one.
    pub leg: Upstream,
    /// The backend it was reached for.
    pub group: Rc<Group>,
    /// Which of its endpoints.
    pub index: usize,
    /// True if the endpoint proved who it is.
    pub tunnelled: bool,
    pub(super) key: PoolKey,
    pub(super) started: Instant,
    /// Of a connection that is not shared.
    pub(super) place: Option<Place>,
    /// When such a one carries no further exchange.
    pub(super) ends: Option<Instant>,
    pub(super) outstanding: Outstanding,
    /// The end of the response says how the endpoint is.
    pub(super) judged_late: bool,
}

/// What an open connection counts for, until it is dropped.
pub struct Counted {
    _place: Option<Place>,
    _outstanding: Outstanding,
}

impl Reached {
    /// Where the other end is.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        let endpoint = self.backend().endpoints.get(self.index);
        endpoint.map(|endpoint| endpoint.address)
    }

    /// The backend it was reached for.
    pub fn backend(&self) -> &Arc<BackendTable> {
        self.group.backend()
    }

    /// Tells it that the end of its response says how the endpoint is.
    pub fn judge_at_end(&mut self) {
        self.judged_late = true;
    }

    /// Whether the end of its response says how the endpoint is: the code of a gRPC call.
    pub fn is_judged_late(&self) -> bool {
        self.judged_late
    }

    /// The connection's bytes, of which nothing may have been read, and what it counts for; `None`
    /// of a stream that shares its connection.
    pub fn into_stream(self) -> Option<(Stream, Counted)> {
        let counted = Counted {
            _place: self.place,
            _outstanding: self.outstanding,
        };
        match self.leg {
            Upstream::Http1(connection) => Some((connection.into_inner().0, counted)),
            Upstream::Http2(_) => None,
        }
    }
}

/// A try under way. Its endpoint's standing learns what came of it, also where nothing did: a try
/// that a timeout cuts off counts as broken.
pub struct Watch<'c> {
    pub(super) context: &'c Context,
    pub(super) group: Rc<Group>,
    pub(super) index: usize,
    pub(super) started: Instant,
    /// When its time is up.
    pub(super) ends: Option<Instant>,
    pub(super) settled: bool,
}

impl Watch<'_> {
    /// Records what came of it; `None` if that says nothing of the endpoint.
    pub fn settle(mut self, outcome: Option<AttemptOutcome>) {
        self.settled = true;
        if let Some(outcome) = outcome {
            self.observe(outcome);
        }
    }

    fn observe(&self, outcome: AttemptOutcome) {
        let now = Instant::now();
        let latency = now - self.started;
        self.context
            .observe(&self.group, self.index, outcome, (latency, now));
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let is_over = |ends: Instant| Instant::now() >= ends;
            self.observe(if self.ends.is_some_and(is_over) {
                AttemptOutcome::Broken
            } else {
                AttemptOutcome::Cut
            });
        }
    }
}

/// An idle connection and its place under the destination's limit.
pub(super) struct Kept {
    /// Boxed, since it moves with each exchange.
    pub(super) connection: Box<Connection<Stream>>,
    pub(super) place: Place,
    /// When it carries no further exchange.
    pub(super) ends: Option<Instant>,
}

impl IdleCheck for Kept {
    fn is_usable(&mut self) -> bool {
        let mut task = Task::from_waker(Waker::noop());
        self.connection.poll_idle(&mut task).is_pending()
    }
}
