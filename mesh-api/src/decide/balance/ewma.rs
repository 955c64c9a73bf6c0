//! The delay to expect of an endpoint: a moving average that jumps up and falls back.

use std::time::Duration;

/// The delay to expect next, in seconds: a slower observation counts at once, a faster one by the
/// share of `decay` that passed since the last.
pub fn peak_ewma(previous: f64, observed: f64, elapsed: Duration, decay: Duration) -> f64 {
    if observed >= previous {
        return observed;
    }
    previous * remaining(elapsed, decay) + observed * (1.0 - remaining(elapsed, decay))
}

/// What is left of an expected delay that nothing was observed for during `elapsed`, so that an
/// endpoint with one slow answer is tried again.
pub fn decayed(previous: f64, elapsed: Duration, decay: Duration) -> f64 {
    previous * remaining(elapsed, decay)
}

fn remaining(elapsed: Duration, decay: Duration) -> f64 {
    if decay.is_zero() {
        return 0.0;
    }
    (-elapsed.as_secs_f64() / decay.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_counts_at_once_and_fast_by_time() {
        let second = Duration::from_secs(1);
        assert!((peak_ewma(0.1, 0.5, second, second * 10) - 0.5).abs() < 1e-9);
        let after = peak_ewma(1.0, 0.0, second * 10, second * 10);
        assert!((after - 0.3679).abs() < 1e-3, "{after}");
        assert!(peak_ewma(1.0, 0.2, second, Duration::ZERO) < 0.21);
    }
}
