//! Takes an endpoint out for a while after failed connects, whatever the control plane says.
//!
//! Time is a `Duration` since any fixed moment of a clock that never goes back. What a policy adds to that is in
//! the modules below: [`outlier`] (how long, and back how), [`judgement`] (what an answer says), [`statistics`] (who
//! stands out) and [`probe`] (who may try).

pub mod judgement;
pub mod outlier;
pub mod probe;
pub mod row;
pub mod statistics;

use std::time::Duration;

use crate::model::policy::Defaults;

/// The state of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ejection {
    /// Failed connects in a row since it was last in.
    pub failures: u32,
    /// Ejections in a row, without a success between.
    pub times: u32,
    /// When the last ejection ends.
    pub until: Option<Duration>,
}

impl Ejection {
    /// True while the endpoint is out.
    pub fn is_out(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// The state after a connect failed: after `eject_after` in a row it is out for `base_ejection`,
    /// twice as long each further time, at most 16 times as long. Failures while it is out do not count:
    /// they were under way before.
    #[must_use]
    pub fn on_connect_failure(self, now: Duration, defaults: &Defaults) -> Self {
        if self.is_out(now) {
            return self;
        }
        // One that was out before is on trial: a single failure sends it back.
        let failures = self.failures.saturating_add(1);
        if failures < defaults.eject_after && self.times == 0 {
            return Self { failures, ..self };
        }
        let length = defaults
            .base_ejection
            .saturating_mul(1 << self.times.min(MAX_DOUBLINGS));
        Self {
            failures: 0,
            times: self.times.saturating_add(1),
            until: Some(now.saturating_add(length)),
        }
    }

    /// The state after a connect succeeded: all is forgotten, an ejection under way too.
    #[must_use]
    pub fn on_success(self) -> Self {
        Self::default()
    }
}

/// True if one more of a backend's `total` endpoints may be taken out while `ejected` are: the share
/// that is out afterwards is at most `max_percent`, exactly and from the first on. So at 50 % one of
/// two and one of three may go; and never all, at any share.
pub fn may_eject(total: usize, ejected: usize, max_percent: u32) -> bool {
    let after = ejected as u128 + 1;
    after < total as u128 && after * 100 <= total as u128 * u128::from(max_percent)
}

const MAX_DOUBLINGS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::DEFAULTS;

    #[test]
    fn ejections_double_up_to_sixteen_times() {
        let mut state = Ejection::default();
        let mut now = Duration::ZERO;
        for seconds in [1, 2, 4, 8, 16, 16] {
            state = state.on_connect_failure(now, &DEFAULTS);
            assert_eq!(state.until, Some(now + Duration::from_secs(seconds)));
            assert!(state.is_out(now));
            assert_eq!(
                state.on_connect_failure(now, &DEFAULTS),
                state,
                "no count while out"
            );
            now += Duration::from_secs(seconds);
            assert!(!state.is_out(now));
        }
        assert_eq!(state.on_success(), Ejection::default());
    }

    #[test]
    fn several_failures_in_a_row_may_be_asked_for() {
        let defaults = Defaults {
            eject_after: 3,
            ..DEFAULTS
        };
        let fail = |state: Ejection| state.on_connect_failure(Duration::ZERO, &defaults);
        let two = fail(fail(Ejection::default()));
        assert_eq!(two.until, None);
        assert!(fail(two).is_out(Duration::ZERO));
        assert_eq!(fail(fail(two.on_success())).until, None);
    }

    #[test]
    fn the_share_holds_from_the_first() {
        for (total, ejected, percent, allowed) in [
            (0, 0, 100, false),
            (1, 0, 100, false),
            (2, 0, 100, true),
            (2, 1, 100, false),
            (2, 0, 50, true),
            (2, 1, 50, false),
            (3, 0, 50, true),
            (3, 1, 50, false),
            (4, 1, 50, true),
            (5, 0, 10, false),
            (10, 0, 10, true),
        ] {
            assert_eq!(
                may_eject(total, ejected, percent),
                allowed,
                "{total} {ejected} {percent}"
            );
        }
    }
}
