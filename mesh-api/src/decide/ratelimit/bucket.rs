//! A bucket by the generic cell rate algorithm (ITU-T I.371, annex A, "virtual scheduling"): one number,
//! the theoretical arrival time of the next request.
//!
//! Time is counted in parts of a nanosecond, as many as a rate has requests, so that no rate is rounded:
//! between two requests is then a whole number of parts, [`Rate::per`] in nanoseconds.

use std::time::Duration;

use crate::model::ratelimit::Rate;

/// A bucket of one rate. A new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full again, in parts of a nanosecond.
    full_at: u128,
}

/// What a bucket has after one was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// How many more may come at once.
    pub left: u32,
    /// When it is full again, if nothing comes.
    pub full_in: Duration,
}

impl Bucket {
    /// Takes one at `now`, a time since any moment that stays the same; it may only go on.
    ///
    /// # Errors
    /// The bucket is empty: how long until it has one, rounded up.
    pub fn take(&mut self, rate: Rate, now: Duration) -> Result<Room, Duration> {
        let now = parts(rate, now);
        let interval = rate.per().as_nanos();
        // What may come early: all of the burst but the one that is due.
        let tolerance = interval * u128::from(rate.burst() - 1);
        let due = self.full_at.max(now);
        let early = due - now;
        if early > tolerance {
            return Err(nanos(rate, early - tolerance));
        }
        self.full_at = due + interval;
        let left = (tolerance - early) / interval;
        Ok(Room {
            left: u32::try_from(left).unwrap_or(u32::MAX),
            full_in: nanos(rate, early + interval),
        })
    }

    /// Gives back one that was taken.
    pub fn give_back(&mut self, rate: Rate) {
        self.full_at = self.full_at.saturating_sub(rate.per().as_nanos());
    }

    /// True if it is as a new one at `now`.
    pub fn is_full(&self, rate: Rate, now: Duration) -> bool {
        self.full_at <= parts(rate, now)
    }
}

/// A time in parts of a nanosecond. At most 2^94 for 584 years of the fastest rate.
fn parts(rate: Rate, time: Duration) -> u128 {
    time.as_nanos() * u128::from(rate.requests())
}

/// Parts of a nanosecond as a time, rounded up.
fn nanos(rate: Rate, parts: u128) -> Duration {
    let nanos = parts.div_ceil(u128::from(rate.requests()));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(requests: u32, per: Duration, burst: u32) -> Rate {
        Rate::new(requests, per, burst).unwrap()
    }

    /// How many of one request each `step` pass within `time`, from a full bucket.
    fn passing(rate: Rate, step: Duration, time: Duration) -> u32 {
        let mut bucket = Bucket::default();
        let mut now = Duration::from_secs(7);
        let end = now + time;
        let mut passed = 0;
        while now < end {
            passed += u32::from(bucket.take(rate, now).is_ok());
            now += step;
        }
        passed
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_exactly() {
        let milli = Duration::from_millis(1);
        for (requests, per, burst, time, expected) in [
            // The burst at once, then one each interval.
            (40, SECOND, 1, 30 * SECOND, 1200),
            (40, SECOND, 50, 30 * SECOND, 50 + 1199),
            // No interval of 1/3 s is a whole number of nanoseconds: nothing is lost in a day.
            (3, SECOND, 2, 86_400 * SECOND, 2 + 259_199),
            (7, 60 * SECOND, 2, 600 * SECOND, 2 + 69),
            (1, 3600 * SECOND, 1, 7200 * SECOND, 2),
        ] {
            let rate = rate(requests, per, burst);
            let step = if time > 1000 * SECOND {
                25 * milli
            } else {
                milli
            };
            let passed = passing(rate, step, time);
            assert_eq!(passed, expected, "{rate}");
        }
    }

    #[test]
    fn what_is_left_and_when_is_told_exactly() {
        let rate = rate(2, SECOND, 3);
        let mut bucket = Bucket::default();
        let at = |half: u32| 10 * SECOND + SECOND / 2 * half;
        let room = |left, halves: u32| {
            let full_in = SECOND / 2 * halves;
            Ok(Room { left, full_in })
        };
        assert_eq!(bucket.take(rate, at(0)), room(2, 1));
        assert_eq!(bucket.take(rate, at(0)), room(1, 2));
        assert_eq!(bucket.take(rate, at(0)), room(0, 3));
        assert_eq!(bucket.take(rate, at(0)), Err(SECOND / 2));
        let early = at(1).saturating_sub(Duration::from_nanos(1));
        assert_eq!(bucket.take(rate, early), Err(Duration::from_nanos(1)));
        assert_eq!(bucket.take(rate, at(1)), room(0, 3));
        assert!(!bucket.is_full(rate, at(3)) && bucket.is_full(rate, at(4)));
        // A bucket overflows: a long pause gives no more than the burst.
        assert_eq!(bucket.take(rate, at(1000)), room(2, 1));
        bucket.give_back(rate);
        assert_eq!(bucket.take(rate, at(1000)), room(2, 1));
    }

    #[test]
    fn the_ends_of_time_and_of_rates_hold() {
        let long = Duration::from_nanos(u64::MAX);
        for rate in [
            rate(1_000_000, SECOND, 1_000_000),
            rate(1, Duration::from_hours(24), 1),
            rate(1, Duration::from_hours(24), 1_000_000),
        ] {
            let mut bucket = Bucket::default();
            assert!(bucket.take(rate, long).is_ok(), "{rate}");
        }
        for (requests, per, burst) in [
            (0, SECOND, 1),
            (1, SECOND, 0),
            (1, SECOND, 1_000_001),
            (1, Duration::from_micros(999), 1),
            (1, Duration::from_hours(25), 1),
            (1001, Duration::from_millis(1), 1),
        ] {
            assert!(
                Rate::new(requests, per, burst).is_err(),
                "{requests} {per:?} {burst}"
            );
        }
    }
}
