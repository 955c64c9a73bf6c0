//! A worker's view of a backend that takes outliers out: its endpoints by their places.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use mesh_api::decide::eject::outlier::{self, Cause, Heed};
use mesh_api::decide::eject::{may_eject, row, statistics};
use mesh_api::model::backend::Endpoint;
use mesh_api::model::outlier::OutlierDetection;

use super::{Ejected, Outliers, Probe, Watched};
use crate::upstream::AttemptOutcome;

/// The endpoints of a backend.
#[derive(Debug)]
pub struct View {
    shared: Arc<Outliers>,
    members: Vec<Arc<Watched>>,
    /// What is heeded, and for which number of changes that was found.
    heed: Cell<(u64, Heed)>,
    /// Whether any is out.
    any_out: Cell<bool>,
}

impl View {
    /// Of the endpoints of a backend.
    pub(in crate::upstream) fn new(shared: Arc<Outliers>, endpoints: &[Endpoint]) -> Self {
        let addresses = endpoints.iter().map(|endpoint| endpoint.address);
        Self {
            members: shared.members(addresses),
            shared,
            heed: Cell::default(),
            any_out: Cell::new(false),
        }
    }

    pub(in crate::upstream) fn policy(&self) -> &OutlierDetection {
        &self.shared.policy
    }

    /// What a pick heeds.
    pub(in crate::upstream) fn heed(&self) -> Heed {
        let changes = self.shared.changes.load(Acquire);
        let (seen, known) = self.heed.get();
        if seen == changes {
            return known;
        }
        let out = self.members.iter().filter(|one| one.is_out()).count();
        let is_well = |one: &&Arc<Watched>| !(one.is_out() || one.is_unhealthy());
        let well = self.members.iter().filter(is_well).count();
        let heed = outlier::heed(self.members.len(), out, well, self.policy());
        self.heed.set((changes, heed));
        self.any_out.set(out > 0);
        heed
    }

    /// Counts a pick among all, since so few are well.
    pub(in crate::upstream) fn note_panic(&self) {
        self.shared.panic_picks.fetch_add(1, Relaxed);
    }

    /// Whether an endpoint is left out by a pick that heeds `heed`.
    pub(in crate::upstream) fn is_out(&self, index: usize, heed: Heed) -> bool {
        self.members.get(index).is_some_and(|one| {
            (heed.ejected && one.is_out()) || (heed.unhealthy && one.is_unhealthy())
        })
    }

    /// Whether an endpoint is out, heeded or not.
    pub(in crate::upstream) fn holds_out(&self, index: usize) -> bool {
        self.members.get(index).is_some_and(|one| one.is_out())
    }

    /// An endpoint that the next request may try at `now`: its ejection ran out, `may_try` agrees (told whether it
    /// is overdue), and no other request tries it.
    pub(in crate::upstream) fn probe(
        &self,
        endpoints: &[Endpoint],
        tried: &[SocketAddr],
        now: u64,
        may_try: impl Fn(usize, bool) -> bool,
    ) -> Option<(usize, Probe)> {
        self.heed();
        if !self.any_out.get() {
            return None;
        }
        let all = self.members.iter().zip(endpoints).enumerate();
        for (index, (watched, endpoint)) in all {
            let until = watched.until.load(Relaxed);
            let waits = until == 0 || until > now || watched.is_unhealthy();
            if waits || tried.contains(&endpoint.address) {
                continue;
            }
            let overdue = watched.overdue.load(Relaxed) <= now;
            if may_try(index, overdue) && !watched.probed.swap(true, AcqRel) {
                return Some((index, Probe(Arc::clone(watched))));
            }
        }
        None
    }

    /// Records what came of a try that began at `began`; which endpoints are taken out for it.
    pub(in crate::upstream) fn observe(
        &self,
        index: usize,
        outcome: AttemptOutcome,
        (began, now): (u64, u64),
    ) -> Vec<Ejected> {
        let Some(watched) = self.members.get(index) else {
            return Vec::new();
        };
        let until = watched.until.load(Relaxed);
        if until > 0 {
            // What was under way before its time ran out says nothing of how it is now.
            let is_new = began >= until;
            let ejected = is_new.then(|| self.tried(index, outcome, now)).flatten();
            return ejected.into_iter().collect();
        }
        let mut ejected = Vec::new();
        let seen = outcome.seen();
        if let Some(cause) = seen.and_then(|seen| watched.count(seen, self.policy())) {
            ejected.extend(self.eject(index, cause, now));
        }
        if self.policy().counts_shares() {
            if let Some(seen) = seen {
                watched.count_share(seen);
            }
            self.look_at_shares(now, &mut ejected);
        }
        ejected
    }

    /// What came of trying an endpoint that is out.
    fn tried(&self, index: usize, outcome: AttemptOutcome, now: u64) -> Option<Ejected> {
        if row::fails_trial(outcome.seen()?, self.policy()) {
            return self.eject(index, Cause::Probe, now);
        }
        let watched = self.members.get(index)?;
        let mut state = watched.lock();
        let back = state.0.back(Duration::from_millis(now));
        *state = (back, None);
        watched.until.store(0, Relaxed);
        watched.forget_rows();
        self.shared.changes.fetch_add(1, AcqRel);
        None
    }

    /// Takes an endpoint out, if that may be.
    fn eject(&self, index: usize, cause: Cause, now: u64) -> Option<Ejected> {
        let gate = self.shared.gate.lock();
        let _gate = gate.unwrap_or_else(PoisonError::into_inner);
        let watched = self.members.get(index)?;
        let policy = self.policy();
        if cause != Cause::Probe {
            let out = self.members.iter().filter(|one| one.is_out()).count();
            let may = may_eject(self.members.len(), out, policy.max_ejected_percent);
            if watched.is_out() || !may {
                return None;
            }
        }
        let mut state = watched.lock();
        let at = Duration::from_millis(now);
        let next = state.0.ejected(at, policy);
        let until = next.until?;
        *state = (next, Some(cause));
        let duration = until.saturating_sub(at);
        watched.forget_rows();
        let overdue = until.saturating_add(duration);
        watched.overdue.store(milliseconds(overdue), Relaxed);
        watched.until.store(milliseconds(until), Relaxed);
        self.shared.changes.fetch_add(1, AcqRel);
        Some(Ejected {
            index,
            cause,
            duration,
        })
    }

    /// At the end of an interval, one worker takes out what stands out.
    fn look_at_shares(&self, now: u64, ejected: &mut Vec<Ejected>) {
        let ends = self.shared.interval_ends.load(Relaxed);
        if now < ends {
            return;
        }
        let next = now.saturating_add(milliseconds(self.policy().interval));
        let mine = self
            .shared
            .interval_ends
            .compare_exchange(ends, next, AcqRel, Relaxed);
        if mine.is_err() || ends == 0 {
            return;
        }
        let windows: Vec<_> = self.members.iter().map(|one| one.take_window()).collect();
        for (index, cause) in statistics::outliers(&windows, self.policy()) {
            ejected.extend(self.eject(index, cause, now));
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
