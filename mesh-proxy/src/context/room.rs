//! Room under a backend's limits: taken at once, or waited for in line.

use std::sync::Arc;
use std::time::Instant;

use super::Context;
use super::reached::Kept;
use crate::error::{Error, Kind};
use crate::upstream::limit::Limit;
use crate::upstream::{Group, Limits, Place, PoolKey, Refused};

/// Room for what is to be sent.
pub(super) enum Room {
    /// For a new connection.
    Place(Place),
    /// A connection that came back meanwhile.
    Kept(Kept),
}

impl Context {
    /// What a backend may have open at a time, in all workers.
    pub fn limits<'g>(&self, group: &'g Group) -> &'g Arc<Limits> {
        group.limits(|| self.shared.limits_of(group.backend()))
    }

    /// A place for a request, if there is one at once.
    pub fn enter(&self, group: &Group) -> Option<Place> {
        let most = group.backend().settings.limits.value.requests;
        self.limits(group).requests.enter(most)
    }

    /// A place for a request that found none at once.
    ///
    /// # Errors
    /// It may not wait, or waited too long.
    pub async fn wait_to_enter(&self, group: &Group) -> Result<Place, Error> {
        let limit = &self.limits(group).requests;
        let most = group.backend().settings.limits.value.requests;
        let full = (most, Refused::Request);
        self.stand_in_line(group, limit, full, || limit.take(most))
            .await
    }

    /// A place for a retry of a request that may have arrived, if there is one.
    pub fn enter_retry(&self, group: &Group) -> Option<Place> {
        let limits = self.limits(group);
        let place = limits
            .retries
            .enter(group.backend().settings.limits.value.retries);
        if place.is_none() {
            limits.refuse(Refused::Retry);
        }
        place
    }

    /// A place for a connection, or one of those kept under `reuse` that comes back before there is.
    ///
    /// # Errors
    /// All are in use, and none came back in time.
    pub(super) async fn room(&self, group: &Group, reuse: Option<&PoolKey>) -> Result<Room, Error> {
        let limit = &self.limits(group).connections;
        let most = group.backend().settings.limits.value.connections;
        if let Some(place) = limit.enter(most) {
            return Ok(Room::Place(place));
        }
        let attempt = || {
            let kept = reuse.and_then(|key| self.checkout(key, Instant::now()));
            kept.map(Room::Kept)
                .or_else(|| limit.take(most).map(Room::Place))
                .or_else(|| {
                    // One that lies idle must not keep a new one out.
                    self.close_idle(limit);
                    limit.take(most).map(Room::Place)
                })
                .or_else(|| {
                    self.shared.make_room.send_replace(());
                    None
                })
        };
        let full = (most, Refused::Connection);
        Box::pin(self.stand_in_line(group, limit, full, attempt)).await
    }

    /// Waits for what `attempt` finds, where there is room in line.
    async fn stand_in_line<T>(
        &self,
        group: &Group,
        limit: &Limit,
        (most, none_waits): (u32, Refused),
        attempt: impl FnMut() -> Option<T>,
    ) -> Result<T, Error> {
        let limits = self.limits(group);
        let settings = group.backend().settings.limits.value;
        let refuse = |refused: Refused| {
            limits.refuse(refused);
            Error::internal(kind_of(refused))
        };
        let _pending = if limit.spare(most) > 0 {
            // It only takes an idle connection's place, or its turn.
            None
        } else {
            let place = limits.pending.enter(settings.pending_requests);
            let refused = match settings.pending_requests {
                0 => none_waits,
                _ => Refused::Pending,
            };
            Some(place.ok_or_else(|| refuse(refused))?)
        };
        let waiting = limit.wait(self.index, attempt);
        tokio::time::timeout(settings.queue_timeout, waiting)
            .await
            .map_err(|_| refuse(Refused::QueueTimeout))
    }

    /// Closes one idle connection of this worker that counts under `limit`.
    fn close_idle(&self, limit: &Arc<Limit>) {
        let mut closed = false;
        self.pool.borrow_mut().close(|kept| {
            let close = !closed && Arc::ptr_eq(kept.place.limit(), limit);
            closed |= close;
            close
        });
    }

    /// Closes idle connections whose places other workers wait for: one of each limit.
    pub(super) fn make_room(&self) {
        let mut closed: Vec<Arc<Limit>> = Vec::new();
        self.pool.borrow_mut().close(|kept| {
            let limit = kept.place.limit();
            let close = limit.waiting() > 0
                && !closed.iter().any(|other| Arc::ptr_eq(other, limit))
                && kept.place.is_wanted_elsewhere(self.index);
            if close {
                closed.push(Arc::clone(limit));
            }
            close
        });
        self.streams.make_room();
    }
}

fn kind_of(refused: Refused) -> Kind {
    match refused {
        Refused::Connection => Kind::ConnectionLimit,
        Refused::Request | Refused::Retry => Kind::RequestLimit,
        Refused::Pending => Kind::PendingLimit,
        Refused::QueueTimeout => Kind::QueueTimeout,
    }
}
