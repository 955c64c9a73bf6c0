//! The snapshot in force: written rarely, read by every exchange.
//!
//! A worker keeps its own `Arc` and compares one generation number per look, so a reader takes the
//! lock only after a change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use mesh_api::snapshot::Snapshot;

/// Holds the snapshot in force.
#[derive(Debug, Default)]
pub struct SnapshotCell {
    generation: AtomicU64,
    current: RwLock<Arc<Snapshot>>,
}

impl SnapshotCell {
    /// A worker's view.
    pub fn reader(self: &Arc<Self>) -> Reader {
        Reader {
            generation: self.generation(),
            current: self.load(),
            cell: Arc::clone(self),
        }
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many snapshots were put in force.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Puts `snapshot` in force and returns its generation. One writer at a time.
    pub(super) fn swap(&self, snapshot: Arc<Snapshot>) -> u64 {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = snapshot;
        // Under the lock: a reader that sees the new number finds the new snapshot, or a newer one.
        self.generation.fetch_add(1, Ordering::Release) + 1
    }
}

/// A worker's view of the snapshot in force.
#[derive(Clone, Debug)]
pub struct Reader {
    cell: Arc<SnapshotCell>,
    generation: u64,
    current: Arc<Snapshot>,
}

impl Reader {
    /// The snapshot in force; one atomic load while nothing changed.
    pub fn current(&mut self) -> &Arc<Snapshot> {
        let generation = self.cell.generation();
        if generation != self.generation {
            self.current = self.cell.load();
            self.generation = generation;
        }
        &self.current
    }

    /// The generation last seen: what was derived from an older one is stale.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_each_swap_and_keep_what_they_took() {
        let cell = Arc::new(SnapshotCell::default());
        let mut reader = cell.reader();
        let first = Arc::clone(reader.current());
        assert!(Arc::ptr_eq(&first, reader.current()));
        assert_eq!(cell.swap(Arc::default()), 1);
        let second = Arc::clone(reader.current());
        assert!(!Arc::ptr_eq(&first, &second));
        assert_eq!(reader.generation(), 1);
        assert!(Arc::ptr_eq(&second, cell.reader().current()));
    }
}
