//! How many retries a destination may still have: a share of its recent exchanges.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use mesh_api::decide::budget;
use mesh_api::model::policy::Budget;

/// Slots of the ring; each covers a tenth of the window.
const SLOTS: usize = 10;

/// Exchanges and retries of one destination in a moving window, counted by all workers.
#[derive(Debug)]
pub struct RetryBudget {
    settings: Budget,
    start: Instant,
    slots: [Slot; SLOTS],
}

#[derive(Debug, Default)]
struct Slot {
    /// Which tenth of a window it holds, counted from the start.
    period: AtomicU64,
    exchanges: AtomicU32,
    retries: AtomicU32,
}

impl RetryBudget {
    /// Nothing counted yet; `start` is the zero of time.
    pub fn new(settings: Budget, start: Instant) -> Self {
        Self {
            settings,
            start,
            slots: Default::default(),
        }
    }

    /// Counts an exchange: its first attempt, not its retries.
    pub fn exchange(&self, now: Instant) {
        self.slot(now).exchanges.fetch_add(1, Relaxed);
    }

    /// Counts an exchange that failed as a retry: it repeats another's, made before it came here.
    pub fn repeated(&self, now: Instant) {
        let slot = self.slot(now);
        // It was counted as an exchange at its start, in this slot or one before.
        let less = |count: u32| count.checked_sub(1);
        slot.exchanges.fetch_update(Relaxed, Relaxed, less).ok();
        slot.retries.fetch_add(budget::REPEATED, Relaxed);
    }

    /// Takes a retry from the budget, if one is left.
    pub fn retry(&self, now: Instant) -> bool {
        let slot = self.slot(now);
        let period = self.period(now);
        let recent = || {
            let oldest = (period + 1).saturating_sub(SLOTS as u64);
            self.slots
                .iter()
                .filter(move |slot| (oldest..=period).contains(&slot.period.load(Relaxed)))
        };
        let exchanges: u64 = recent()
            .map(|slot| u64::from(slot.exchanges.load(Relaxed)))
            .sum();
        let retries: u64 = recent()
            .map(|slot| u64::from(slot.retries.load(Relaxed)))
            .sum();
        let allowed = budget::allows(&self.settings, exchanges, retries);
        if allowed {
            slot.retries.fetch_add(1, Relaxed);
        }
        allowed
    }

    fn period(&self, now: Instant) -> u64 {
        let tenth = (self.settings.window.as_millis() / SLOTS as u128).max(1);
        let elapsed = now.saturating_duration_since(self.start).as_millis();
        u64::try_from(elapsed / tenth).unwrap_or(u64::MAX - 1)
    }

    /// The slot of `now`, emptied if it held an older period. Workers that race here may lose a
    /// few counts of the first moment, never more.
    fn slot(&self, now: Instant) -> &Slot {
        let period = self.period(now);
        let index = usize::try_from(period % SLOTS as u64).unwrap_or(0);
        let slot = &self.slots[index];
        if slot.period.swap(period, Relaxed) != period {
            slot.exchanges.store(0, Relaxed);
            slot.retries.store(0, Relaxed);
        }
        slot
    }
}
