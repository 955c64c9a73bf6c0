//! Buckets of rate limits, which all workers share: exact whatever their number. May use nothing of this
//! crate; the arithmetic is `mesh_api::decide::ratelimit::bucket`'s.
//!
//! Keys are bounded in number: see [`MOST_KEYS`]. Where they run out, those whose bucket is full again are
//! forgotten, which changes nothing for them. If none is, new keys share one bucket until there is room,
//! so that nobody passes uncounted.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::HashMap;
use mesh_api::decide::ratelimit::bucket::{Bucket, Room};
use mesh_api::model::ratelimit::Rate;

/// Most keys of a limit that have a bucket of their own.
pub const MOST_KEYS: usize = 65_536;
/// Parts of the keys, each with a lock of its own.
const SHARDS: usize = 16;
/// Part of a rate's time that passes between two looks for buckets that are full again.
const LOOKS: u32 = 16;

/// The buckets of one limit.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    /// That of all, or that of keys beyond the most.
    shared: Mutex<Bucket>,
    shards: Box<[Mutex<Shard>]>,
    refused: AtomicU64,
    overflowed: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    buckets: HashMap<u128, Bucket>,
    /// Before which no look for buckets to forget is worth it.
    look_at: Duration,
}

impl Buckets {
    /// Full ones.
    pub fn new(rate: Rate) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default());
        Self {
            rate,
            shared: Mutex::default(),
            shards: shards.collect(),
            refused: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
        }
    }

    /// Takes one at `now`, a time since the proxy's start; `None` is the key of all.
    ///
    /// # Errors
    /// The bucket is empty: how long until it has one.
    pub fn take(&self, key: Option<u128>, now: Duration) -> Result<Room, Duration> {
        let taken = key.and_then(|key| self.take_own(key, now));
        let taken = taken.unwrap_or_else(|| lock(&self.shared).take(self.rate, now));
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Gives back what was taken.
    pub fn give_back(&self, key: Option<u128>) {
        if let Some(key) = key
            && let Some(bucket) = lock(self.shard(key)).buckets.get_mut(&key)
        {
            return bucket.give_back(self.rate);
        }
        lock(&self.shared).give_back(self.rate);
    }

    /// Requests or connections refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Requests of keys that found no room for a bucket of their own.
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// `None` if there is no room for the key.
    fn take_own(&self, key: u128, now: Duration) -> Option<Result<Room, Duration>> {
        let mut shard = lock(self.shard(key));
        let shard = &mut *shard;
        if let Some(bucket) = shard.buckets.get_mut(&key) {
            return Some(bucket.take(self.rate, now));
        }
        if shard.buckets.len() >= MOST_KEYS / SHARDS {
            if now >= shard.look_at {
                let rate = self.rate;
                shard.buckets.retain(|_, bucket| !bucket.is_full(rate, now));
                shard.look_at = now + rate.per() / rate.requests() / LOOKS;
            }
            if shard.buckets.len() >= MOST_KEYS / SHARDS {
                self.overflowed.fetch_add(1, Ordering::Relaxed);
                return None;
            }
        }
        Some(shard.buckets.entry(key).or_default().take(self.rate, now))
    }

    fn shard(&self, key: u128) -> &Mutex<Shard> {
        // There are as many as `SHARDS`.
        let place = usize::try_from((key >> 64) % SHARDS as u128);
        &self.shards[place.unwrap_or_default()]
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How keys become numbers: by two keyed hashes, so that no caller can choose to share another's bucket.
#[derive(Debug, Default)]
pub struct Keys([RandomState; 2]);

impl Keys {
    /// The number of what `write` says.
    pub fn number(&self, write: &dyn Fn(&mut dyn Hasher)) -> u128 {
        let [high, low] = &self.0;
        let mut both = Both(high.build_hasher(), low.build_hasher());
        write(&mut both);
        let [high, low] = [both.0.finish(), both.1.finish()].map(u128::from);
        high << 64 | low
    }
}

struct Both(DefaultHasher, DefaultHasher);

impl Hasher for Both {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn buckets(requests: u32) -> Buckets {
        Buckets::new(Rate::new(requests, SECOND, requests).unwrap())
    }

    /// A key of shard `number % SHARDS`.
    fn key(number: u128) -> u128 {
        number << 64
    }

    #[test]
    fn workers_together_take_no_more_than_there_is() {
        let buckets = buckets(1000);
        for key in [None, Some(key(7))] {
            let taken = std::thread::scope(|scope| {
                let take = || {
                    (0..1000)
                        .filter(|_| buckets.take(key, SECOND).is_ok())
                        .count()
                };
                let workers: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
                let taken = workers.into_iter().map(|worker| worker.join().unwrap());
                taken.sum::<usize>()
            });
            assert_eq!(taken, 1000, "{key:?}");
        }
        assert_eq!(buckets.refused(), 6000);
        buckets.give_back(None);
        assert!(buckets.take(None, SECOND).is_ok() && buckets.take(None, SECOND).is_err());
    }

    #[test]
    fn keys_beyond_the_most_share_a_bucket_until_others_are_full_again() {
        let buckets = buckets(2);
        let most = MOST_KEYS as u128;
        for number in 0..most {
            assert!(buckets.take(Some(key(number)), SECOND).is_ok());
        }
        assert_eq!(buckets.overflowed(), 0);
        // Two of any number of new keys pass, and those that are known are as before.
        let passed =
            (most..most + 100).filter(|number| buckets.take(Some(key(*number)), SECOND).is_ok());
        assert_eq!(passed.count(), 2);
        assert_eq!(buckets.overflowed(), 100);
        assert!(
            buckets.take(Some(key(3)), SECOND).is_ok()
                && buckets.take(Some(key(3)), SECOND).is_err()
        );
        // Half a second on all others of its shard are full again, and forgotten.
        let later = SECOND + SECOND / 2;
        assert!(buckets.take(Some(key(most + 3)), later).is_ok());
        assert_eq!(buckets.overflowed(), 100);
        assert!(
            buckets.take(Some(key(3)), later).is_ok() && buckets.take(Some(key(3)), later).is_err()
        );
        let held: usize = buckets
            .shards
            .iter()
            .map(|shard| lock(shard).buckets.len())
            .sum();
        assert_eq!(held, MOST_KEYS - MOST_KEYS / SHARDS + 2);
    }

    #[test]
    fn keys_are_numbers_by_all_that_is_said() {
        let keys = Keys::default();
        let number = |text: &str| keys.number(&|hasher| hasher.write(text.as_bytes()));
        assert_eq!(number("a"), number("a"));
        assert_ne!(number("a"), number("b"));
        assert_ne!(number("a") & u128::from(u64::MAX), number("a") >> 64);
    }
}
