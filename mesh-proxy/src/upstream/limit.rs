//! What may be in flight to a backend at a time, counted by all workers, and who waits for a place.
//!
//! Those who wait stand in line. Only the first of a line may take a place, and newcomers go to its end,
//! so a place that is free is never taken out of turn. May use nothing of this crate.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The limits of one backend. How many each allows is the configuration's and given with each question, so
/// that a change takes nothing from those who are in.
#[derive(Debug)]
pub struct Limits {
    /// Connections, idle ones too.
    pub connections: Arc<Limit>,
    /// Requests under way.
    pub requests: Arc<Limit>,
    /// Retries under way.
    pub retries: Arc<Limit>,
    /// Who waits for one of the others.
    pub pending: Arc<Limit>,
    /// What was refused, by [`Refused`].
    refused: [AtomicU64; Refused::ALL.len()],
}

/// What a limit refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A connection, where none may wait.
    Connection,
    /// A request, where none may wait.
    Request,
    /// A retry: the answer of the try before is passed on.
    Retry,
    /// As many wait as may.
    Pending,
    /// The wait was over.
    QueueTimeout,
}

impl Refused {
    /// All.
    pub const ALL: [Self; 5] = [
        Self::Connection,
        Self::Request,
        Self::Retry,
        Self::Pending,
        Self::QueueTimeout,
    ];

    /// As metrics and `mesh-error` name it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Connection => "connection-limit",
            Self::Request => "request-limit",
            Self::Retry => "retry-limit",
            Self::Pending => "pending-limit",
            Self::QueueTimeout => "queue-timeout",
        }
    }
}

impl Limits {
    /// Nothing in flight, for so many workers.
    pub fn new(workers: usize) -> Self {
        let limit = || Arc::new(Limit::new(workers));
        Self {
            connections: limit(),
            requests: limit(),
            retries: limit(),
            pending: limit(),
            refused: Default::default(),
        }
    }

    /// Counts what was refused.
    pub fn refuse(&self, refused: Refused) {
        self.refused[refused as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was refused.
    pub fn refused(&self, refused: Refused) -> u64 {
        self.refused[refused as usize].load(Ordering::Relaxed)
    }
}

/// A number of places.
#[derive(Debug)]
pub struct Limit {
    taken: AtomicU32,
    /// How many stand in line; written with the line locked.
    waiting: AtomicUsize,
    line: Mutex<VecDeque<Arc<Turn>>>,
    /// Taken places that lie idle, of each worker. A cell has one writer.
    idle: Box<[IdleCell]>,
}

/// Apart from its neighbours, so that workers do not write to one line of a cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct IdleCell(AtomicU32);

/// A place under a [`Limit`], given back on drop.
#[derive(Debug)]
pub struct Place {
    limit: Arc<Limit>,
    /// The worker that keeps it idle.
    resting: Option<usize>,
}

#[derive(Debug)]
struct Turn {
    worker: usize,
    bell: Notify,
}

impl Limit {
    /// No place taken.
    pub fn new(workers: usize) -> Self {
        Self {
            taken: AtomicU32::new(0),
            waiting: AtomicUsize::new(0),
            line: Mutex::default(),
            idle: (0..workers).map(|_| IdleCell::default()).collect(),
        }
    }

    /// A place, if fewer than `most` are taken and nobody waits for one.
    pub fn enter(self: &Arc<Self>, most: u32) -> Option<Place> {
        let in_line = self.waiting.load(Ordering::Relaxed);
        (in_line == 0).then(|| self.take(most)).flatten()
    }

    /// A place for the first of the line, if fewer than `most` are taken.
    pub fn take(self: &Arc<Self>, most: u32) -> Option<Place> {
        let more = |taken| (taken < most).then_some(taken + 1);
        // Ordered with `waiting`: who gives a place back sees who waits, or who waits sees the place.
        let taken = self
            .taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        taken.ok().map(|_| Place {
            limit: Arc::clone(self),
            resting: None,
        })
    }

    /// Stands in line until `attempt` finds something. It is called only while first in line: when that
    /// begins, and whenever something was given back.
    pub async fn wait<T>(&self, worker: usize, mut attempt: impl FnMut() -> Option<T>) -> T {
        let standing = Standing::last(self, worker);
        loop {
            if standing.is_first()
                && let Some(found) = attempt()
            {
                return found;
            }
            standing.turn.bell.notified().await;
        }
    }

    /// Places taken.
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// How many stand in line.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Places of `most` that are free or lie idle, beyond those that somebody waits for.
    pub fn spare(&self, most: u32) -> usize {
        let idle: u32 = self.idle.iter().map(IdleCell::load).sum();
        let free = most.saturating_sub(self.taken()) + idle;
        (free as usize).saturating_sub(self.waiting())
    }

    /// Lets the first of the line look again.
    pub fn ring(&self) {
        if let Some(first) = self.line().front() {
            first.bell.notify_one();
        }
    }

    fn line(&self) -> MutexGuard<'_, VecDeque<Arc<Turn>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IdleCell {
    fn load(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, more: u32) {
        self.0
            .store(self.load().wrapping_add(more), Ordering::Relaxed);
    }
}

impl Place {
    /// It lies idle with `worker` from now on.
    pub fn rest(&mut self, worker: usize) {
        if let Some(cell) = self.limit.idle.get(worker) {
            cell.add(1);
            self.resting = Some(worker);
        }
    }

    /// It is used again.
    pub fn resume(&mut self) {
        let resting = self.resting.take();
        if let Some(cell) = resting.and_then(|worker| self.limit.idle.get(worker)) {
            cell.add(u32::MAX);
        }
    }

    /// Of which limit it is.
    pub fn limit(&self) -> &Arc<Limit> {
        &self.limit
    }

    /// Whether the first who waits for such a place is of another worker.
    pub fn is_wanted_elsewhere(&self, worker: usize) -> bool {
        let line = self.limit.line();
        line.front().is_some_and(|first| first.worker != worker)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.resume();
        self.limit.taken.fetch_sub(1, Ordering::SeqCst);
        if self.limit.waiting.load(Ordering::SeqCst) > 0 {
            self.limit.ring();
        }
    }
}

/// Somebody in line, until dropped.
struct Standing<'l> {
    limit: &'l Limit,
    turn: Arc<Turn>,
}

impl<'l> Standing<'l> {
    fn last(limit: &'l Limit, worker: usize) -> Self {
        let turn = Arc::new(Turn {
            worker,
            bell: Notify::new(),
        });
        let mut line = limit.line();
        line.push_back(Arc::clone(&turn));
        limit.waiting.store(line.len(), Ordering::SeqCst);
        drop(line);
        Self { limit, turn }
    }

