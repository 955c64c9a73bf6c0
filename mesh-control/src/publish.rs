//! Entries as published: one per name and consumer namespace, shared by all who subscribe, replaced
//! only when its content changed. May use `index`, `lease` and `watch`.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mesh_api::model::entry::{Entry, EntryName};
use mesh_api::name::{Identity, Name, Namespace, ObjectName, TrustDomain};
use mesh_api::resource::ResourceKey;
use mesh_api::translate::Touched;
use mesh_api::wire;
use tokio::sync::{Notify, watch};

use crate::error::Error;
use crate::index::{Index, ObjectChange};
use crate::lease::{Change, LeaseFiles, Leases, Refused, Registration};
use crate::telemetry;
use crate::watch::Scan;

/// An entry ready to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Published {
    /// Hash of `bytes`.
    pub version: String,
    /// The encoded entry.
    pub bytes: Vec<u8>,
    /// What a proxy must know to take it.
    pub features: Vec<String>,
    /// Whose it is, for an inbound entry: nobody else gets it.
    pub owner: Option<Identity>,
}

/// The world as one state: files, leases, and what is published of them.
pub struct Publisher {
    world: Mutex<World>,
    /// Taken before `world`, so that files are written in the order of changes.
    store: Mutex<LeaseFiles>,
    generation: watch::Sender<u64>,
    dirty: Notify,
    /// Resources whose status may have changed, for the one who follows them.
    verdicts: Mutex<Option<Verdicts>>,
    judged: Notify,
}

/// Resources whose verdict may have changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Every one.
    pub everything: bool,
    /// These.
    pub keys: BTreeSet<ResourceKey>,
}

struct World {
    index: Index,
    leases: Leases,
    slots: HashMap<Key, Slot>,
}

/// An entry, and the consumer namespace where that matters.
type Key = (EntryName, Option<Namespace>);

struct Slot {
    published: Option<Arc<Published>>,
    subscribers: usize,
}

/// What a caller of `Register` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// How long the lease lives without a refresh.
    pub lifetime: Duration,
    /// A file of the same name wins.
    pub shadowed_by_file: bool,
}

/// Why a registration failed.
#[derive(Debug, thiserror::Error)]
pub enum NotRegistered {
    /// The name or the number is taken.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It would back a Service that its join token does not cover.
    #[error("the join token does not allow {workload} to back service {service}")]
    Service {
        /// The workload.
        workload: ObjectName,
        /// The Service.
        service: ObjectName,
    },
    /// It could not be written down.
    #[error("cannot keep the registration: {}", .0.chain())]
    Store(Error),
}

impl Publisher {
    /// Publishes `index`, with the registrations of an earlier run.
    ///
    /// # Errors
    /// Leases that cannot be read.
    pub fn new(
        mut index: Index,
        store: LeaseFiles,
        lifetime: Duration,
        now: Instant,
    ) -> Result<Self, Error> {
        let mut leases = Leases::new(lifetime);
        index.apply_leases(&leases.restore(store.load()?, now));
        Ok(Self {
            world: Mutex::new(World {
                index,
                leases,
                slots: HashMap::new(),
            }),
            store: Mutex::new(store),
            generation: watch::Sender::new(0),
            dirty: Notify::new(),
            verdicts: Mutex::new(None),
            judged: Notify::new(),
        })
    }

