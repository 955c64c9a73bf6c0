//! Whether an endpoint is healthy, by checks that follow each other, and when the next is due.

use std::time::Duration;

use crate::decide::Random;
use crate::model::health::HealthCheck;

/// The state of one endpoint. New ones are healthy until checks say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Health {
    /// Checks in a row that say the opposite of what holds.
    pub against: u32,
    /// It is unhealthy.
    pub unhealthy: bool,
}

impl Health {
    /// The state after a check.
    #[must_use]
    pub fn after(self, passed: bool, check: &HealthCheck) -> Self {
        if passed != self.unhealthy {
            return Self { against: 0, ..self };
        }
        let against = self.against.saturating_add(1);
        let needed = if self.unhealthy {
            check.healthy_after
        } else {
            check.unhealthy_after
        };
        if against < needed {
            return Self { against, ..self };
        }
        Self {
            against: 0,
            unhealthy: !self.unhealthy,
        }
    }
}

/// The wait before an endpoint's first check: any part of an interval, so that many do not begin together.
pub fn first(check: &HealthCheck, random: &mut dyn Random) -> Duration {
    part(check.interval, random)
}

/// The time from the start of one check to the next.
pub fn next(check: &HealthCheck, random: &mut dyn Random) -> Duration {
    let most = check.interval.saturating_mul(check.jitter_percent.min(100)) / 100;
    check.interval.saturating_add(part(most, random))
}

/// From nothing to all of `time`.
fn part(time: Duration, random: &mut dyn Random) -> Duration {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random.below(nanos.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::Seeded;
    use crate::model::health::Question;

    fn check() -> HealthCheck {
        HealthCheck {
            unhealthy_after: 3,
            healthy_after: 2,
            jitter_percent: 10,
            interval: Duration::from_secs(10),
            ..HealthCheck::asking(Question::Tcp)
        }
    }

    #[test]
    fn only_so_many_in_a_row_change_what_holds() {
        // `.` passes, `x` fails; below each whether it is unhealthy after it.
        for (checks, expected) in [
            ("..xx.xxx", "hhhhhhhu"),
            ("xxxx.x.xx..", "hhuuuuuuuuh"),
            ("xxx..xx.xxx", "hhuuhhhhhhu"),
        ] {
            let mut health = Health::default();
            let found: String = checks
                .chars()
                .map(|one| {
                    health = health.after(one == '.', &check());
                    if health.unhealthy { 'u' } else { 'h' }
                })
                .collect();
            assert_eq!(found, expected, "{checks}");
        }
    }

    #[test]
    fn checks_are_spread() {
        let mut random = Seeded(5);
        let firsts: Vec<_> = (0..1000).map(|_| first(&check(), &mut random)).collect();
        assert!(firsts.iter().all(|wait| *wait <= Duration::from_secs(10)));
        assert!(firsts.iter().any(|wait| *wait < Duration::from_secs(1)));
        assert!(firsts.iter().any(|wait| *wait > Duration::from_secs(9)));
        for _ in 0..1000 {
            let wait = next(&check(), &mut random);
            assert!((Duration::from_secs(10)..=Duration::from_secs(11)).contains(&wait));
        }
        let exact = HealthCheck {
            jitter_percent: 0,
            ..check()
        };
        assert_eq!(next(&exact, &mut random), exact.interval);
    }
}
