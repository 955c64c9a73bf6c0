//! Picks an endpoint. Pure: load and usability come from the caller, chance from [`Random`].
//!
//! *Peak EWMA* draws two candidates and takes the one with less load, the first drawn where they are
//! equal. With equal weights the two are always different ones. With unequal weights they are drawn
//! by weight and independently, so whatever the load, a candidate with share *p* of the weight gets
//! between p² and 1-(1-p)² of the picks. *Least request* does the same by exchanges outstanding. *Random*
//! draws one, by weight. *Round robin* gives each candidate its exact share in each run of as many turns as
//! the weights, reduced to their smallest whole ratio, sum up to.
//!
//! Where a key picks, it leads to the first endpoint in the order of its table ([`KeyTable`]) that is as it
//! should be: one that is not has no say over the keys of the others.
//!
//! Where a new endpoint gets less for a while ([`warm`]), endpoints are drawn by the weights that they have then, and
//! two of them independently.
//!
//! Endpoints that are as they should be come first, then stale ones, and last those that could not be
//! connected to and may not be ejected. What draws at random looks at no more than the few it draws while those
//! are as they should be: what a pick takes does not grow with the backend.

pub mod ewma;
pub mod locality;
pub mod pool;
mod rank;
pub mod rendezvous;
#[cfg(test)]
mod tests;
pub mod warm;
pub mod weights;

use crate::decide::Random;
use crate::model::policy::Algorithm;
use crate::snapshot::KeyTable;

pub use ewma::{decayed, peak_ewma};
pub use pool::{Candidate, pick};
use rank::Rank;
pub use weights::Weights;

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
    /// Nothing is known against it, tried or not.
    pub fn is_well(self) -> bool {
        !(self.stale || self.failed || self.ejected)
    }

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

    /// Its exchanges outstanding.
    fn outstanding(&self, index: usize) -> u64;

    /// What it has of its weight, in percent; asked only of a [`Choice`] that says so.
    fn warmth(&self, index: usize) -> u32 {
        let _ = index;
        warm::FULL
    }
}

/// Endpoints whose load is what is outstanding.
struct ByOutstanding<'m, M>(&'m M);

impl<M: Members> Members for ByOutstanding<'_, M> {
    fn standing(&self, index: usize) -> Standing {
        self.0.standing(index)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of open exchanges are small"
    )]
    fn load(&self, index: usize) -> f64 {
        self.0.outstanding(index) as f64
    }

    fn outstanding(&self, index: usize) -> u64 {
        self.0.outstanding(index)
    }

    fn warmth(&self, index: usize) -> u32 {
        self.0.warmth(index)
    }
}

/// How one of a backend's endpoints is picked.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'t> {
    /// By what.
    pub algorithm: Algorithm,
    /// Their weights.
    pub weights: &'t Weights,
    /// Where the request's key leads, and its hash; `None` where no key picks.
    pub key: Option<(&'t KeyTable, u64)>,
    /// Whether some have less than their weight now: see [`Members::warmth`].
    pub warms: bool,
}

/// Picks an endpoint; `None` if there is none that was not tried. `turn` counts the picks of the backend,
/// and `room` is kept by the caller so that a pick allocates nothing.
pub fn choose(
    choice: &Choice<'_>,
    members: &impl Members,
    (turn, room): (u64, &mut Vec<Candidate>),
    random: &mut dyn Random,
) -> Option<usize> {
    if let Some((table, key)) = choice.key {
        return keyed(choice, members, (table, key), room);
    }
    let drawn = match choice.algorithm {
        Algorithm::PeakEwma => sample(choice, members, random),
        Algorithm::LeastRequest => {
            let members = &ByOutstanding(members);
            let drawn = sample(choice, members, random);
            return drawn.or_else(|| among_all(choice, members, (turn, room), random));
        }
        Algorithm::Random | Algorithm::RingHash | Algorithm::Maglev => {
            sample_one(choice, members, random)
        }
        Algorithm::RoundRobin => None,
    };
    drawn.or_else(|| among_all(choice, members, (turn, room), random))
}

/// One of the first rank that has any, all of whose endpoints are looked at.
#[cold]
fn among_all(
    choice: &Choice<'_>,
    members: &impl Members,
    (turn, room): (u64, &mut Vec<Candidate>),
    random: &mut dyn Random,
) -> Option<usize> {
    fill(choice, members, room)?;
    pick(choice.algorithm, room, turn, random)
}

/// Fills `room` with the endpoints as the first rank that has any sees them; `None` if there is none.
fn fill(choice: &Choice<'_>, members: &impl Members, room: &mut Vec<Candidate>) -> Option<()> {
    let mut ranks = Rank::ALL.into_iter();
    let found = ranks.find(|rank| {
        rank.gather(choice, members, room);
        room.iter().any(|candidate| candidate.usable)
    });
    found.map(|_| ())
}

/// The first endpoint in the order of the key's table that is of the first rank that has any.
fn keyed(
    choice: &Choice<'_>,
    members: &impl Members,
    (table, key): (&KeyTable, u64),
    room: &mut Vec<Candidate>,
) -> Option<usize> {
    let first = table.find(key, |_| true)?;
    if members.standing(first).is_first_choice() {
        return Some(first);
    }
    fill(choice, members, room)?;
    table.find(key, |index| room.get(*index).is_some_and(|one| one.usable))
}

/// The better of two that are drawn until both are as they should be; `None` if that takes too long.
fn sample(choice: &Choice<'_>, members: &impl Members, random: &mut dyn Random) -> Option<usize> {
    if choice.warms {
        return warm::sample(choice.weights, members, random);
    }
    let weights = choice.weights;
    let is_first = |index: usize| members.standing(index).is_first_choice();
    if weights.count < 2 {
        return (weights.count == 1 && is_first(0)).then_some(0);
    }
    for _ in 0..DRAWS {
        let (first, second) = weights.draw(random);
        if is_first(first) && is_first(second) {
            return Some(lighter(members, first, second));
        }
    }
    None
}

/// Of two, the one with less load; the first where they are equal.
fn lighter(members: &impl Members, first: usize, second: usize) -> usize {
    let better = members.load(second).total_cmp(&members.load(first)).is_lt();
    if better { second } else { first }
}

/// One that is drawn until it is as it should be; `None` if that takes too long.
fn sample_one(
    choice: &Choice<'_>,
    members: &impl Members,
    random: &mut dyn Random,
) -> Option<usize> {
    let weights = choice.weights;
    if weights.count == 0 {
        return None;
    }
    if choice.warms {
        return warm::sample_one(weights, members, random);
    }
    let mut drawn = (0..DRAWS).map(|_| weights.draw_one(random));
    drawn.find(|index| members.standing(*index).is_first_choice())
}
