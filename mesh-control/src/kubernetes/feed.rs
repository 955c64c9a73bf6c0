//! Brings what watches tell into the index, many changes at once, and says when each watch has told
//! all there is. May use `kinds`, `watch`, `topic`, `publish` and `telemetry`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;
use kube::Client;
use mesh_api::resource::ResourceKey;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::index::{ObjectChange, ObjectState};
use crate::kubernetes::backoff::Backoff;
use crate::kubernetes::kinds::Kinds;
use crate::kubernetes::reason;
use crate::kubernetes::topic::{Item, Topic};
use crate::kubernetes::watch::News;
use crate::publish::Publisher;
use crate::telemetry;

/// The watches of a cluster, and what they told.
pub struct Feed {
    publisher: Arc<Publisher>,
    ranges: BTreeMap<(Topic, String), Vec<IpNet>>,
    synced: Synced,
}

/// How far each watch is; shared.
#[derive(Clone)]
pub struct Synced {
    held: Arc<Mutex<BTreeMap<Topic, WatchState>>>,
    all: Arc<watch::Sender<bool>>,
}

/// How far one watch is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchState {
    /// It has told all there is, once.
    pub synced: bool,
    /// Whole lists that it told: the first, and each after the API server forgot its place.
    pub lists: u64,
    /// Why it cannot go on now.
    pub failing: Option<String>,
}

impl Feed {
    /// A feed of nothing yet.
    pub fn new(publisher: Arc<Publisher>) -> Self {
        Self {
            publisher,
            ranges: BTreeMap::new(),
            synced: Synced {
                held: Arc::default(),
                all: Arc::new(watch::Sender::new(false)),
            },
        }
    }

    /// How far each watch is.
    pub fn synced(&self) -> Synced {
        self.synced.clone()
    }

    /// Follows the cluster; never returns.
    pub async fn run(mut self, client: Client) {
        let (sender, mut news) = mpsc::channel(QUEUE);
        let mut kinds = Kinds::new(client, sender);
        let mut backoff = Backoff::default();
        loop {
            match kinds.start().await {
                Ok(topics) => {
                    self.synced.expect(topics);
                    break;
                }
                Err(error) => {
                    telemetry::record_watch_failed("the kinds of the cluster", &reason(&error));
                    tokio::time::sleep(backoff.next(fastrand::f64())).await;
                }
            }
        }
        let mut running = JoinSet::new();
        running.spawn(kinds.run());
        let mut batch = Vec::with_capacity(BATCH);
        while news.recv_many(&mut batch, BATCH).await > 0 {
            self.take(batch.drain(..));
        }
    }

    fn take(&mut self, news: impl Iterator<Item = News>) {
        let mut changes = Vec::new();
        let mut listed = Vec::new();
        let mut ranges_changed = false;
        for told in news {
            match told {
                News::All(topic, items) => {
                    // What changed before is in force when the index is asked what it has.
                    self.publisher.apply_objects(std::mem::take(&mut changes));
                    ranges_changed |= self.take_all(topic, items, &mut changes);
                    listed.push(topic);
                }
                News::One(topic, item) => {
                    ranges_changed |= self.take_one(topic, item, &mut changes);
                    self.synced.set_failing(topic, None);
                }
                News::Failing(topic, reason) => self.synced.set_failing(topic, Some(reason)),
            }
        }
        self.publisher.apply_objects(changes);
        if ranges_changed {
            let ranges = self.ranges.values().flatten().copied().collect();
            self.publisher.set_ranges(IpNet::aggregate(&ranges));
        }
        for topic in listed {
            self.synced.set_listed(topic);
        }
    }

    /// Takes a whole list: what the index has and the list has not is gone.
    fn take_all(
        &mut self,
        topic: Topic,
        items: Vec<Item>,
        changes: &mut Vec<ObjectChange>,
    ) -> bool {
        let mut gone: BTreeSet<ResourceKey> = match topic {
            Topic::Kind(kind) => {
                let keys = self.publisher.read(|index| index.object_keys(kind));
                keys.into_iter().collect()
            }
            Topic::Nodes | Topic::ServiceCIDRs => BTreeSet::new(),
        };
        let before = self.ranges.len();
        self.ranges.retain(|(of, _), _| *of != topic);
        let mut ranges_changed = before != self.ranges.len();
        for item in items {
            if let Item::Object(change) = &item {
                gone.remove(&change.key);
            }
            ranges_changed |= self.take_one(topic, item, changes);
        }
        let state = ObjectState::Absent;
        changes.extend(gone.into_iter().map(|key| ObjectChange {
            key,
            state: state.clone(),
        }));
        ranges_changed
    }

    fn take_one(&mut self, topic: Topic, item: Item, changes: &mut Vec<ObjectChange>) -> bool {
        match item {
            Item::Object(change) => {
                changes.push(change);
                false
            }
            Item::Ranges(name, ranges) if ranges.is_empty() => {
                self.ranges.remove(&(topic, name)).is_some()
            }
            Item::Ranges(name, ranges) => {
                let before = self.ranges.insert((topic, name), ranges.clone());
                before != Some(ranges)
            }
        }
    }
}

impl Synced {
    /// Returns once every watch that was there at the start has told all there is.
    pub async fn wait(&self) {
        let mut all = self.all.subscribe();
        // The sender lives in `self`.
        drop(all.wait_for(|all| *all).await);
    }

    /// True once every watch that was there at the start has told all there is.
    pub fn is_done(&self) -> bool {
        *self.all.borrow()
    }

    /// Every watch by what it watches.
    pub fn states(&self) -> BTreeMap<String, WatchState> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let states = held.iter();
        states
            .map(|(topic, state)| (topic.to_string(), state.clone()))
            .collect()
    }

    fn expect(&self, topics: BTreeSet<Topic>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for topic in topics {
            held.entry(topic).or_default();
        }
    }

    fn set_listed(&self, topic: Topic) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let state = held.entry(topic).or_default();
        state.synced = true;
        state.lists += 1;
        if state.failing.take().is_some() {
            telemetry::record_watch_works(&topic.to_string());
        }
        if !*self.all.borrow() && held.values().all(|state| state.synced) {
            self.all.send_replace(true);
        }
    }

    fn set_failing(&self, topic: Topic, failing: Option<String>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let state = held.entry(topic).or_default();
        match (&state.failing, &failing) {
            (None, Some(reason)) => telemetry::record_watch_failed(&topic.to_string(), reason),
            (Some(_), None) => telemetry::record_watch_works(&topic.to_string()),
            _ => {}
        }
        state.failing = failing;
    }
}

/// What watches may be ahead of the index, in objects.
const QUEUE: usize = 256;
/// Most that is taken at once.
const BATCH: usize = 1024;
