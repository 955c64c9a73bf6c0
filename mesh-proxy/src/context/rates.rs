//! Limits of the local workload: their buckets, found once for the configuration in force.

use std::hash::Hasher;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use mesh_api::decide::ratelimit::bucket::Room;
use mesh_api::decide::ratelimit::{self, Outcome, Received};
use mesh_api::model::ratelimit::{KeyPart, Rate};
use mesh_api::name::{Name, ObjectName, Port};
use mesh_api::snapshot::RateLimitTable;

use super::{Context, Shared};
use crate::rate::Buckets;

/// What names buckets: a limit that changes starts with full ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RateKey {
    policy: ObjectName,
    /// `None`: the limit on connections.
    limit: Option<Name>,
    rate: Rate,
    by: Vec<KeyPart>,
}

/// The buckets of a table's limits, each in its place.
pub(super) struct Counters {
    requests: Vec<Arc<Buckets>>,
    connections: Vec<Option<Arc<Buckets>>>,
}

/// The counters of the table that a worker used last.
pub(super) type Used = Option<(Arc<RateLimitTable>, Rc<Counters>)>;

impl Shared {
    /// The buckets of `table`; those that no table has any more go.
    fn counters(&self, table: &RateLimitTable) -> Counters {
        let mut held = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let mut find = |key: RateKey| {
            let rate = key.rate;
            let found = held
                .entry(key)
                .or_insert_with(|| Arc::new(Buckets::new(rate)));
            Arc::clone(found)
        };
        let requests = table.limits.iter().map(|found| {
            find(RateKey {
                policy: found.name.clone(),
                limit: Some(found.limit.name.clone()),
                rate: found.limit.rate,
                by: found.limit.by.clone(),
            })
        });
        let requests = requests.collect();
        let connections = table.policies.iter().map(|policy| {
            Some(find(RateKey {
                policy: policy.policy.clone(),
                limit: None,
                rate: policy.connections?,
                by: Vec::new(),
            }))
        });
        let connections = connections.collect();
        held.retain(|_, buckets| Arc::strong_count(buckets) > 1);
        Counters {
            requests,
            connections,
        }
    }

    /// The buckets of each limit, by policy and limit.
    pub fn rate_limits(&self) -> Vec<(String, String, Arc<Buckets>)> {
        let held = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let all = held.iter().map(|(key, buckets)| {
            let limit = key.limit.as_ref().map_or("connections", Name::as_str);
            (
                key.policy.to_string(),
                limit.to_owned(),
                Arc::clone(buckets),
            )
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        all
    }
}

impl Context {
    /// Asks the limits of `table` about a request.
    pub fn limit<'t>(
        &self,
        table: &'t Arc<RateLimitTable>,
        received: &Received<'_>,
    ) -> Outcome<'t> {
        let mut asked = Asked {
            shared: &self.shared,
            counters: &self.counters(table),
            now: self.shared.start.elapsed(),
        };
        ratelimit::decide(table, received, &mut asked)
    }

    /// Asks the limits of `workload` about a connection to `port` of its app.
    ///
    /// # Errors
    /// One has no room: the policy.
    pub fn admit(&self, workload: &ObjectName, port: Port) -> Result<(), ObjectName> {
        let find =
            |snapshot: &mesh_api::snapshot::Snapshot| snapshot.rate_limits.get(workload).cloned();
        let Some(table) = self.with_snapshot(find) else {
            return Ok(());
        };
        let now = self.shared.start.elapsed();
        let counters = self.counters(&table);
        let mut taken: Vec<&Buckets> = Vec::new();
        for (policy, buckets) in table.policies.iter().zip(&counters.connections) {
            if policy.connections_to(port).is_none() {
                continue;
            }
            let Some(buckets) = buckets else { continue };
            if buckets.take(None, now).is_err() {
                for earlier in taken {
                    earlier.give_back(None);
                }
                return Err(policy.policy.clone());
            }
            taken.push(buckets);
        }
        Ok(())
    }

    fn counters(&self, table: &Arc<RateLimitTable>) -> Rc<Counters> {
        let mut used = self.rates.borrow_mut();
        if let Some((held, counters)) = &*used
            && Arc::ptr_eq(held, table)
        {
            return Rc::clone(counters);
        }
        // Before what was used goes: limits that stayed keep what they counted.
        let counters = Rc::new(self.shared.counters(table));
        *used = Some((Arc::clone(table), Rc::clone(&counters)));
        counters
    }
}

struct Asked<'c> {
    shared: &'c Shared,
    counters: &'c Counters,
    now: Duration,
}

impl ratelimit::Buckets for Asked<'_> {
    fn key(&self, write: &dyn Fn(&mut dyn Hasher)) -> u128 {
        self.shared.rate_keys.number(write)
    }

    fn take(&mut self, place: usize, key: Option<u128>, _: Rate) -> Result<Room, Duration> {
        match self.counters.requests.get(place) {
            Some(buckets) => buckets.take(key, self.now),
            // A table's limits have their counters each; without one nothing would be counted.
            None => Err(Duration::from_secs(1)),
        }
    }

    fn give_back(&mut self, place: usize, key: Option<u128>, _: Rate) {
        if let Some(buckets) = self.counters.requests.get(place) {
            buckets.give_back(key);
        }
    }
}
