//! Batches into snapshots: checks each entry, keeps the last good of what is refused.

use std::collections::BTreeMap;

use mesh_api::error::Invalid;
use mesh_api::model::entry::EntryName;
use mesh_api::snapshot::{Change, Known, Snapshot};
use mesh_api::wire;
use mesh_api::wire::features::missing_features;
use mesh_api::wire::generated::{Batch, HeldEntry, VersionedEntry};

/// The entries in force, as they came.
#[derive(Debug, Default)]
pub(super) struct Held {
    entries: BTreeMap<EntryName, VersionedEntry>,
}

/// What a batch led to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) snapshot: Snapshot,
    /// Names now in force, with their version.
    pub(super) taken: Vec<(EntryName, String)>,
    /// Names now known not to exist.
    pub(super) removed: Vec<EntryName>,
    pub(super) refused: Vec<RefusedEntry>,
}

/// An entry that was not taken.
#[derive(Debug)]
pub(super) struct RefusedEntry {
    /// As received.
    pub(super) text: String,
    /// If it is one.
    pub(super) name: Option<EntryName>,
    pub(super) version: String,
    pub(super) faults: Vec<Invalid>,
    /// It asks for features that this build lacks: not even its last good may serve.
    pub(super) fails_closed: bool,
}

impl Held {
    /// Applies `batch` to `snapshot` as one. Entries that `wanted` denies are passed over: nobody
    /// asks for them any more.
    pub(super) fn apply(
        &mut self,
        snapshot: &Snapshot,
        batch: Batch,
        wanted: impl Fn(&EntryName) -> bool,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let mut changes = Vec::new();
        let mut decoded = BTreeMap::new();
        for entry in batch.upsert {
            match check(&entry) {
                Ok((name, _)) if !wanted(&name) => {}
                Ok((name, change)) => {
                    changes.push(change);
                    decoded.insert(name, entry);
                }
                Err(refused) => {
                    if let Some(name) = &refused.name {
                        changes.push(Change::Fail(name.clone(), refused.reason()));
                    }
                    outcome.refused.push(*refused);
                }
            }
        }
        for name in batch.remove.iter().filter_map(|text| text.parse().ok()) {
            if wanted(&name) {
                self.entries.remove(&name);
                changes.push(Change::Remove(name.clone()));
                outcome.removed.push(name);
            }
        }
        let (next, refused) = snapshot.apply(changes);
        outcome.snapshot = next;
        for refused in refused {
            if let Some(entry) = decoded.remove(&refused.name) {
                outcome.refused.push(RefusedEntry {
                    text: entry.name,
                    name: Some(refused.name),
                    version: entry.version,
                    faults: refused.faults,
                    fails_closed: false,
                });
            }
        }
        self.close(&mut outcome);
        for (name, entry) in decoded {
            outcome.taken.push((name.clone(), entry.version.clone()));
            self.entries.insert(name, entry);
        }
        outcome
    }

    /// Drops what nobody asks for any more.
    pub(super) fn forget(&mut self, name: &EntryName) {
        self.entries.remove(name);
    }

    /// Version of `name` in force; empty without one.
    pub(super) fn version(&self, name: &EntryName) -> String {
        let held = self.entries.get(name);
        held.map(|entry| entry.version.clone()).unwrap_or_default()
    }

    /// `names` with the versions in force.
    pub(super) fn versions(&self, names: Vec<EntryName>) -> Vec<HeldEntry> {
        let held = |name: EntryName| HeldEntry {
            version: self.version(&name),
            name: name.to_string(),
        };
        names.into_iter().map(held).collect()
    }

    /// Everything in force, to be saved. What is known not to exist is not: it may by then.
    pub(super) fn batch(&self) -> Batch {
        Batch {
            nonce: 0,
            upsert: self.entries.values().cloned().collect(),
            remove: Vec::new(),
        }
    }

    fn close(&mut self, outcome: &mut Outcome) {
        for refused in outcome
            .refused
            .iter()
            .filter(|refused| refused.fails_closed)
        {
            let reason = refused.reason();
            match &refused.name {
                Some(EntryName::Destination(name)) => {
                    let known = Known::Failed(reason);
                    outcome.snapshot.destinations.insert(name.clone(), known);
                }
                Some(EntryName::Inbound(name)) => {
                    outcome.snapshot.inbound.remove(name);
                }
                Some(EntryName::Address(address)) => {
                    outcome.snapshot.addresses.remove(address);
                }
                Some(EntryName::Mesh) | None => continue,
            }
            if let Some(name) = &refused.name {
                self.entries.remove(name);
            }
        }
    }
}

impl RefusedEntry {
    fn reason(&self) -> String {
        let texts: Vec<_> = self.faults.iter().map(ToString::to_string).collect();
        texts.join("; ")
    }
}