    /// Reads from the index.
    pub fn read<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.lock().index)
    }

    /// How many registrations are published.
    pub fn lease_count(&self) -> usize {
        self.lock().leases.published().count()
    }

    /// Takes what a look at the folder found.
    pub fn apply_files(&self, scan: Scan) {
        if !scan.is_empty() {
            self.lock().index.apply_files(scan);
            self.dirty.notify_one();
        }
    }

    /// Takes what changed among the objects of the cluster.
    pub fn apply_objects(&self, changes: Vec<ObjectChange>) {
        if !changes.is_empty() {
            self.lock().index.apply_objects(changes);
            self.dirty.notify_one();
        }
    }

    /// Takes the address ranges of the cluster's Services and pods.
    pub fn set_ranges(&self, ranges: Vec<IpNet>) {
        self.lock().index.set_ranges(ranges);
        self.dirty.notify_one();
    }

    /// Keeps the trust domain that is in force: a Mesh that names another is refused.
    pub fn fix_trust_domain(&self) {
        self.lock().index.fix_trust_domain();
    }

    /// Puts `domain` in force for good: a Mesh that names another is refused.
    pub fn keep_trust_domain(&self, domain: TrustDomain) {
        self.lock().index.keep_trust_domain(domain);
    }

    /// Creates or refreshes a lease; `allowed` names the Services it may back, empty: any.
    ///
    /// # Errors
    /// A registration that is refused or cannot be kept.
    pub fn register(
        &self,
        registration: Registration,
        allowed: &[Name],
        now: Instant,
    ) -> Result<Registered, NotRegistered> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut world = self.lock();
        let workload = registration.workload.clone();
        if !allowed.is_empty() {
            let backed = world
                .index
                .services_of(&workload.namespace, &registration.labels);
            if let Some(service) = backed.into_iter().find(|s| !allowed.contains(&s.name)) {
                // A lease of before the Service was there, or before the token, ends at once.
                let account = &registration.service_account;
                let changes = world.leases.revoke(&workload, account);
                world.index.apply_leases(&changes);
                drop(world);
                self.keep(&store, &changes).map_err(NotRegistered::Store)?;
                return Err(NotRegistered::Service { workload, service });
            }
        }
        let changes = world.leases.register(registration, now)?;
        world.index.apply_leases(&changes);
        let registered = Registered {
            lifetime: world.leases.lifetime(),
            shadowed_by_file: world.index.has_written_workload(&workload),
        };
        drop(world);
        self.keep(&store, &changes).map_err(NotRegistered::Store)?;
        Ok(registered)
    }

    /// Ends a lease of `identity`.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn deregister(&self, name: &ObjectName, identity: &Identity) -> Result<(), Error> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut world = self.lock();
        let changes = world.leases.deregister(name, identity);
        world.index.apply_leases(&changes);
        drop(world);
        self.keep(&store, &changes)
    }

    /// Lets leases lapse as time passes; never returns.
    pub async fn expire_leases(&self) {
        loop {
            let next = self.lock().leases.next(Instant::now());
            tokio::time::sleep_until((next + TICK).into()).await;
            if let Err(error) = self.expire(Instant::now()) {
                telemetry::record_failure("leases", &error.chain());
            }
        }
    }

    /// Publishes what changed, soon after it changed; never returns.
    pub async fn publish_changes(&self) {
        loop {
            self.dirty.notified().await;
            tokio::time::sleep(DEBOUNCE).await;
            self.publish();
        }
    }

    /// Wakes when something published changed.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// Enters a subscriber of an entry as `consumer` sees it.
    pub fn subscribe(&self, name: &EntryName, consumer: &Namespace) {
        let mut world = self.lock();
        let key = key(name, consumer);
        if let Some(slot) = world.slots.get_mut(&key) {
            slot.subscribers += 1;
            return;
        }
        let published = world.compute(&key).map(Arc::new);
        let subscribers = 1;
        world.slots.insert(
            key,
            Slot {
                published,
                subscribers,
            },
        );
    }

    /// Takes a subscriber out; an entry without any is no longer computed.
    pub fn unsubscribe(&self, name: &EntryName, consumer: &Namespace) {
        let mut world = self.lock();
        let key = key(name, consumer);
        if let Some(slot) = world.slots.get_mut(&key) {
            slot.subscribers -= 1;
            if slot.subscribers == 0 {
                world.slots.remove(&key);
            }
        }
    }

    /// A subscribed entry, if there is such a thing.
    pub fn current(&self, name: &EntryName, consumer: &Namespace) -> Option<Arc<Published>> {
        let world = self.lock();
        world.slots.get(&key(name, consumer))?.published.clone()
    }

    /// Computes the subscribed entries that changes may have altered, and wakes subscribers if any
    /// did.
    pub fn publish(&self) -> usize {
        let mut world = self.lock();
        let touched = world.index.take_touched();
        let judged = world.index.take_judged();
        self.note_verdicts(&touched, judged);
        let keys = world.slots.keys();
        let keys: Vec<Key> = keys
            .filter(|(name, _)| touched.concerns(name))
            .cloned()
            .collect();
        let mut changed = 0;
        for key in &keys {
            let now = world.compute(key);
            if let Some(slot) = world.slots.get_mut(key)
                && slot.published.as_deref() != now.as_ref()
            {
                slot.published = now.map(Arc::new);
                changed += 1;
            }
        }
        drop(world);
        if changed > 0 {
            telemetry::record_published(changed, keys.len());
            self.generation.send_modify(|generation| *generation += 1);
        }
        changed
    }

    /// Waits until verdicts may have changed, and takes which; the first time at once, all.
    pub async fn next_verdicts(&self) -> Verdicts {
        loop {
            if let Some(verdicts) = self.take_verdicts() {
                return verdicts;
            }
            self.judged.notified().await;
        }
    }

    fn take_verdicts(&self) -> Option<Verdicts> {
        let mut held = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(verdicts) = held.as_mut() else {
            *held = Some(Verdicts::default());
            let everything = true;
            return Some(Verdicts {
                everything,
                ..Verdicts::default()
            });
        };
        let taken = std::mem::take(verdicts);
        (taken != Verdicts::default()).then_some(taken)
    }

    /// Nobody follows verdicts any more; who does next begins with all.
    pub fn forget_verdicts(&self) {
        *self.verdicts.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note_verdicts(&self, touched: &Touched, judged: BTreeSet<ResourceKey>) {
        let mut held = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(verdicts) = held.as_mut() else {
            return;
        };
        verdicts.everything |= touched.is_everything();
        verdicts.keys.extend(judged);
        verdicts.keys.extend(touched.verdicts().cloned());
        if *verdicts != Verdicts::default() {
            self.judged.notify_one();
        }
    }

    fn expire(&self, now: Instant) -> Result<(), Error> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut world = self.lock();
        let World { index, leases, .. } = &mut *world;
        let changes = leases.expire(now, |registration| {
            index.services_of(&registration.workload.namespace, &registration.labels)
        });
        index.apply_leases(&changes);
        drop(world);
        self.keep(&store, &changes)
    }

    /// Writes changes down and has them published.
    fn keep(&self, store: &LeaseFiles, changes: &[Change]) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        self.dirty.notify_one();
        store.store(changes)
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn compute(&self, (name, consumer): &Key) -> Option<Published> {
        let entry = self.index.entry(name, consumer.as_ref())?;
        let owner = match &entry {
            Entry::Inbound(inbound) => Some(inbound.identity.clone()),
            _ => None,
        };
        let encoded = wire::encode(&entry);
        Some(Published {
            version: encoded.version.to_string(),
            bytes: encoded.bytes,
            features: encoded.features,
            owner,
        })
    }
}

