//! Exact bounds of counts that are drawn.
//!
//! May use nothing of this crate.

use std::ops::RangeInclusive;

/// How often a right count may be outside of its bounds, on either side.
const ALPHA: f64 = 5e-7;

/// Between which counts the successes of `count` independent draws lie, each with `probability`, all but
/// once in a million times.
pub fn bounds(count: u32, probability: f64) -> RangeInclusive<u64> {
    if probability <= 0.0 {
        return 0..=0;
    }
    if probability >= 1.0 {
        return u64::from(count)..=u64::from(count);
    }
    let odds = (probability / (1.0 - probability)).ln();
    // The logarithm of the chance of exactly `successes`, from one to the next.
    let mut log = f64::from(count) * (1.0 - probability).ln();
    let mut below = 0.0;
    let (mut least, mut most) = (None, u64::from(count));
    for successes in 0..=count {
        let upto = below + log.exp();
        if least.is_none() && upto > ALPHA {
            least = Some(u64::from(successes));
        }
        if 1.0 - upto <= ALPHA {
            most = u64::from(successes);
            break;
        }
        below = upto;
        log += (f64::from(count - successes) / f64::from(successes + 1)).ln() + odds;
    }
    least.unwrap_or_default()..=most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_tables() {
        assert_eq!(bounds(10, 0.0), 0..=0);
        assert_eq!(bounds(10, 1.0), 10..=10);
        // 2^-20 is just above the half of a millionth, so that 0 of 20 is within.
        assert_eq!(bounds(20, 0.5), 0..=20);
        let (least, most) = bounds(10_000, 0.1).into_inner();
        // Five standard deviations of 30, to within the skew.
        assert!(
            (848..=856).contains(&least) && (1148..=1156).contains(&most),
            "{least} {most}"
        );
    }
}
