//! Picks an endpoint. Pure: load and usability come from the caller, chance from [`Random`].
//!
//! *Peak EWMA* draws two candidates and takes the one with less load, the first drawn where they are
//! equal. With equal weights the two are always different ones. With unequal weights they are drawn
//! by weight and independently, so whatever the load, a candidate with share *p* of the weight gets
//! between p² and 1-(1-p)² of the picks. *Round robin* gives each candidate its exact share in each
//! run of as many turns as the weights, reduced to their smallest whole ratio, sum up to.
//!
//! Endpoints that are as they should be come first, then stale ones, and last those that could not be
//! connected to and may not be ejected. Peak EWMA looks at no more than the few it draws while those are
//! as they should be: what a pick takes does not grow with the backend.
//!
//! Panic mode: where no candidate is usable, all are picked from, since a guess beats a sure failure.

use std::time::Duration;

use crate::decide::Random;
use crate::model::policy::{Algorithm, DEFAULTS};

/// Pairs that are drawn before every endpoint is looked at.
const DRAWS: usize = 4;

/// How an endpoint stands when one is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, in any combination"
)]
pub struct Standing {
    /// The request tried it already: it is not picked.
    pub tried: bool,
    /// The control plane saw it last some time ago.
    pub stale: bool,
    /// Connecting to it failed lately.
    pub failed: bool,
    /// It is ejected for that: it is not picked while at most the allowed share is.
    pub ejected: bool,
}

impl Standing {
    fn is_first_choice(self) -> bool {
        !(self.tried || self.stale || self.failed)
    }
}

/// The endpoints of a backend, by their places.
pub trait Members {
    /// How one stands.
    fn standing(&self, index: usize) -> Standing;

    /// What is expected of it: see [`Candidate::load`].
    fn load(&self, index: usize) -> f64;
}

/// The weights of a backend's endpoints, so that one can be drawn without looking at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    count: usize,
    /// Of all, where `sums` is empty.
    common: u32,
    /// Of the weights up to each, itself included.
    sums: Vec<u64>,
}

impl Weights {
    /// Weights as endpoints have them; 0 counts as 1.
    pub fn new(weights: impl Iterator<Item = u32> + Clone) -> Self {
        let mut rest = weights.clone();
        let common = rest.next().unwrap_or_default().max(1);
        let differ = rest.any(|weight| weight.max(1) != common);
        let sum = |sum: &mut u64, weight: u32| {
            *sum += u64::from(weight.max(1));
            Some(*sum)
        };
        Self {
            count: weights.clone().count(),
            common,
            sums: if differ {
                weights.scan(0, sum).collect()
            } else {
                Vec::new()
            },
        }
    }

    fn of(&self, index: usize) -> u32 {
        let Some(sum) = self.sums.get(index) else {
            return self.common;
        };
        let before = index.checked_sub(1).and_then(|at| self.sums.get(at));
        u32::try_from(sum - before.copied().unwrap_or_default()).unwrap_or(u32::MAX)
    }

    /// Two places, by the rules of [`Algorithm::PeakEwma`] where all may be picked.
    fn draw(&self, random: &mut dyn Random) -> (usize, usize) {
        let below = |bound: usize, random: &mut dyn Random| {
            usize::try_from(random.below(bound as u64)).unwrap_or_default()
        };
        if let Some(total) = self.sums.last() {
            let mut at = || {
                let point = random.below(*total);
                self.sums.partition_point(|sum| *sum <= point)
            };
            return (at(), at());
        }
        let first = below(self.count, random);
        let other = below(self.count.saturating_sub(1), random);
        (first, other + usize::from(other >= first))
    }
}

/// Picks an endpoint; `None` if there is none that was not tried. `turn` counts the picks of the backend,
/// and `room` is kept by the caller so that a pick allocates nothing.
pub fn choose(
    algorithm: Algorithm,
    weights: &Weights,
    members: &impl Members,
    (turn, room): (u64, &mut Vec<Candidate>),
    random: &mut dyn Random,
) -> Option<usize> {
    if algorithm == Algorithm::PeakEwma
        && let Some(index) = sample(weights, members, random)
    {
        return Some(index);
    }
    for rank in Rank::ALL {
        rank.gather(weights, members, room);
        if room.iter().any(|candidate| candidate.usable) {
            return pick(algorithm, room, turn, random);
        }
    }
    None
}

/// The better of two that are drawn until both are as they should be; `None` if that takes too long.
fn sample(weights: &Weights, members: &impl Members, random: &mut dyn Random) -> Option<usize> {
    let is_first = |index: usize| members.standing(index).is_first_choice();
    if weights.count < 2 {
        return (weights.count == 1 && is_first(0)).then_some(0);
    }
    for _ in 0..DRAWS {
        let (first, second) = weights.draw(random);
        if is_first(first) && is_first(second) {
            let better = members.load(second).total_cmp(&members.load(first)).is_lt();
            return Some(if better { second } else { first });
        }
    }
    None
}

/// Which endpoints a pick may choose from; each where those before have none.
#[derive(Clone, Copy)]
struct Rank {
    /// Those that are stale.
    stale: bool,
    /// Also those that failed and may not be ejected.
    failed: bool,
}

