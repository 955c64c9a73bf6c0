//! Picks an endpoint. Pure: load and usability come from the caller, chance from [`Random`].
//!
//! *Peak EWMA* draws two candidates and takes the one with less load, the first drawn where they are
//! equal. With equal weights the two are always different ones. With unequal weights they are drawn
//! by weight and independently, so whatever the load, a candidate with share *p* of the weight gets
//! between p² and 1-(1-p)² of the picks. *Round robin* gives each candidate its exact share in each
//! run of as many turns as the weights, reduced to their smallest whole ratio, sum up to.
//!
//! Panic mode: where no candidate is usable, all are picked from, since a guess beats a sure failure.

use std::time::Duration;

use crate::decide::Random;
use crate::model::policy::Algorithm;

/// An endpoint as the pick sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Relative share; 0 counts as 1.
    pub weight: u32,
    /// Expected delay times exchanges outstanding; lower is better. Never negative.
    pub load: f64,
    /// Neither ejected nor stale nor tried already.
    pub usable: bool,
}

/// Picks one of `candidates`; `None` if there is none. `turn` counts the picks of this backend.
pub fn pick(
    algorithm: Algorithm,
    candidates: &[Candidate],
    turn: u64,
    random: &mut dyn Random,
) -> Option<usize> {
    let pool = Pool::of(candidates);
    match pool.count {
        0 => None,
        1 => pool.nth(0),
        _ => match algorithm {
            Algorithm::RoundRobin => pool.at_weight(pool.position(turn)),
            Algorithm::PeakEwma => pool.two_choices(random),
        },
    }
}

/// The delay to expect next, in seconds: a slower observation counts at once, a faster one by the
/// share of `decay` that passed since the last.
pub fn peak_ewma(previous: f64, observed: f64, elapsed: Duration, decay: Duration) -> f64 {
    if observed >= previous {
        return observed;
    }
    previous * remaining(elapsed, decay) + observed * (1.0 - remaining(elapsed, decay))
}

/// What is left of an expected delay that nothing was observed for during `elapsed`, so that an
/// endpoint with one slow answer is tried again.
pub fn decayed(previous: f64, elapsed: Duration, decay: Duration) -> f64 {
    previous * remaining(elapsed, decay)
}

fn remaining(elapsed: Duration, decay: Duration) -> f64 {
    if decay.is_zero() {
        return 0.0;
    }
    (-elapsed.as_secs_f64() / decay.as_secs_f64()).exp()
}

/// The candidates that take part.
struct Pool<'c> {
    candidates: &'c [Candidate],
    /// All take part, usable or not.
    panic: bool,
    count: u64,
    total: u64,
    equal: bool,
}

impl<'c> Pool<'c> {
    fn of(candidates: &'c [Candidate]) -> Self {
        let panic = !candidates.iter().any(|candidate| candidate.usable);
        let mut pool = Self {
            candidates,
            panic,
            count: 0,
            total: 0,
            equal: true,
        };
        let mut first = None;
        for (_, candidate) in pool.members() {
            let weight = weight(candidate);
            pool.equal &= *first.get_or_insert(weight) == weight;
            pool.count += 1;
            pool.total += weight;
        }
        pool
    }