fn check(entry: &VersionedEntry) -> Result<(EntryName, Change), Box<RefusedEntry>> {
    let refuse = |name: Option<EntryName>, faults: Vec<Invalid>, fails_closed: bool| {
        Box::new(RefusedEntry {
            text: entry.name.clone(),
            name,
            version: entry.version.clone(),
            faults,
            fails_closed,
        })
    };
    let name: EntryName = match entry.name.parse() {
        Ok(name) => name,
        Err(reason) => return Err(refuse(None, vec![Invalid::new("", reason)], false)),
    };
    let missing = missing_features(&entry.features);
    if !missing.is_empty() {
        let reason = format!("needs features this build lacks: {}", missing.join(", "));
        return Err(refuse(Some(name), vec![Invalid::new("", reason)], true));
    }
    match wire::decode(&name, &entry.entry) {
        Ok(decoded) => Ok((name, Change::Upsert(Box::new(decoded)))),
        Err(faults) => Err(refuse(Some(name), faults, false)),
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::model::backend::Backend;
    use mesh_api::model::destination::{Destination, Protocol};
    use mesh_api::model::entry::Entry;

    use super::*;

    fn entry(name: &str, features: &[&str]) -> VersionedEntry {
        let destination = Destination {
            name: name.parse().unwrap(),
            consumer: "demo".parse().unwrap(),
            protocol: Protocol::Http,
            addresses: vec![],
            routes: vec![],
            connection_routes: Vec::new(),
            backends: vec![Backend {
                name: name.parse().unwrap(),
                protocol: Protocol::Http,
                settings: mesh_api::model::policy::BackendSettings::default(),
                endpoints: vec![],
            }],
            timeouts: mesh_api::model::policy::ExchangeTimeouts::default(),
            retry: mesh_api::model::origin::Sourced::default_value(
                mesh_api::model::policy::RetryPolicy::default(),
            ),
            faults: Vec::new(),
            own_faults: None,
            stickiness: None,
        };
        let encoded = wire::encode(&Entry::Destination(destination));
        VersionedEntry {
            name: encoded.name.to_string(),
            version: encoded.version.to_string(),
            entry: encoded.bytes,
            features: features.iter().map(ToString::to_string).collect(),
        }
    }

    fn apply(held: &mut Held, snapshot: &Snapshot, upsert: Vec<VersionedEntry>) -> Outcome {
        let batch = Batch {
            nonce: 1,
            upsert,
            remove: vec![],
        };
        held.apply(snapshot, batch, |_| true)
    }

    #[test]
    fn a_refused_entry_keeps_its_last_good_and_others_are_taken() {
        let mut held = Held::default();
        let good = entry("demo/a:80", &[]);
        let first = apply(&mut held, &Snapshot::default(), vec![good.clone()]);
        assert_eq!(first.taken.len(), 1);
        let bad = |name: &str| VersionedEntry {
            entry: vec![0xff; 9],
            version: "new".into(),
            name: format!("destination/{name}"),
            features: vec![],
        };
        let batch = vec![bad("demo/a:80"), bad("demo/b:80"), entry("demo/c:80", &[])];
        let second = apply(&mut held, &first.snapshot, batch);
        let known = |name: &str| second.snapshot.destinations.get(&name.parse().unwrap());
        assert!(matches!(known("demo/a:80"), Some(Known::Present(_))));
        assert!(matches!(known("demo/b:80"), Some(Known::Failed(_))));
        assert!(matches!(known("demo/c:80"), Some(Known::Present(_))));
        assert_eq!((second.taken.len(), second.refused.len()), (1, 2));
        let a = "destination/demo/a:80".parse().unwrap();
        assert_eq!(held.version(&a), good.version, "the last good's version");
        assert_eq!(held.batch().upsert.len(), 2);
    }

    #[test]
    fn a_missing_feature_fails_closed_whatever_was_held() {
        let mut held = Held::default();
        let first = apply(
            &mut held,
            &Snapshot::default(),
            vec![entry("demo/a:80", &[])],
        );
        let newer = entry("demo/a:80", &["time-travel"]);
        let second = apply(&mut held, &first.snapshot, vec![newer]);
        let known = &second.snapshot.destinations[&"demo/a:80".parse().unwrap()];
        assert!(matches!(known, Known::Failed(reason) if reason.contains("time-travel")));
        assert!(
            held.batch().upsert.is_empty(),
            "nor from disk after a restart"
        );
    }

    #[test]
    fn removed_is_absent_and_unwanted_is_passed_over() {
        let mut held = Held::default();
        let first = apply(
            &mut held,
            &Snapshot::default(),
            vec![entry("demo/a:80", &[])],
        );
        let batch = Batch {
            nonce: 2,
            upsert: vec![entry("demo/b:80", &[])],
            remove: vec!["destination/demo/a:80".into(), "nonsense".into()],
        };
        let b: EntryName = "destination/demo/b:80".parse().unwrap();
        let second = held.apply(&first.snapshot, batch, |name| *name != b);
        assert!(matches!(
            second.snapshot.destinations[&"demo/a:80".parse().unwrap()],
            Known::Absent
        ));
        assert_eq!(second.snapshot.destinations.len(), 1);
        assert_eq!(second.removed.len(), 1);
    }
}
