//! Weights of endpoints, from which places are drawn.

use crate::decide::Random;

/// The weights of a backend's endpoints, so that one can be drawn without looking at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    pub(super) count: usize,
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

    pub(super) fn of(&self, index: usize) -> u32 {
        let Some(sum) = self.sums.get(index) else {
            return self.common;
        };
        let before = index.checked_sub(1).and_then(|at| self.sums.get(at));
        u32::try_from(sum - before.copied().unwrap_or_default()).unwrap_or(u32::MAX)
    }

    /// A place, by weight.
    pub(super) fn draw_one(&self, random: &mut dyn Random) -> usize {
        match self.sums.last() {
            Some(total) => {
                let point = random.below(*total);
                self.sums.partition_point(|sum| *sum <= point)
            }
            None => usize::try_from(random.below(self.count as u64)).unwrap_or_default(),
        }
    }

    /// Two places, by the rules of [`Algorithm::PeakEwma`](crate::model::policy::Algorithm::PeakEwma) where all
    /// may be picked.
    pub(super) fn draw(&self, random: &mut dyn Random) -> (usize, usize) {
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