/// Only a destination looks different from namespace to namespace.
fn key(name: &EntryName, consumer: &Namespace) -> Key {
    let consumer = match name {
        EntryName::Destination(_) => Some(consumer.clone()),
        EntryName::Mesh | EntryName::Inbound(_) | EntryName::Address(_) => None,
    };
    (name.clone(), consumer)
}

const DEBOUNCE: Duration = Duration::from_millis(10);
/// Past the moment a lease ends, so that one look finds all that end together.
const TICK: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> (String, Result<String, String>) {
        let text = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: demo}}, \
             spec: {{ports: [{{port: {port}}}]}}}}"
        );
        (format!("{name}.yaml"), Ok(text))
    }

    fn scan(changed: Vec<(String, Result<String, String>)>) -> Scan {
        Scan {
            changed,
            ..Scan::default()
        }
    }

    #[test]
    fn a_lease_ends_once_its_token_does_not_cover_its_service() {
        let state = tempfile::tempdir().unwrap();
        let store = LeaseFiles::open(state.path()).unwrap();
        let lifetime = Duration::from_secs(10);
        let now = Instant::now();
        let publisher = Publisher::new(Index::new(None), store, lifetime, now).unwrap();
        let register = |account: &str| {
            let registration: Registration = serde_json::from_value(serde_json::json!({
                "workload": "demo/c1", "address": "127.0.0.1", "labels": {"app": "catalog"},
                "ports": {}, "tunnelPort": 15008, "weight": 100, "serviceAccount": account,
            }))
            .unwrap();
            publisher.register(registration, &["stock".parse().unwrap()], now)
        };
        assert!(register("stock").is_ok());
        let text = "{apiVersion: v1, kind: Service, metadata: {name: catalog, namespace: demo}, \
                    spec: {selector: {app: catalog}, ports: [{port: 80}]}}";
        // A refused version changes nothing: the last good one selects on.
        let refused = text
            .replace("catalog}, ports", "x}, ports")
            .replace("80", "0");
        for text in [text, &refused] {
            publisher.apply_files(scan(vec![("a.yaml".into(), Ok(text.into()))]));
        }
        for (account, left) in [("thief", 1), ("stock", 0)] {
            let refused = register(account);
            assert!(matches!(refused, Err(NotRegistered::Service { .. })));
            assert_eq!(publisher.lease_count(), left, "{account}");
        }
    }

    #[test]
    fn only_what_changed_is_published_anew() {
        let state = tempfile::tempdir().unwrap();
        let store = LeaseFiles::open(state.path()).unwrap();
        let lifetime = Duration::from_secs(10);
        let publisher = Publisher::new(Index::new(None), store, lifetime, Instant::now()).unwrap();
        let consumer: Namespace = "demo".parse().unwrap();
        let names: [EntryName; 2] =
            ["destination/demo/a:80", "destination/demo/b:80"].map(|name| name.parse().unwrap());
        for name in &names {
            publisher.subscribe(name, &consumer);
        }
        let current = |name| publisher.current(name, &consumer);
        assert!(current(&names[0]).is_none());

        let generations = publisher.generations();
        publisher.apply_files(scan(vec![service("a", 80), service("b", 80)]));
        assert_eq!(publisher.publish(), 2);
        assert!(generations.has_changed().unwrap());
        let before = names.each_ref().map(|name| current(name).unwrap());
        assert_ne!(before[0].version, before[1].version);

        let generations = publisher.generations();
        publisher.apply_files(scan(vec![service("c", 80)]));
        assert_eq!(publisher.publish(), 0);
        assert!(!generations.has_changed().unwrap(), "nobody is woken");

        publisher.apply_files(scan(vec![service("b", 81)]));
        assert_eq!(publisher.publish(), 1);
        assert!(Arc::ptr_eq(&before[0], &current(&names[0]).unwrap()));
        assert!(current(&names[1]).is_none());
        publisher.unsubscribe(&names[0], &consumer);
        assert!(current(&names[0]).is_none(), "nobody wants it");
    }
}
