//! Whether a try that failed is followed by another, and after which wait.
//!
//! What was provably unsent is tried again whatever the method, charged to the attempts alone; and not
//! even to those while an endpoint is left that is not known to be out of reach: looking for one that
//! can be reached is not repeating a request. So a request that some endpoint can serve is not lost
//! while the others are gone and still listed.
//!
//! All else needs a condition of the policy, a method that may be repeated, and the budget. A gRPC code
//! is listed by the user, who knows what it says of the call: there the method, always POST, is not
//! asked.

use std::time::Duration;

use crate::decide::Random;
use crate::model::grpc::GrpcCode;
use crate::model::policy::{Backoff, Jitter, RetryMethods, RetryPolicy};

/// Tries of one request in all, where those beyond the attempts of its policy only look for an endpoint.
const MOST_LOOKED_AT: u32 = 10;

/// A failed try.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, in any combination"
)]
pub struct Question<'a> {
    /// The policy in force.
    pub policy: &'a RetryPolicy,
    /// The request's method.
    pub method: &'a str,
    /// The request carries an `Idempotency-Key`.
    pub has_idempotency_key: bool,
    /// Tries made so far, this one included: at least 1.
    pub tries: u32,
    /// What went wrong.
    pub failure: Failure,
    /// The backend has an endpoint left that was neither tried for this request nor failed to be
    /// connected to lately. Asked where nothing was sent.
    pub endpoint_left: bool,
    /// The whole body can be sent once more.
    pub body_replayable: bool,
    /// [`budget::allows`](crate::decide::budget::allows) one more.
    pub budget_left: bool,
}

impl<'a> Question<'a> {
    /// A connection that no app took, after `tries` endpoints: nothing was sent.
    pub fn connect(policy: &'a RetryPolicy, tries: u32, endpoint_left: bool) -> Self {
        Self {
            policy,
            method: "",
            has_idempotency_key: false,
            tries,
            failure: Failure::Unsent,
            endpoint_left,
            body_replayable: true,
            budget_left: true,
        }
    }
}

/// How a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of the request reached the app.
    Unsent,
    /// The peer refused the stream unprocessed (HTTP/2 `REFUSED_STREAM`, or beyond a GOAWAY's last).
    RefusedStream,
    /// The connection broke before the first byte of a response.
    Reset,
    /// The try's own timeout passed.
    PerTryTimeout,
    /// A response with this status.
    Status(u16),
    /// A response that is nothing but its trailers, with this code (gRPC "Trailers-Only").
    Grpc(GrpcCode),
}

impl Failure {
    /// True if the app provably saw nothing of the request.
    pub fn is_unsent(self) -> bool {
        matches!(self, Self::Unsent | Self::RefusedStream)
    }
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The failure stands.
    Stop(StopReason),
    /// Another try, on another endpoint where there is one.
    Again {
        /// After this long.
        wait: Duration,
        /// It counts against the budget.
        charge: bool,
    },
}

/// Why a failure stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The policy does not retry this failure.
    Condition,
    /// The method may not be repeated.
    Method,
    /// The policy's attempts are used up.
    Attempts,
    /// The body is too large to have been kept.
    Body,
    /// Too large a share of retries already.
    Budget,
}

impl StopReason {
    /// As metrics and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Condition => "condition",
            Self::Method => "method",
            Self::Attempts => "attempts",
            Self::Body => "body",
            Self::Budget => "budget",
        }
    }
}

/// Answers a question.
pub fn verdict(question: &Question<'_>, random: &mut dyn Random) -> Verdict {
    if let Some(reason) = stop(question) {
        return Verdict::Stop(reason);
    }
    let retry = question.tries.saturating_sub(1);
    let backoff = &question.policy.backoff;
    if question.failure.is_unsent() {
        // To another endpoint at once; without one that is not known to be bad, only the first.
        let wait = match retry.checked_sub(1) {
            Some(retry) if !goes_on_looking(question) => wait(backoff, retry, random),
            _ => Duration::ZERO,
        };
        return Verdict::Again {
            wait,
            charge: false,
        };
    }
    Verdict::Again {
        wait: wait(backoff, retry, random),
        charge: true,
    }
}

