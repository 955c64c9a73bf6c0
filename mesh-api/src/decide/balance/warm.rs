//! Slow start: an endpoint that is new has a part of its weight, which grows with time to all of it.
//!
//! The part grows in a straight line from [`FLOOR`]: what starts with an empty cache or cold code is not met by its
//! whole share at once. Draws are by the weights of the moment: one is drawn by its whole weight and kept as often as its part
//! says, which comes to the same and looks at no other. Two are drawn independently, so that whatever the load an
//! endpoint with share *p* of the weights of the moment gets between p² and 1-(1-p)² of the picks; of one that nothing
//! is known of yet the load is small, and its share nearer to the latter.

use std::time::Duration;

use crate::decide::Random;
use crate::decide::balance::{Members, Weights, lighter};

/// What an endpoint has of its weight when it is not new, in percent.
pub const FULL: u32 = 100;
/// What it has at first, in percent.
pub const FLOOR: u32 = 10;
/// Draws for one that is kept, before all are looked at.
const DRAWS: usize = 16;

/// What an endpoint has of its weight that has been there for `age`, in percent: from [`FLOOR`] to [`FULL`], which it
/// has once `window` is over.
pub fn warmth(age: Duration, window: Duration) -> u32 {
    let (age, window) = (age.as_millis(), window.as_millis());
    if age >= window {
        return FULL;
    }
    let grown = u128::from(FULL - FLOOR) * age / window;
    u32::try_from(grown).map_or(FULL, |grown| FLOOR + grown)
}

/// The better of two; `None` if drawing takes too long.
pub(super) fn sample(
    weights: &Weights,
    members: &impl Members,
    random: &mut dyn Random,
) -> Option<usize> {
    if weights.count < 2 {
        return None;
    }
    let first = sample_one(weights, members, random)?;
    let second = sample_one(weights, members, random)?;
    Some(lighter(members, first, second))
}

/// One that is as it should be; `None` if drawing takes too long.
pub(super) fn sample_one(
    weights: &Weights,
    members: &impl Members,
    random: &mut dyn Random,
) -> Option<usize> {
    (0..DRAWS).find_map(|_| {
        let drawn = weights.draw_one(random);
        let is_kept = members.standing(drawn).is_first_choice()
            && random.below(FULL.into()) < members.warmth(drawn).into();
        is_kept.then_some(drawn)
    })
}
