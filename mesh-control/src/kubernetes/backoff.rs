//! Waits between attempts: doubling, with jitter, so that replicas and watches do not come back
//! together. May use nothing of this crate.

use std::time::Duration;

/// Waits from [`FIRST`] to [`LONGEST`].
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait; `random` is from 0 to 1.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let whole = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// Something worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

const FIRST: Duration = Duration::from_millis(200);
/// Short enough that a cluster converges soon after its API server is back.
const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_limit_and_start_over() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next(1.0)).collect();
        assert_eq!(waits[..3], [200, 400, 800].map(Duration::from_millis));
        assert_eq!(waits[39], LONGEST);
        backoff.reset();
        assert_eq!(backoff.next(0.0), FIRST / 2);
    }
}