impl Rank {
    const ALL: [Self; 4] = [
        Self::new(false, false),
        Self::new(true, false),
        Self::new(false, true),
        Self::new(true, true),
    ];

    const fn new(stale: bool, failed: bool) -> Self {
        Self { stale, failed }
    }

    fn gather(self, weights: &Weights, members: &impl Members, room: &mut Vec<Candidate>) {
        let all = 0..weights.count;
        let out = all.clone().filter(|index| members.standing(*index).ejected);
        let most = weights.count as u64 * u64::from(DEFAULTS.max_ejected_percent);
        // The set may have shrunk since: the share that is out holds for the set as it is.
        let heed = self.failed && out.count() as u64 * 100 <= most;
        room.clear();
        room.extend(all.map(|index| {
            let standing = members.standing(index);
            let is_out = if self.failed {
                heed && standing.ejected
            } else {
                standing.failed
            };
            Candidate {
                weight: weights.of(index),
                load: members.load(index),
                usable: standing.stale == self.stale && !standing.tried && !is_out,
            }
        }));
    }
}

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

    struct Fixed(Vec<(Standing, f64)>);

    impl Members for Fixed {
        fn standing(&self, index: usize) -> Standing {
            self.0[index].0
        }

        fn load(&self, index: usize) -> f64 {
            self.0[index].1
        }
    }

    const GOOD: Standing = Standing {
        tried: false,
        stale: false,
        failed: false,
        ejected: false,
    };
    const TRIED: Standing = Standing {
        tried: true,
        ..GOOD
    };
    const STALE: Standing = Standing {
        stale: true,
        ..GOOD
    };
    const FAILED: Standing = Standing {
        failed: true,
        ..GOOD
    };
    const EJECTED: Standing = Standing {
        ejected: true,
        ..FAILED
    };

    fn chosen(weights: &[u32], members: &Fixed, picks: u64) -> Vec<u64> {
        let (mut random, mut room) = (Seeded(7), Vec::new());
        let weights = Weights::new(weights.iter().copied());
        let mut counts = vec![0; members.0.len()];
        for turn in 0..picks {
            let place = (turn, &mut room);
            let index = choose(Algorithm::PeakEwma, &weights, members, place, &mut random);
            counts[index.unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn endpoints_come_in_the_order_of_their_standing() {
        let cases: [(&[Standing], &[usize]); 8] = [
            (&[GOOD, GOOD, STALE, FAILED], &[0, 1]),
            (&[TRIED, STALE, FAILED], &[1]),
            (&[TRIED, STALE, STALE, EJECTED], &[1, 2]),
            (&[TRIED, FAILED, EJECTED], &[1]),
            // More than half are out, and the set shrank: that is not heeded.
            (&[TRIED, EJECTED, EJECTED], &[1, 2]),
            (&[EJECTED], &[0]),
            (&[TRIED, TRIED], &[]),
            (&[], &[]),
        ];
        for (standings, wanted) in cases {
            let members = Fixed(standings.iter().map(|standing| (*standing, 1.0)).collect());
            let weights = Weights::new(standings.iter().map(|_| 100));
            let mut random = Seeded(3);
            let picks = (0..60).filter_map(|turn| {
                let place = (turn, &mut Vec::new());
                choose(Algorithm::PeakEwma, &weights, &members, place, &mut random)
            });
            let picked: std::collections::BTreeSet<usize> = picks.collect();
            assert_eq!(Vec::from_iter(picked), wanted, "{standings:?}");
        }
    }

    #[test]
    fn those_drawn_are_those_that_a_look_at_all_would_give() {
        let even = chosen(&[100; 4], &Fixed(vec![(GOOD, 1.0); 4]), 40_000);
        let about = |count: &u64| (9_500..10_500).contains(count);
        assert!(even.iter().all(about), "{even:?}");
        let weighted = chosen(&[900, 100], &Fixed(vec![(GOOD, 1.0); 2]), 10_000);
        assert!((850..1150).contains(&weighted[1]), "{weighted:?}");
        let loaded = Fixed(vec![(GOOD, 9.0), (GOOD, 1.0)]);
        let loaded = chosen(&[900, 100], &loaded, 10_000);
        assert!((1_750..2_050).contains(&loaded[1]), "{loaded:?}");
        // One of a hundred is lost, and the rest share alike.
        let mut members = Fixed(vec![(GOOD, 1.0); 100]);
        members.0[17].0 = FAILED;
        let counts = chosen(&[5; 100], &members, 99_000);
        let within = |(index, count): (usize, &u64)| match index {
            17 => *count == 0,
            _ => (800..1200).contains(count),
        };
        assert!(counts.iter().enumerate().all(within), "{counts:?}");
    }

    #[test]
    fn weights_are_as_they_were_given() {
        for given in [&[7, 7, 7][..], &[3, 0, 9], &[], &[u32::MAX, 1]] {
            let weights = Weights::new(given.iter().copied());
            let told: Vec<u32> = (0..given.len()).map(|index| weights.of(index)).collect();
            let wanted: Vec<u32> = given.iter().map(|weight| (*weight).max(1)).collect();
            assert_eq!(told, wanted);
        }
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
