//! Weighted rendezvous: a key goes to the candidate with the best score for it (Thaler and Ravishankar, "Using
//! Name-Based Mappings to Increase Hit Rates", 1998; the weighted score -ln(u)/w is that of Schindelhauer and
//! Schomaker, "Weighted Distributed Hash Tables", 2005).
//!
//! A candidate gets its share of the weights, and whether a key leaves one for another depends on the ratio of these
//! two weights alone: from 90/10 to 80/20 a tenth of all keys moves, all of it in one direction; to 900/100 none does.

use std::f64::consts::{LN_2, SQRT_2};

use crate::snapshot::hash;

/// What a key chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The hash of its name.
    pub seed: u64,
    /// Its share; 0 is never chosen.
    pub weight: u32,
}

/// The place of the share that `key` (a hash) belongs to; `None` if all weights are 0.
pub fn choose(key: u64, shares: impl Iterator<Item = Share>) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    for (place, share) in shares.enumerate().filter(|(_, share)| share.weight > 0) {
        let drawn = unit(hash::of_number(share.seed, key));
        let score = -ln(drawn) / f64::from(share.weight);
        if best.is_none_or(|(least, _)| score < least) {
            best = Some((score, place));
        }
    }
    best.map(|(_, place)| place)
}

/// A hash as a number between 0 and 1, neither of which it is.
#[expect(
    clippy::cast_precision_loss,
    reason = "52 bits fit, and the half beyond them"
)]
fn unit(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// The natural logarithm of a positive number, by additions, multiplications and divisions only: these are the same
/// on every machine, which the logarithms of mathematical libraries are not.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = i32::try_from(bits >> 52 & 0x7ff).unwrap_or_default() - 1023;
    let mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    let (exponent, mantissa) = if mantissa > SQRT_2 {
        (exponent + 1, mantissa / 2.0)
    } else {
        (exponent, mantissa)
    };
    // ln m = 2 artanh((m - 1) / (m + 1)); for |s| < 0.172 the terms beyond s^21 are below one part in 10^17.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..=10_u8).rev().fold(0.0, |sum, term| {
        sum * square + 1.0 / f64::from(2 * term + 1)
    });
    f64::from(exponent) * LN_2 + 2.0 * s * series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Random as _;
    use crate::decide::tests::Seeded;
    use crate::snapshot::hash::xxh64;

    const USERS: u32 = 10_000;

    fn shares(weights: &[u32]) -> Vec<Share> {
        let named = weights.iter().enumerate();
        named
            .map(|(at, weight)| Share {
                seed: xxh64(0, format!("demo/shop-v{at}:80").as_bytes()),
                weight: *weight,
            })
            .collect()
    }

    fn places(weights: &[u32]) -> Vec<usize> {
        let shares = shares(weights);
        (0..USERS)
            .map(|user| {
                let key = hash::key(format!("user-{user}").as_bytes());
                choose(key, shares.iter().copied()).unwrap()
            })
            .collect()
    }

    #[test]
    fn shares_are_those_of_the_weights() {
        for weights in [
            &[90, 10][..],
            &[99, 1],
            &[1, 1, 1],
            &[3, 0, 1],
            &[1_000_000, 1],
        ] {
            let total: u32 = weights.iter().sum();
            let places = places(weights);
            for (at, weight) in weights.iter().enumerate() {
                let count = places.iter().filter(|place| **place == at).count();
                let count = u32::try_from(count).unwrap();
                let share = f64::from(*weight) / f64::from(total);
                let wanted = share * f64::from(USERS);
                // Five standard deviations: one of 3.5 million seeds would break it, and the seed is fixed.
                let bound = 5.0 * (wanted * (1.0 - share)).sqrt() + 1.0;
                let off = (f64::from(count) - wanted).abs();
                assert!(off <= bound, "{weights:?}: {at} has {count}");
            }
        }
        assert_eq!(choose(7, shares(&[0, 0]).into_iter()), None);
    }

    #[test]
    fn only_the_needed_share_moves_and_one_way() {
        let moved = |from: &[u32], to: &[u32]| -> Vec<(usize, usize)> {
            let (from, to) = (places(from), places(to));
            let pairs = from.into_iter().zip(to);
            pairs.filter(|(from, to)| from != to).collect()
        };
        assert!(moved(&[90, 10], &[900, 100]).is_empty());
        let grown = moved(&[90, 10], &[80, 20]);
        assert!(grown.iter().all(|pair| *pair == (0, 1)));
        // Mean 1,000, standard deviation 30.
        assert!((850..1150).contains(&grown.len()), "{}", grown.len());
        let added = moved(&[90, 10, 0], &[90, 10, 25]);
        assert!(added.iter().all(|(_, to)| *to == 2), "others stay");
        // Mean 2,000, standard deviation 40.
        assert!((1800..2200).contains(&added.len()), "{}", added.len());
    }

    #[test]
    fn what_was_chosen_is_chosen_by_every_build() {
        let keys = [
            "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi",
        ];
        let shares = shares(&[1, 1, 1]);
        let chosen = keys.map(|name| choose(hash::key(name.as_bytes()), shares.iter().copied()));
        assert_eq!(chosen.map(Option::unwrap), [2, 2, 0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn the_logarithm_is_one() {
        let mut random = Seeded(5);
        for _ in 0..10_000 {
            let x = unit(random.below(u64::MAX));
            let off = (ln(x) - x.ln()).abs() / x.ln().abs().max(1e-3);
            assert!(off < 1e-13, "{x}: {} and {}", ln(x), x.ln());
        }
    }
}
