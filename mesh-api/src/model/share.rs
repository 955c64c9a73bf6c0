//! A share of requests, exact.

use std::fmt;

/// `numerator` of `denominator` requests; the first is never more than the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    numerator: u32,
    denominator: u32,
}

impl Share {
    /// Every request.
    pub const ALL: Self = Self {
        numerator: 1,
        denominator: 1,
    };

    /// Steps of a percentage: four decimals.
    const STEPS: u32 = 10_000;

    /// `None` where the denominator is 0, or less than the numerator.
    pub fn new(numerator: u32, denominator: u32) -> Option<Self> {
        (denominator > 0 && numerator <= denominator).then_some(Self {
            numerator,
            denominator,
        })
    }

    /// A percentage with at most four decimals.
    ///
    /// # Errors
    /// What is wrong with the number, as a sentence.
    pub fn percent(percent: f64) -> Result<Self, String> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("{percent} is not between 0 and 100"));
        }
        let steps = percent * f64::from(Self::STEPS);
        if (steps - steps.round()).abs() > 1e-6 {
            return Err(format!("{percent} has more than four decimals"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1,000,000"
        )]
        let numerator = steps.round() as u32;
        Ok(Self {
            numerator,
            denominator: 100 * Self::STEPS,
        })
    }

    /// How many of [`Share::denominator`].
    pub fn numerator(self) -> u32 {
        self.numerator
    }

    /// Of how many.
    pub fn denominator(self) -> u32 {
        self.denominator
    }

    /// In percent.
    pub fn as_percent(self) -> f64 {
        f64::from(self.numerator) * 100.0 / f64::from(self.denominator)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = (self.as_percent() * f64::from(Self::STEPS)).round() / f64::from(Self::STEPS);
        write!(f, "{rounded} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_four_decimals() {
        for (percent, text) in [
            (0.0, "0 %"),
            (0.0001, "0.0001 %"),
            (12.3456, "12.3456 %"),
            (33.3, "33.3 %"),
            (100.0, "100 %"),
        ] {
            assert_eq!(Share::percent(percent).unwrap().to_string(), text);
        }
        for bad in [-0.1, 100.1, 0.00001, 12.34567, f64::NAN, f64::INFINITY] {
            assert!(Share::percent(bad).is_err(), "{bad}");
        }
        assert_eq!(Share::new(1, 3).unwrap().to_string(), "33.3333 %");
        assert_eq!((Share::new(2, 1), Share::new(0, 0)), (None, None));
    }
}
