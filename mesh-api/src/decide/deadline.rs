//! How long a try may take.

use std::time::Duration;

use crate::model::policy::ExchangeTimeouts;

/// Time left for a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Until then; `None` is no limit, zero is none left.
    pub left: Option<Duration>,
    /// What ends it.
    pub limit: Limit,
}

/// The timeout that ends a try first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// That of the whole request: no further try.
    Request,
    /// That of one try: another may follow.
    PerTry,
}

/// What a try that starts `elapsed` after the request's first byte may take.
pub fn allowance(timeouts: &ExchangeTimeouts, elapsed: Duration) -> Allowance {
    let request = timeouts
        .request
        .value
        .map(|limit| limit.saturating_sub(elapsed));
    match (request, timeouts.per_try.value) {
        (Some(request), Some(per_try)) if per_try < request => Allowance {
            left: Some(per_try),
            limit: Limit::PerTry,
        },
        (None, Some(per_try)) => Allowance {
            left: Some(per_try),
            limit: Limit::PerTry,
        },
        (request, _) => Allowance {
            left: request,
            limit: Limit::Request,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::origin::Sourced;

    #[test]
    fn the_nearer_limit_ends_a_try() {
        let millis = Duration::from_millis;
        for (request, per_try, elapsed, left, limit) in [
            (None, None, 5, None, Limit::Request),
            (Some(100), None, 30, Some(70), Limit::Request),
            (Some(100), None, 130, Some(0), Limit::Request),
            (Some(100), Some(20), 30, Some(20), Limit::PerTry),
            (Some(100), Some(20), 90, Some(10), Limit::Request),
            (None, Some(20), 90, Some(20), Limit::PerTry),
        ] {
            let timeouts = ExchangeTimeouts {
                request: Sourced::default_value(request.map(millis)),
                per_try: Sourced::default_value(per_try.map(millis)),
            };
            let expected = Allowance {
                left: left.map(millis),
                limit,
            };
            assert_eq!(allowance(&timeouts, millis(elapsed)), expected);
        }
    }
}
