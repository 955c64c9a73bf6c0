//! What one proxy subscribes to, was sent and took: the delivery protocol without its I/O.
//!
//! One batch is out at a time; what changes meanwhile goes into the next one, so a slow proxy costs
//! no queue. May use `publish` and `proxies`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use mesh_api::error::Invalid;
use mesh_api::model::entry::EntryName;
use mesh_api::name::{Identity, Namespace};
use mesh_api::wire::generated as wire;

use crate::publish::{Published, Publisher};
use crate::serve::proxies::{EntryState, Sent};

/// The subscriptions of one stream; given back when dropped.
pub struct Subscriptions {
    publisher: Arc<Publisher>,
    identity: Identity,
    entries: BTreeMap<EntryName, EntryState>,
    nonce: u64,
    outstanding: Option<Vec<EntryName>>,
}

/// A proxy that breaks the protocol; its stream ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A name that is none.
    #[error("{0}")]
    BadName(String),
    /// More than a proxy may hold.
    #[error("a proxy subscribes to at most {MAX_ENTRIES} entries")]
    TooMany,
    /// An acknowledgement of no batch.
    #[error("nonce {0} names no batch that waits for an answer")]
    BadNonce(u64),
}

impl Subscriptions {
    /// Subscriptions of a proxy of `identity`: the mesh's facts, and what it says it holds.
    ///
    /// # Errors
    /// A name that is none, or too many.
    pub fn resume(
        publisher: Arc<Publisher>,
        identity: Identity,
        held: Vec<wire::HeldEntry>,
    ) -> Result<Self, Violation> {
        let mut subscriptions = Self {
            publisher,
            identity,
            entries: BTreeMap::new(),
            nonce: 0,
            outstanding: None,
        };
        subscriptions.add(EntryName::Mesh)?;
        for entry in held {
            let name = parse(&entry.name)?;
            let state = subscriptions.add(name)?;
            if !entry.version.is_empty() {
                let version: String = entry.version.chars().take(64).collect();
                state.sent = Sent::Version(version.clone());
                state.acked = Some(version);
            }
        }
        Ok(subscriptions)
    }

    /// Adds and removes subscriptions.
    ///
    /// # Errors
    /// A name that is none, or too many.
    pub fn change(&mut self, change: &wire::Subscribe) -> Result<(), Violation> {
        for name in &change.remove {
            let name = parse(name)?;
            if name != EntryName::Mesh && self.entries.remove(&name).is_some() {
                self.publisher.unsubscribe(&name, self.consumer());
            }
        }
        for name in &change.add {
            self.add(parse(name)?)?;
        }
        Ok(())
    }

    /// Takes the answer to the batch that is out.
    ///
    /// # Errors
    /// An answer to another batch.
    pub fn acknowledge(&mut self, answer: &wire::Acknowledge) -> Result<(), Violation> {
        let batch = match self.outstanding.take() {
            Some(batch) if answer.nonce == self.nonce => batch,
            _ => return Err(Violation::BadNonce(answer.nonce)),
        };
        for name in batch {
            // Unsubscribed meanwhile, or subscribed anew: the answer is about the past.
            let Some(entry) = self.entries.get_mut(&name) else {
                continue;
            };
            if entry.waiting_since.take().is_none() {
                continue;
            }
            let text = name.to_string();
            let refusal = answer.refused.iter().find(|refusal| refusal.name == text);
            if let Some(refusal) = refusal {
                entry.faults = faults_of(refusal);
                continue;
            }
            entry.faults.clear();
            entry.acked = match &entry.sent {
                Sent::Version(version) => Some(version.clone()),
                Sent::Absent | Sent::Nothing => None,
            };
        }
        Ok(())
    }

    /// The next batch, if nothing is out and something differs from what was sent.
    pub fn next_batch(&mut self, now: Instant) -> Option<wire::Batch> {
        if self.outstanding.is_some() {
            return None;
        }
        let mut batch = wire::Batch::default();
        let mut names = Vec::new();
        let consumer = self.identity.namespace.clone();
        let mut size = 0;
        for (name, entry) in &mut self.entries {
            let current = self
                .publisher
                .current(name, &consumer)
                .filter(|published| allows(published, &self.identity));
            let target = current.as_ref().map_or(Sent::Absent, |published| {
                Sent::Version(published.version.clone())
            });
            if entry.sent == target {
                continue;
            }
            match current {
                Some(published) => {
                    size += published.bytes.len();
                    batch.upsert.push(versioned(name, &published));
                }
                None => batch.remove.push(name.to_string()),
            }
            entry.sent = target;
            entry.waiting_since = Some(now);
            entry.faults.clear();
            names.push(name.clone());
            if size > BATCH_BYTES {
                break;
            }
        }
        if names.is_empty() {
            return None;
        }
        self.nonce += 1;
        batch.nonce = self.nonce;
        self.outstanding = Some(names);
        Some(batch)
    }

    /// How far each entry got.
    pub fn entries(&self) -> &BTreeMap<EntryName, EntryState> {
        &self.entries
    }

    fn consumer(&self) -> &Namespace {
        &self.identity.namespace
    }

    fn add(&mut self, name: EntryName) -> Result<&mut EntryState, Violation> {
        if !self.entries.contains_key(&name) {
            if self.entries.len() >= MAX_ENTRIES {
                return Err(Violation::TooMany);
            }
            self.publisher.subscribe(&name, &self.identity.namespace);
        }
        Ok(self.entries.entry(name).or_default())
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for name in self.entries.keys() {
            self.publisher.unsubscribe(name, self.consumer());
        }
    }
}

/// An inbound entry goes to its own workload's identity only.
fn allows(published: &Published, identity: &Identity) -> bool {
    published
        .owner
        .as_ref()
        .is_none_or(|owner| owner == identity)
}

fn versioned(name: &EntryName, published: &Published) -> wire::VersionedEntry {
    wire::VersionedEntry {
        name: name.to_string(),
        version: published.version.clone(),
        entry: published.bytes.clone(),
        features: published.features.clone(),
    }
}

fn faults_of(refusal: &wire::Refusal) -> Vec<Invalid> {
    let short = |text: &str| text.chars().take(1024).collect::<String>();
    let mut faults: Vec<Invalid> = refusal
        .faults
        .iter()
        .take(32)
        .map(|fault| Invalid::new(short(&fault.path), short(&fault.reason)))
        .collect();
    if faults.is_empty() {
        faults.push(Invalid::new("", "refused without a reason"));
    }
    faults
}

fn parse(name: &str) -> Result<EntryName, Violation> {
    name.parse().map_err(Violation::BadName)
}

/// A proxy bounds its negatives at 4,096; with what it uses it stays well below this.
const MAX_ENTRIES: usize = 16_384;
/// A batch is closed once it is larger, in bytes of entries.
const BATCH_BYTES: usize = 1024 * 1024;
