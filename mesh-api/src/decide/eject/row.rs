//! Failures of an endpoint in a row: what each outcome does to the rows, and when one is long enough. The
//! rows themselves are the caller's.

use crate::decide::eject::judgement::Judgement;
use crate::decide::eject::outlier::Cause;
use crate::model::outlier::OutlierDetection;

/// What came of a try, to outlier detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An answer.
    Answer(Judgement),
    /// None: it could not be connected to, was reset or took too long.
    NoAnswer,
}

/// What happens to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It stays as it is.
    Keep,
    /// It begins anew.
    Clear,
    /// It is one longer.
    Count,
}

/// The rows, in the order in which [`steps`] and [`cause`] have them.
const CAUSES: [Cause; 3] = [
    Cause::GatewayErrors,
    Cause::Errors5xx,
    Cause::LocalOriginFailures,
];

fn longest(policy: &OutlierDetection) -> [u32; 3] {
    let local = policy.local_origin_failures.unwrap_or(0);
    [policy.gateway_errors, policy.errors_5xx, local]
}

/// What `seen` does to the rows of gateway errors, of errors and of tries without an answer. An answer ends the last
/// of them, whatever it is; a row that the policy does not ask for is not counted.
pub fn steps(seen: Seen, policy: &OutlierDetection) -> [Step; 3] {
    use Step::{Clear, Count, Keep};
    let steps = match seen {
        Seen::Answer(Judgement::Good) => [Clear, Clear, Clear],
        Seen::Answer(Judgement::Error) => [Clear, Count, Clear],
        // It is an error too.
        Seen::Answer(Judgement::Gateway) => [Count, Count, Clear],
        Seen::NoAnswer => [Keep, Keep, Count],
    };
    let mut longest = longest(policy).into_iter();
    steps.map(|step| match (step, longest.next()) {
        (Count, None | Some(0)) => Keep,
        (step, _) => step,
    })
}

/// Why the endpoint is to be taken out, by the lengths of the rows that were counted; 0 for the others.
pub fn cause(lengths: [u32; 3], policy: &OutlierDetection) -> Option<Cause> {
    let rows = lengths.into_iter().zip(longest(policy)).zip(CAUSES);
    let mut long = rows.filter(|((length, most), _)| *length > 0 && length >= most);
    long.next().map(|(_, cause)| cause)
}

/// Whether a try that was to see if the endpoint is well says that it is not: by what the policy takes endpoints
/// out for.
pub fn fails_trial(seen: Seen, policy: &OutlierDetection) -> bool {
    let counts_errors = policy.errors_5xx > 0 || policy.counts_shares();
    match seen {
        Seen::Answer(Judgement::Good) => false,
        Seen::Answer(Judgement::Error) => counts_errors,
        Seen::Answer(Judgement::Gateway) => counts_errors || policy.gateway_errors > 0,
        Seen::NoAnswer => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Seen = Seen::Answer(Judgement::Good);
    const ERROR: Seen = Seen::Answer(Judgement::Error);
    const GATEWAY: Seen = Seen::Answer(Judgement::Gateway);

    fn policy([gateway_errors, errors_5xx, local]: [u32; 3]) -> OutlierDetection {
        OutlierDetection {
            errors_5xx,
            gateway_errors,
            local_origin_failures: Some(local),
            ..OutlierDetection::default()
        }
    }

    /// After which of `all` a fresh endpoint is taken out first, and why.
    fn first(all: &[Seen], policy: &OutlierDetection) -> Option<(usize, Cause)> {
        let mut rows = [0; 3];
        all.iter().enumerate().find_map(|(at, seen)| {
            let steps = steps(*seen, policy);
            let mut lengths = [0; 3];
            for ((row, length), step) in rows.iter_mut().zip(&mut lengths).zip(steps) {
                match step {
                    Step::Keep => {}
                    Step::Clear => *row = 0,
                    Step::Count => {
                        *row += 1;
                        *length = *row;
                    }
                }
            }
            Some((at + 1, cause(lengths, policy)?))
        })
    }

    #[test]
    fn a_row_is_of_its_own_kind_and_ends_with_others() {
        let none = Seen::NoAnswer;
        for (rows, all, expected) in [
            (
                [0, 3, 0],
                &[ERROR, ERROR, ERROR][..],
                Some((3, Cause::Errors5xx)),
            ),
            ([0, 3, 0], &[ERROR, GOOD, ERROR, ERROR], None),
            (
                [0, 3, 0],
                &[ERROR, GATEWAY, ERROR],
                Some((3, Cause::Errors5xx)),
            ),
            (
                [0, 3, 0],
                &[ERROR, ERROR, none, ERROR],
                Some((4, Cause::Errors5xx)),
            ),
            ([2, 0, 0], &[ERROR, ERROR, ERROR], None),
            ([2, 0, 0], &[GATEWAY, ERROR, GATEWAY], None),
            (
                [2, 0, 0],
                &[GATEWAY, none, GATEWAY],
                Some((3, Cause::GatewayErrors)),
            ),
            (
                [2, 2, 0],
                &[GATEWAY, GATEWAY],
                Some((2, Cause::GatewayErrors)),
            ),
            ([0, 0, 2], &[none, GATEWAY, none], None),
            (
                [0, 0, 2],
                &[none, none],
                Some((2, Cause::LocalOriginFailures)),
            ),
            ([0, 0, 0], &[ERROR, GATEWAY, none, none], None),
        ] {
            assert_eq!(first(all, &policy(rows)), expected, "{rows:?} {all:?}");
        }
    }

    #[test]
    fn a_trial_fails_by_what_the_policy_asks_for() {
        for (rows, seen, expected) in [
            ([0, 3, 0], GOOD, false),
            ([0, 3, 0], ERROR, true),
            ([0, 3, 0], GATEWAY, true),
            ([2, 0, 0], ERROR, false),
            ([2, 0, 0], GATEWAY, true),
            ([0, 0, 2], GATEWAY, false),
            ([0, 0, 0], Seen::NoAnswer, true),
        ] {
            let failed = fails_trial(seen, &policy(rows));
            assert_eq!(failed, expected, "{rows:?} {seen:?}");
        }
    }
}
