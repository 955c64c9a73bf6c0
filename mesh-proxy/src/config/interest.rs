//! What this proxy subscribes to: what its workload dials, bounded where nothing answers.
//!
//! Destinations that exist stay. Names without an answer, or known not to exist, are kept up to a
//! bound; the least recently asked goes first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mesh_api::model::entry::EntryName;

/// Subscriptions kept that no entry answers.
pub(super) const MAX_NEGATIVES: usize = 4_096;

/// The set of subscriptions, and what changed in it since it was last sent.
#[derive(Debug, Default)]
pub(super) struct Interest {
    names: HashMap<EntryName, State>,
    negatives: BTreeMap<u64, EntryName>,
    clock: u64,
    added: BTreeSet<EntryName>,
    removed: BTreeSet<EntryName>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Its entry exists, or it is always asked for.
    Kept,
    /// Last asked for at this tick.
    Negative(u64),
}

/// What to tell the control plane.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) add: Vec<EntryName>,
    pub(super) remove: Vec<EntryName>,
}

impl Interest {
    /// Asks for `name` for good.
    pub(super) fn pin(&mut self, name: EntryName) {
        if self.names.insert(name.clone(), State::Kept).is_none() {
            self.added.insert(name);
        }
    }

    /// Asks for `name`; true if that is new.
    pub(super) fn ask(&mut self, name: &EntryName) -> bool {
        match self.names.get(name) {
            Some(State::Kept) => false,
            Some(State::Negative(tick)) => {
                self.negatives.remove(tick);
                self.note_negative(name);
                false
            }
            None => {
                self.note_negative(name);
                if !self.removed.remove(name) {
                    self.added.insert(name.clone());
                }
                self.evict();
                true
            }
        }
    }

    /// Notes that an entry answers `name`.
    pub(super) fn present(&mut self, name: &EntryName) {
        if let Some(State::Negative(tick)) = self.names.insert(name.clone(), State::Kept) {
            self.negatives.remove(&tick);
        }
    }

    /// Notes that `name` does not exist.
    pub(super) fn absent(&mut self, name: &EntryName) {
        let is_asked = matches!(name, EntryName::Destination(_) | EntryName::Address(_));
        if is_asked && !self.is_negative(name) {
            self.note_negative(name);
            self.evict();
        }
    }

    /// Whether `name` is subscribed.
    pub(super) fn contains(&self, name: &EntryName) -> bool {
        self.names.contains_key(name)
    }

    /// Everything asked for. A new stream starts with it, so of what [`Self::take_changes`] holds
    /// only the removals mean anything to its caller.
    pub(super) fn all(&self) -> Vec<EntryName> {
        self.names.keys().cloned().collect()
    }

    /// What changed since the last call.
    pub(super) fn take_changes(&mut self) -> Changes {
        Changes {
            add: std::mem::take(&mut self.added).into_iter().collect(),
            remove: std::mem::take(&mut self.removed).into_iter().collect(),
        }
    }

    fn is_negative(&self, name: &EntryName) -> bool {
        matches!(self.names.get(name), Some(State::Negative(_)))
    }

    fn note_negative(&mut self, name: &EntryName) {
        self.clock += 1;
        self.negatives.insert(self.clock, name.clone());
        self.names.insert(name.clone(), State::Negative(self.clock));
    }

    fn evict(&mut self) {
        while self.negatives.len() > MAX_NEGATIVES {
            let Some((_, oldest)) = self.negatives.pop_first() else {
                return;
            };
            self.names.remove(&oldest);
            if !self.added.remove(&oldest) {
                self.removed.insert(oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> EntryName {
        format!("destination/demo/s{n}:80").parse().unwrap()
    }

    #[test]
    fn names_are_asked_for_once_and_negatives_are_bounded() {
        let mut interest = Interest::default();
        interest.pin(EntryName::Mesh);
        assert!(interest.ask(&name(0)) && !interest.ask(&name(0)));
        interest.present(&name(0));
        assert_eq!(interest.take_changes().add.len(), 2);
        for n in 1..=MAX_NEGATIVES {
            interest.ask(&name(n));
        }
        assert_eq!(interest.take_changes().add.len(), MAX_NEGATIVES);
        interest.ask(&name(1));
        interest.ask(&name(MAX_NEGATIVES + 1));
        let changes = interest.take_changes();
        assert_eq!(changes.add, [name(MAX_NEGATIVES + 1)]);
        assert_eq!(changes.remove, [name(2)], "the least recently asked");
        assert!(interest.contains(&name(0)) && interest.contains(&EntryName::Mesh));
        interest.absent(&name(0));
        assert_eq!(interest.take_changes().remove, [name(3)]);
    }

    #[test]
    fn a_new_stream_starts_with_everything() {
        let mut interest = Interest::default();
        interest.ask(&name(1));
        assert_eq!(interest.take_changes().add, [name(1)]);
        assert_eq!(interest.all(), [name(1)]);
        assert_eq!(interest.take_changes(), Changes::default());
    }
}
