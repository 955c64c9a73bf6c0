//! A pick among candidates that were all looked at.
//!
//! Panic mode: where no candidate is usable, all are picked from, since a guess beats a sure failure.

use crate::decide::Random;
use crate::model::policy::Algorithm;

/// An endpoint as the pick sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Relative share; 0 counts as 1.
    pub weight: u32,
    /// Expected delay times exchanges outstanding, or these alone; lower is better. Never negative.
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
            Algorithm::PeakEwma | Algorithm::LeastRequest => pool.two_choices(random),
            // Without a key: any.
            Algorithm::Random | Algorithm::RingHash | Algorithm::Maglev => {
                pool.at_weight(random.below(pool.total))
            }
        },
    }
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
