//! Timeouts and retries of a destination or a rule.

use std::time::Duration;

use crate::error::Faults;
use crate::model::grpc::GrpcCode;
use crate::model::origin::Sourced;
use crate::model::policy::{
    Backoff, Budget, Conditions, ExchangeTimeouts, Jitter, RetryAfter, RetryMethods, RetryPolicy,
    StatusRange,
};
use crate::wire::generated as wire;
use crate::wire::read;

pub(super) fn write_timeouts(from: &ExchangeTimeouts) -> wire::Timeouts {
    wire::Timeouts {
        request_nanos: from.request.value.map(read::nanos),
        request_origin: read::write_origin(&from.request.origin),
        per_try_nanos: from.per_try.value.map(read::nanos),
        per_try_origin: read::write_origin(&from.per_try.origin),
        stream_idle_nanos: from.stream_idle.value.map(read::nanos),
        stream_idle_origin: read::write_origin(&from.stream_idle.origin),
        max_stream_duration_nanos: from.max_stream_duration.value.map(read::nanos),
        max_stream_duration_origin: read::write_origin(&from.max_stream_duration.origin),
        propagate_deadline: from.propagate_deadline.value,
        propagate_deadline_origin: read::write_origin(&from.propagate_deadline.origin),
    }
}

pub(super) fn read_timeouts(
    from: Option<&wire::Timeouts>,
    faults: &mut Faults,
) -> Option<ExchangeTimeouts> {
    let from = read::required("timeouts", from, faults)?;
    faults.field("timeouts", |f| {
        let request = Some(from.request_nanos.map(Duration::from_nanos));
        let request = read::sourced(request, "requestOrigin", from.request_origin.as_ref(), f);
        let per_try = Some(from.per_try_nanos.map(Duration::from_nanos));
        let per_try = read::sourced(per_try, "perTryOrigin", from.per_try_origin.as_ref(), f);
        let idle = Some(from.stream_idle_nanos.map(Duration::from_nanos));
        let origin = from.stream_idle_origin.as_ref();
        let stream_idle = read::sourced(idle, "streamIdleOrigin", origin, f);
        let longest = Some(from.max_stream_duration_nanos.map(Duration::from_nanos));
        let origin = from.max_stream_duration_origin.as_ref();
        let longest = read::sourced(longest, "maxStreamDurationOrigin", origin, f);
        let origin = from.propagate_deadline_origin.as_ref();
        let propagate = Some(from.propagate_deadline);
        let propagate = read::sourced(propagate, "propagateDeadlineOrigin", origin, f);
        Some(ExchangeTimeouts {
            request: request?,
            per_try: per_try?,
            stream_idle: stream_idle?,
            max_stream_duration: longest?,
            propagate_deadline: propagate?,
        })
    })
}

pub(super) fn write_retry(from: &Sourced<RetryPolicy>) -> wire::Retry {
    let policy = &from.value;
    let (methods, listed_methods) = match &policy.methods {
        RetryMethods::Safe => (wire::RetryMethods::Safe, Vec::new()),
        RetryMethods::Idempotent => (wire::RetryMethods::Idempotent, Vec::new()),
        RetryMethods::Any => (wire::RetryMethods::Any, Vec::new()),
        RetryMethods::Listed(listed) => (wire::RetryMethods::Listed, listed.clone()),
    };
    let jitter = match policy.backoff.jitter {
        Jitter::None => wire::Jitter::None,
        Jitter::Full => wire::Jitter::Full,
        Jitter::Equal => wire::Jitter::Equal,
        Jitter::Decorrelated => wire::Jitter::Decorrelated,
    };
    let statuses = policy.statuses.iter().map(|range| wire::StatusRange {
        from: range.from.into(),
        to: range.to.into(),
    });
    wire::Retry {
        attempts: policy.attempts,
        statuses: statuses.collect(),
        on_connect_failure: policy.conditions.connect_failure,
        on_reset: policy.conditions.reset,
        on_refused_stream: policy.conditions.refused_stream,
        grpc_codes: policy
            .grpc_codes
            .iter()
            .map(|code| code.number().into())
            .collect(),
        on_per_try_timeout: policy.conditions.per_try_timeout,
        methods: methods.into(),
        listed_methods,
        backoff_base_nanos: read::nanos(policy.backoff.base),
        backoff_max_nanos: read::nanos(policy.backoff.max),
        jitter: jitter.into(),
        budget_percent: policy.budget.percent.into(),
        budget_min_per_second: policy.budget.min_per_second,
        budget_window_nanos: read::nanos(policy.budget.window),
        max_body_bytes: policy.max_body_bytes,
        ignore_retry_after: policy.retry_after == RetryAfter::Ignore,
        jitter_min_nanos: read::nanos(policy.backoff.jitter_min),
        response_header: policy
            .response_header
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        origin: read::write_origin(&from.origin),
    }
}