/// The wait before retry number `retry` (from 0): `base * 2^retry`, at most `max`, jittered.
pub fn wait(backoff: &Backoff, retry: u32, random: &mut dyn Random) -> Duration {
    let factor = 1u32.checked_shl(retry).unwrap_or(u32::MAX);
    let full = backoff.base.saturating_mul(factor).min(backoff.max);
    match backoff.jitter {
        Jitter::None => full,
        Jitter::Full => below(full, random),
        Jitter::Equal => full / 2 + below(full / 2, random),
    }
}

fn stop(question: &Question<'_>) -> Option<StopReason> {
    let policy = question.policy;
    let asked = match question.failure {
        Failure::Unsent => policy.conditions.connect_failure,
        Failure::RefusedStream => policy.conditions.refused_stream,
        Failure::Reset => policy.conditions.reset,
        Failure::Grpc(code) => policy.grpc_codes.contains(&code),
        Failure::PerTryTimeout => policy.conditions.per_try_timeout,
        Failure::Status(status) => policy
            .statuses
            .iter()
            .any(|range| (range.from..=range.to).contains(&status)),
    };
    let unsent = question.failure.is_unsent();
    let any_method = unsent || matches!(question.failure, Failure::Grpc(_));
    if !asked {
        Some(StopReason::Condition)
    } else if !any_method && !repeats(&policy.methods, question) {
        Some(StopReason::Method)
    } else if question.tries > policy.attempts && !goes_on_looking(question) {
        Some(StopReason::Attempts)
    } else if !question.body_replayable {
        Some(StopReason::Body)
    } else if !unsent && !question.budget_left {
        Some(StopReason::Budget)
    } else {
        None
    }
}

/// Nothing was sent, and another endpoint may be reached. A policy without attempts says one try is all.
fn goes_on_looking(question: &Question<'_>) -> bool {
    question.failure == Failure::Unsent
        && question.endpoint_left
        && question.policy.attempts > 0
        && question.tries < MOST_LOOKED_AT
}

fn repeats(methods: &RetryMethods, question: &Question<'_>) -> bool {
    let method = question.method;
    match methods {
        RetryMethods::Safe => matches!(method, "GET" | "HEAD" | "OPTIONS"),
        RetryMethods::Idempotent => {
            question.has_idempotency_key
                || matches!(
                    method,
                    "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE"
                )
        }
        RetryMethods::Any => true,
        RetryMethods::Listed(listed) => listed.iter().any(|listed| listed == method),
    }
}

