//! The limit on the share of retries towards a destination.

use crate::model::policy::Budget;

/// What a failed request that repeats another, made before it came here, takes of the budget: two, so that
/// nothing is left for retries of its own where its callers use up the share, whichever of them fail first.
pub const REPEATED: u32 = 2;

/// True if one more retry is within `budget`, given the exchanges begun and the retries charged
/// during the last `budget.window`.
///
/// Allowed are `percent` of the exchanges, and whatever the rate, `min_per_second` over the window:
/// the larger of the two (Gateway API `RetryBudget`).
pub fn allows(budget: &Budget, exchanges_in_window: u64, retries_in_window: u64) -> bool {
    let share = exchanges_in_window.saturating_mul(u64::from(budget.percent)) / 100;
    let window = budget.window.as_millis();
    let least = u128::from(budget.min_per_second).saturating_mul(window) / 1000;
    u128::from(retries_in_window) < u128::from(share).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_share_and_minimum_is_allowed() {
        let budget = Budget::default();
        assert!(allows(&budget, 0, 29) && !allows(&budget, 0, 30));
        assert!(allows(&budget, 1000, 199) && !allows(&budget, 1000, 200));
        let none = Budget {
            percent: 0,
            min_per_second: 0,
            ..budget
        };
        assert!(!allows(&none, u64::MAX, 0));
    }
}
