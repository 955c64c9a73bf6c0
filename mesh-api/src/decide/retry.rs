//! Whether a try that failed is followed by another, and after which wait.
//!
//! What was provably unsent is tried again whatever the method, charged to the attempts alone; and not
//! even to those while an endpoint is left that is not known to be out of reach: looking for one that
//! can be reached is not repeating a request. So a request that some endpoint can serve is not lost
//! while the others are gone and still listed.
//!
//! All else needs a condition of the policy, a method that may be repeated, and the budget. A gRPC code
//! is listed by the user, who knows what it says of the call: there the method, always POST, is not
//! asked; nor where the app itself asks for another try, by the policy's field of the response.
//!
//! No wait is longer than the policy's longest or than the time left: where an answer asks for more,
//! its failure stands.

use std::time::Duration;

use crate::decide::Random;
use crate::decide::pushback::Pushback;
use crate::model::grpc::GrpcCode;
use crate::model::policy::{Backoff, Jitter, RetryAfter, RetryMethods, RetryPolicy};

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
    /// The wait before this try; zero before the first.
    pub waited: Duration,
    /// What the answer says of another try.
    pub pushback: Pushback,
    /// Until the request must be over; `None` is no limit.
    pub time_left: Option<Duration>,
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
            waited: Duration::ZERO,
            pushback: Pushback::Silent,
            time_left: None,
        }
    }

    /// A request that failed before anything was sent, as a policy injects it: no budget is asked.
    pub fn injected(
        policy: &'a RetryPolicy,
        (method, has_idempotency_key): (&'a str, bool),
        failure: Failure,
        tries: u32,
    ) -> Self {
        Self {
            method,
            has_idempotency_key,
            failure,
            ..Self::connect(policy, tries, false)
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
    /// A response by which the app asks for another try, with the policy's field.
    Asked,
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
    /// The answer forbids another try, or asks for a longer wait than the policy's longest.
    Pushback,
    /// The request must be over before the wait is.
    Time,
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
            Self::Pushback => "pushback",
            Self::Time => "time",
        }
    }
}

/// Answers a question.
pub fn verdict(question: &Question<'_>, random: &mut dyn Random) -> Verdict {
    if let Some(reason) = stop(question) {
        return Verdict::Stop(reason);
    }
    let retry = question.tries.saturating_sub(1);
    let (backoff, waited) = (&question.policy.backoff, question.waited);
    let unsent = question.failure.is_unsent();
    let wait = if unsent {
        // To another endpoint at once; without one that is not known to be bad, only the first.
        match retry.checked_sub(1) {
            Some(retry) if !goes_on_looking(question) => wait(backoff, retry, waited, random),
            _ => Duration::ZERO,
        }
    } else {
        match pushback(question) {
            Pushback::Silent => wait(backoff, retry, waited, random),
            Pushback::Wait(asked) if asked <= backoff.max => asked,
            Pushback::Wait(_) | Pushback::Never => return Verdict::Stop(StopReason::Pushback),
        }
    };
    if question.time_left.is_some_and(|left| wait >= left) {
        return Verdict::Stop(StopReason::Time);
    }
    Verdict::Again {
        wait,
        charge: !unsent,
    }
}

/// The wait before retry number `retry` (from 0), after one of `waited`: `base * 2^retry`, at most `max`,
/// jittered; where that is decorrelated, by the wait before instead of the number.
pub fn wait(backoff: &Backoff, retry: u32, waited: Duration, random: &mut dyn Random) -> Duration {
    let Backoff { base, max, .. } = *backoff;
    let factor = 1u32.checked_shl(retry).unwrap_or(u32::MAX);
    let full = base.saturating_mul(factor).min(max);
    let (least, most) = match backoff.jitter {
        Jitter::None => return full,
        Jitter::Full => (Duration::ZERO, full),
        Jitter::Equal => (full / 2, full),
        Jitter::Decorrelated => (base, waited.max(base).saturating_mul(3)),
    };
    let least = least.max(backoff.jitter_min).min(most);
    (least + below(most.saturating_sub(least), random)).min(max)
}

/// What the answer says of another try, as far as the policy listens.
fn pushback(question: &Question<'_>) -> Pushback {
    let answered = matches!(
        question.failure,
        Failure::Status(_) | Failure::Grpc(_) | Failure::Asked
    );
    match question.policy.retry_after {
        RetryAfter::Respect if answered => question.pushback,
        RetryAfter::Respect | RetryAfter::Ignore => Pushback::Silent,
    }
}

fn stop(question: &Question<'_>) -> Option<StopReason> {
    let policy = question.policy;
    let asked = match question.failure {
        Failure::Unsent => policy.conditions.connect_failure,
        Failure::RefusedStream => policy.conditions.refused_stream,
        Failure::Reset => policy.conditions.reset,
        Failure::Grpc(code) => policy.grpc_codes.contains(&code),
        Failure::Asked => policy.response_header.is_some(),
        Failure::PerTryTimeout => policy.conditions.per_try_timeout,
        Failure::Status(status) => policy.statuses.iter().any(|range| range.contains(status)),
    };
    let unsent = question.failure.is_unsent();
    let any_method = unsent || matches!(question.failure, Failure::Grpc(_) | Failure::Asked);
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
mod tests;