    fn is_first(&self) -> bool {
        let line = self.limit.line();
        line.front()
            .is_some_and(|first| Arc::ptr_eq(first, &self.turn))
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        let mut line = self.limit.line();
        line.retain(|turn| !Arc::ptr_eq(turn, &self.turn));
        self.limit.waiting.store(line.len(), Ordering::SeqCst);
        // Who is first now may find that more than one place came back.
        if let Some(first) = line.front() {
            first.bell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;

    #[test]
    fn threads_together_take_as_many_places_as_there_are() {
        let limit = Arc::new(Limit::new(4));
        let most = 7;
        let (over, end) = (AtomicBool::new(false), std::sync::Barrier::new(4));
        let reached = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let held: Vec<_> = (0..3).map_while(|_| limit.enter(most)).collect();
                        over.fetch_or(limit.taken() > most, Ordering::Relaxed);
                        drop(held);
                    }
                    end.wait();
                    // All come back: the full number is there, and not one more.
                    let held: Vec<_> = std::iter::from_fn(|| limit.enter(most)).collect();
                    let held_here = u32::try_from(held.len()).unwrap();
                    reached.fetch_add(held_here, Ordering::Relaxed);
                    end.wait();
                });
            }
        });
        assert!(!over.into_inner());
        assert_eq!(reached.into_inner(), most);
        assert_eq!(limit.taken(), 0);
    }

    #[tokio::test]
    async fn a_place_goes_to_who_waits_longest() {
        let limit = Arc::new(Limit::new(1));
        let held = limit.enter(1);
        assert!(held.is_some() && limit.enter(1).is_none());
        let order = Mutex::new(Vec::new());
        let wait = async |who: usize| {
            let place = limit.wait(0, || limit.take(1)).await;
            order.lock().unwrap().push(who);
            place
        };
        let giver = async {
            tokio::task::yield_now().await;
            assert_eq!(limit.waiting(), 3);
            drop(held);
            assert!(limit.enter(1).is_none(), "newcomers come last");
        };
        let given_up = async {
            let waited = tokio::time::timeout(Duration::ZERO, limit.wait(0, || limit.take(0)));
            assert!(waited.await.is_err());
        };
        let first = async { drop(wait(1).await) };
        let third = async { drop(wait(3).await) };
        tokio::join!(first, given_up, third, giver);
        assert_eq!(*order.lock().unwrap(), [1, 3]);
        assert!(limit.enter(1).is_some() && limit.waiting() == 0);
    }

    #[test]
    fn idle_places_are_spare_and_can_be_asked_back() {
        let limit = Arc::new(Limit::new(2));
        let mut places: Vec<_> = (0..3).filter_map(|_| limit.enter(3)).collect();
        assert_eq!(limit.spare(3), 0);
        places[0].rest(1);
        places[1].rest(0);
        assert_eq!((limit.spare(3), limit.spare(4)), (2, 3));
        places[1].resume();
        assert_eq!(limit.spare(3), 1);
        let waiting = Standing::last(&limit, 1);
        assert_eq!(limit.spare(3), 0, "somebody waits for it");
        assert!(places[0].is_wanted_elsewhere(0) && !places[0].is_wanted_elsewhere(1));
        drop(places);
        assert_eq!(limit.spare(3), 2);
        drop(waiting);
        assert_eq!((limit.spare(3), limit.taken()), (3, 0));
    }
}