    fn members(&self) -> impl Iterator<Item = (usize, &'c Candidate)> + use<'c> {
        let panic = self.panic;
        let all = self.candidates.iter().enumerate();
        all.filter(move |(_, candidate)| candidate.usable || panic)
    }

    fn nth(&self, place: u64) -> Option<usize> {
        let place = usize::try_from(place).ok()?;
        self.members().nth(place).map(|(index, _)| index)
    }

    fn at_weight(&self, mut left: u64) -> Option<usize> {
        let found = self.members().find(|(_, candidate)| {
            let weight = weight(candidate);
            let here = left < weight;
            left = left.saturating_sub(weight);
            here
        });
        found.map(|(index, _)| index)
    }

    fn two_choices(&self, random: &mut dyn Random) -> Option<usize> {
        let (first, second) = if self.equal {
            let first = random.below(self.count);
            let other = random.below(self.count - 1);
            let second = if other >= first { other + 1 } else { other };
            (self.nth(first)?, self.nth(second)?)
        } else {
            let first = random.below(self.total);
            (
                self.at_weight(first)?,
                self.at_weight(random.below(self.total))?,
            )
        };
        let load = |index: usize| self.candidates.get(index).map_or(f64::INFINITY, |c| c.load);
        let better = load(second).total_cmp(&load(first)).is_lt();
        Some(if better { second } else { first })
    }

    /// A point in `0..total` for `turn`, such that consecutive turns fall far apart.
    fn position(&self, turn: u64) -> u64 {
        let unit = self
            .members()
            .fold(0, |unit, (_, candidate)| divisor(unit, weight(candidate)));
        let unit = unit.max(1);
        let slots = self.total / unit;
        let step = if self.equal { 1 } else { spread(slots) };
        (turn % slots) * step % slots * unit
    }
}

fn weight(candidate: &Candidate) -> u64 {
    u64::from(candidate.weight.max(1))
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// A step near the golden section of `slots` that visits every slot once.
fn spread(slots: u64) -> u64 {
    let start = (slots * 618 / 1000).max(1);
    (start..=slots)
        .find(|step| divisor(*step, slots) == 1)
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::Seeded;
    use proptest::prelude::*;

    fn candidate(weight: u32, load: f64, usable: bool) -> Candidate {
        Candidate {
            weight,
            load,
            usable,
        }
    }

    fn shares(algorithm: Algorithm, candidates: &[Candidate], picks: u64) -> Vec<u64> {
        let mut random = Seeded(7);
        let mut counts = vec![0; candidates.len()];
        for turn in 0..picks {
            counts[pick(algorithm, candidates, turn, &mut random).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_is_exact() {
        let three = [candidate(100, 0.0, true); 3];
        assert_eq!(shares(Algorithm::RoundRobin, &three, 300), [100, 100, 100]);
        let mixed = [
            candidate(300, 0.0, true),
            candidate(5, 0.0, false),
            candidate(200, 9.0, true),
        ];
        assert_eq!(shares(Algorithm::RoundRobin, &mixed, 500), [300, 0, 200]);
        let order: Vec<_> = (0..5)
            .map(|turn| pick(Algorithm::RoundRobin, &mixed, turn, &mut Seeded(1)).unwrap())
            .collect();
        assert_ne!(order, [0, 0, 0, 2, 2], "turns are spread");
    }

    #[test]
    fn two_choices_take_the_lighter() {
        let loads = [candidate(100, 1.0, true), candidate(100, 5.0, true)];
        assert_eq!(shares(Algorithm::PeakEwma, &loads, 1000), [1000, 0]);
        let even = shares(Algorithm::PeakEwma, &[candidate(100, 1.0, true); 4], 40_000);
        assert!(
            even.iter().all(|count| (9_500..10_500).contains(count)),
            "{even:?}"
        );
        let weighted = [candidate(900, 1.0, true), candidate(100, 1.0, true)];
        let counts = shares(Algorithm::PeakEwma, &weighted, 10_000);
        assert!((850..1150).contains(&counts[1]), "{counts:?}");
        let loaded = [candidate(900, 9.0, true), candidate(100, 1.0, true)];
        let counts = shares(Algorithm::PeakEwma, &loaded, 10_000);
        assert!(
            (1_750..2_050).contains(&counts[1]),
            "1-(1-p)^2 = 0.19: {counts:?}"
        );
    }

    #[test]
    fn none_usable_means_all() {
        let none = [candidate(1, 0.0, false); 2];
        let counts = shares(Algorithm::PeakEwma, &none, 1000);
        assert!(counts.iter().all(|count| *count > 400), "{counts:?}");
        assert_eq!(pick(Algorithm::PeakEwma, &[], 0, &mut Seeded(1)), None);
    }

    #[test]
    fn slow_counts_at_once_and_fast_by_time() {
        let second = Duration::from_secs(1);
        assert!((peak_ewma(0.1, 0.5, second, second * 10) - 0.5).abs() < 1e-9);
        let after = peak_ewma(1.0, 0.0, second * 10, second * 10);
        assert!((after - 0.3679).abs() < 1e-3, "{after}");
        assert!(peak_ewma(1.0, 0.2, second, Duration::ZERO) < 0.21);
    }

    proptest! {
        #[test]
        fn only_usable_are_picked(
            raw in prop::collection::vec((0u32..10_001, 0f64..1e6, any::<bool>()), 1..40),
            turn: u64, seed: u64, even: bool,
        ) {
            let candidates: Vec<_> = raw.iter()
                .map(|(w, load, usable)| candidate(if even { 100 } else { *w }, *load, *usable)).collect();
            for algorithm in [Algorithm::PeakEwma, Algorithm::RoundRobin] {
                let picked = pick(algorithm, &candidates, turn, &mut Seeded(seed)).unwrap();
                prop_assert!(candidates[picked].usable || candidates.iter().all(|c| !c.usable));
            }
        }
    }
}