fn below(limit: Duration, random: &mut dyn Random) -> Duration {
    let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random.below(nanos.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::Seeded;
    use crate::model::policy::{Conditions, StatusRange};

    /// What follows when a try of `method` failed so, after `tries`: `Ok(charge)` or why it stops.
    fn ask(
        policy: &RetryPolicy,
        method: &str,
        failure: Failure,
        tries: u32,
        tweak: &str,
    ) -> Result<bool, StopReason> {
        let question = Question {
            policy,
            method,
            has_idempotency_key: tweak == "key",
            tries,
            failure,
            endpoint_left: tweak == "left",
            body_replayable: tweak != "body",
            budget_left: tweak != "budget",
        };
        match verdict(&question, &mut Seeded(1)) {
            Verdict::Again { charge, wait } => {
                let at_once = failure.is_unsent() && (tries == 1 || tweak == "left");
                assert!(!at_once || wait.is_zero());
                Ok(charge)
            }
            Verdict::Stop(reason) => Err(reason),
        }
    }

    #[test]
    fn verdicts() {
        use Failure::{Grpc, PerTryTimeout, RefusedStream, Reset, Status, Unsent};
        use StopReason::{Attempts, Body, Budget, Condition, Method};
        let default = RetryPolicy::default();
        for (method, failure, tries, tweak, expected) in [
            ("GET", Reset, 1, "", Ok(true)),
            ("GET", Reset, 2, "", Ok(true)),
            ("GET", Reset, 3, "", Err(Attempts)),
            ("GET", Reset, 1, "budget", Err(Budget)),
            ("GET", Reset, 1, "body", Err(Body)),
            ("POST", Reset, 1, "", Err(Method)),
            ("POST", Reset, 1, "key", Err(Method)),
            ("POST", Unsent, 1, "", Ok(false)),
            ("POST", Unsent, 1, "budget", Ok(false)),
            ("POST", Unsent, 3, "", Err(Attempts)),
            ("POST", Unsent, 3, "left", Ok(false)),
            ("POST", Unsent, 9, "left", Ok(false)),
            ("POST", Unsent, 10, "left", Err(Attempts)),
            ("GET", Reset, 3, "left", Err(Attempts)),
            ("POST", RefusedStream, 1, "budget", Ok(false)),
            ("POST", RefusedStream, 3, "", Err(Attempts)),
            ("POST", RefusedStream, 1, "body", Err(Body)),
            ("POST", Grpc(GrpcCode::Unavailable), 1, "", Err(Condition)),
            ("GET", PerTryTimeout, 1, "", Err(Condition)),
            ("GET", Status(503), 1, "", Err(Condition)),
        ] {
            let got = ask(&default, method, failure, tries, tweak);
            assert_eq!(got, expected, "{method} {failure:?} {tries} {tweak}");
        }
        let none = RetryPolicy {
            attempts: 0,
            ..RetryPolicy::default()
        };
        assert_eq!(ask(&none, "GET", Unsent, 1, "left"), Err(Attempts));
        let wide = RetryPolicy {
            statuses: vec![StatusRange { from: 502, to: 504 }],
            methods: RetryMethods::Idempotent,
            grpc_codes: vec![GrpcCode::Unavailable],
            conditions: Conditions {
                reset: true,
                ..Conditions::default()
            },
            ..default
        };
        for (method, failure, tweak, expected) in [
            ("GET", Status(503), "", Ok(true)),
            ("GET", Status(500), "", Err(Condition)),
            ("PUT", Reset, "", Ok(true)),
            ("POST", Reset, "", Err(Method)),
            ("POST", Reset, "key", Ok(true)),
            ("POST", Grpc(GrpcCode::Unavailable), "", Ok(true)),
            ("POST", Grpc(GrpcCode::Unavailable), "budget", Err(Budget)),
            ("POST", Grpc(GrpcCode::Internal), "", Err(Condition)),
            ("POST", RefusedStream, "", Err(Condition)),
            ("POST", Unsent, "", Err(Condition)),
        ] {
            let got = ask(&wide, method, failure, 1, tweak);
            assert_eq!(got, expected, "{method} {failure:?} {tweak}");
        }
    }

    #[test]
    fn waits_double_up_to_the_maximum() {
        let none = Backoff {
            jitter: Jitter::None,
            ..Backoff::default()
        };
        let waits: Vec<_> = [0, 1, 2, 3, 4, 40, u32::MAX]
            .map(|retry| wait(&none, retry, &mut Seeded(1)).as_millis())
            .into();
        assert_eq!(waits, [25, 50, 100, 200, 250, 250, 250]);
        let mut random = Seeded(3);
        for _ in 0..1000 {
            assert!(wait(&Backoff::default(), 0, &mut random) <= Duration::from_millis(25));
            let equal = Backoff {
                jitter: Jitter::Equal,
                ..none
            };
            let wait = wait(&equal, 0, &mut random);
            assert!(wait >= Duration::from_micros(12_500) && wait <= Duration::from_millis(25));
        }
    }
}