pub(super) fn read_retry(
    from: Option<&wire::Retry>,
    faults: &mut Faults,
) -> Option<Sourced<RetryPolicy>> {
    let from = read::required("retry", from, faults)?;
    faults.field("retry", |f| {
        let policy = read_policy(from, f);
        read::sourced(policy, "origin", from.origin.as_ref(), f)
    })
}

fn read_policy(from: &wire::Retry, faults: &mut Faults) -> Option<RetryPolicy> {
    let attempts = read::number("attempts", from.attempts, 0..=MAX_ATTEMPTS, faults);
    let statuses = read::list("statuses", &from.statuses, MAX_LISTED, faults, read_range);
    let listed = read::list(
        "listedMethods",
        &from.listed_methods,
        MAX_LISTED,
        faults,
        |text, f| {
            let good = read::is_method(text);
            if !good {
                f.refuse("is not a method");
            }
            good.then(|| text.clone())
        },
    );
    let grpc_codes = read::list(
        "grpcCodes",
        &from.grpc_codes,
        MAX_LISTED,
        faults,
        |number, f| {
            let code = GrpcCode::of_number(*number);
            if code.is_none() {
                f.refuse(format!("{number} is not a gRPC code"));
            }
            code
        },
    );
    let methods = read::choice("methods", from.methods, faults, |value| match value {
        wire::RetryMethods::Unspecified => None,
        wire::RetryMethods::Safe => Some(RetryMethods::Safe),
        wire::RetryMethods::Idempotent => Some(RetryMethods::Idempotent),
        wire::RetryMethods::Any => Some(RetryMethods::Any),
        wire::RetryMethods::Listed => listed.clone().map(RetryMethods::Listed),
    });
    let jitter = read::choice("jitter", from.jitter, faults, |value| match value {
        wire::Jitter::Unspecified => None,
        wire::Jitter::None => Some(Jitter::None),
        wire::Jitter::Full => Some(Jitter::Full),
        wire::Jitter::Equal => Some(Jitter::Equal),
        wire::Jitter::Decorrelated => Some(Jitter::Decorrelated),
    });
    let response_header = read::optional("responseHeader", &from.response_header, faults);
    let percent = read::number("budgetPercent", from.budget_percent, 0..=100, faults);
    Some(RetryPolicy {
        attempts: attempts?,
        statuses: statuses?,
        grpc_codes: grpc_codes?,
        response_header: response_header?,
        conditions: Conditions {
            connect_failure: from.on_connect_failure,
            reset: from.on_reset,
            refused_stream: from.on_refused_stream,
            per_try_timeout: from.on_per_try_timeout,
        },
        methods: methods?,
        backoff: Backoff {
            base: Duration::from_nanos(from.backoff_base_nanos),
            max: Duration::from_nanos(from.backoff_max_nanos),
            jitter: jitter?,
            jitter_min: Duration::from_nanos(from.jitter_min_nanos),
        },
        retry_after: if from.ignore_retry_after {
            RetryAfter::Ignore
        } else {
            RetryAfter::Respect
        },
        budget: Budget {
            percent: percent?,
            min_per_second: from.budget_min_per_second,
            window: Duration::from_nanos(from.budget_window_nanos),
        },
        max_body_bytes: from.max_body_bytes,
    })
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "read::list hands out references"
)]
fn read_range(from: &wire::StatusRange, faults: &mut Faults) -> Option<StatusRange> {
    let (first, last) = (
        read::number("from", from.from, 100..=599u16, faults),
        read::number("to", from.to, 100..=599u16, faults),
    );
    let (from, to) = (first?, last?);
    if from > to {
        faults.refuse(format!("{from} is above {to}"));
        return None;
    }
    Some(StatusRange { from, to })
}

const MAX_ATTEMPTS: u32 = 100;
const MAX_LISTED: usize = 64;
