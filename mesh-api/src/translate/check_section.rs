//! Checks of the sections of a `TrafficPolicy`, each filled in with the table of defaults.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::Faults;
use crate::model::grpc::GrpcCode;
use crate::model::policy::{
    Backoff, Budget, Conditions, Jitter, RetryAfter, RetryMethods, RetryPolicy, StatusRange,
};
use crate::name::HeaderName;
use crate::resource::duration::Duration as DurationField;
use crate::resource::traffic::{
    BackoffField, BudgetField, JitterField, RetryAfter as RetryAfterField, RetryCondition,
    RetryMethodsField, RetryOn, RetrySection, TimeoutSection, TrafficSections,
};
use crate::translate::check_balance;
use crate::translate::check_breaker;
use crate::translate::check_fault::faults_of;
use crate::translate::check_health;
use crate::translate::check_mirror;
use crate::translate::check_outlier;
use crate::translate::check_reference::at_most;
use crate::translate::check_status::{FAILURES, status_range};
use crate::translate::check_workload::whole;
use crate::translate::checked::{Sections, Timeouts};

/// Most statuses or methods of a retry policy, as many as a proxy takes.
pub(super) const MAX_LISTED: usize = 64;
/// Most tries after the first.
pub(super) const MAX_ATTEMPTS: u32 = 10;
/// Largest body kept for a retry, in bytes.
const MAX_BODY: u64 = 1 << 20;

/// Checks every section.
pub(super) fn sections(body: &TrafficSections, faults: &mut Faults) -> Sections {
    let TrafficSections {
        timeout,
        retry,
        load_balancing,
        stickiness,
        limits,
        outlier_detection,
        health_check,
        fault,
        mirror,
    } = body;
    Sections {
        timeout: timeout
            .as_ref()
            .map(|section| faults.field("timeout", |faults| timeouts(section, faults))),
        retry: retry
            .as_ref()
            .map(|section| faults.field("retry", |faults| retries(section, faults))),
        load_balancing: load_balancing.as_ref().map(|section| {
            faults.field("loadBalancing", |faults| {
                check_balance::load_balancing(section, faults)
            })
        }),
        stickiness: stickiness.as_ref().and_then(|section| {
            faults.field("stickiness", |faults| {
                check_balance::stickiness(section, faults)
            })
        }),
        limits: limits
            .as_ref()
            .map(|section| faults.field("limits", |faults| check_breaker::limits(section, faults))),
        outlier_detection: outlier_detection.as_ref().map(|section| {
            faults.field("outlierDetection", |faults| {
                check_outlier::outlier_detection(section, faults)
            })
        }),
        health_check: health_check.as_ref().and_then(|section| {
            faults.field("healthCheck", |faults| {
                check_health::health_check(section, faults)
            })
        }),
        fault: fault
            .as_ref()
            .map(|section| faults.field("fault", |faults| faults_of(section, faults))),
        mirror: mirror
            .as_ref()
            .map(|section| faults.field("mirror", |faults| check_mirror::section(section, faults))),
    }
}

fn timeouts(section: &TimeoutSection, faults: &mut Faults) -> Timeouts {
    let request = limit("request", section.request.as_ref(), faults);
    let per_try = limit("perTry", section.per_try.as_ref(), faults);
    if let (Some(Some(request)), Some(Some(per_try))) = (request, per_try)
        && per_try > request
    {
        faults.field("perTry", |faults| faults.refuse("is longer than request"));
    }
    Timeouts {
        request,
        per_try,
        connect: positive("connect", section.connect.as_ref(), faults),
        idle: positive("idle", section.idle.as_ref(), faults),
        stream_idle: limit("streamIdle", section.stream_idle.as_ref(), faults),
        max_stream_duration: limit(
            "maxStreamDuration",
            section.max_stream_duration.as_ref(),
            faults,
        ),
        max_connection_age: limit(
            "maxConnectionAge",
            section.max_connection_age.as_ref(),
            faults,
        ),
        propagate_deadline: section.propagate_deadline,
    }
}

/// Reads a time limit: `0s` is none.
#[expect(clippy::option_option, reason = "not set and no limit differ")]
pub(super) fn limit(
    field: &str,
    text: Option<&DurationField>,
    faults: &mut Faults,
) -> Option<Option<Duration>> {
    let duration = faults.field(field, |faults| faults.take(text?.parse()))?;
    Some((!duration.is_zero()).then_some(duration))
}

/// Reads a duration that may not be 0.
pub(super) fn positive(
    field: &str,
    text: Option<&DurationField>,
    faults: &mut Faults,
) -> Option<Duration> {
    faults.field(field, |faults| {
        let duration = faults.take(text?.parse())?;
        if duration.is_zero() {
            faults.refuse("must be longer than 0s");
        }
        Some(duration)
    })
}

fn retries(section: &RetrySection, faults: &mut Faults) -> RetryPolicy {
    let default = RetryPolicy::default();
    let attempts = faults.field("attempts", |faults| {
        section
            .attempts
            .and_then(|attempts| whole(attempts.into(), 0, MAX_ATTEMPTS, faults))
    });
    if section.on.is_some() {
        faults.field("on", |faults| {
            faults.refuse("is called retryOn: kubectl, as YAML 1.1, reads a bare `on` as `true`");
        });
    }
    let (statuses, grpc_codes, conditions) = faults.field("retryOn", |faults| {
        retry_on(section.retry_on.as_ref(), &default, faults)
    });
    let response_header = faults.field("retryOn", |faults| {
        faults.field("responseHeader", |faults| {
            let name = section.retry_on.as_ref()?.response_header.as_ref()?;
            faults.take(name.parse::<HeaderName>())
        })
    });
    let methods = faults.field("methods", |faults| {
        methods(section.methods.as_ref(), faults)
    });
    let backoff = faults.field("backoff", |faults| {
        backoff(section.backoff.as_ref(), faults)
    });
    let budget = faults.field("budget", |faults| budget(section.budget.as_ref(), faults));
    let retry_after = match section.retry_after {
        Some(RetryAfterField::Ignore) => RetryAfter::Ignore,
        Some(RetryAfterField::Respect) | None => RetryAfter::Respect,
    };
    let max_body_bytes = section.max_body_bytes.unwrap_or(default.max_body_bytes);
    if max_body_bytes > MAX_BODY {
        faults.field("maxBodyBytes", |faults| {
            faults.refuse(format!("is over {MAX_BODY}"));
        });
    }
    RetryPolicy {
        attempts: attempts.unwrap_or(default.attempts),
        statuses,
        grpc_codes,
        response_header,
        conditions,
        methods,
        backoff,
        retry_after,
        budget,
        max_body_bytes,
    }
}

fn retry_on(
    on: Option<&RetryOn>,
    default: &RetryPolicy,
    faults: &mut Faults,
) -> (Vec<StatusRange>, Vec<GrpcCode>, Conditions) {
    let Some(on) = on else {
        return (Vec::new(), Vec::new(), default.conditions);
    };
    let codes = faults.field("grpc", |faults| {
        grpc_codes(on.grpc.iter().flatten(), faults)
    });
    let mut statuses = Vec::new();
    faults.field("status", |faults| {
        let count = on.status.iter().flatten().count();
        at_most(count, MAX_LISTED, "statuses", faults);
        for (index, text) in on.status.iter().flatten().enumerate() {
            statuses.extend(faults.index(index, |faults| status_range(text, FAILURES, faults)));
        }
    });
    let Some(listed) = &on.conditions else {
        return (statuses, codes, default.conditions);
    };
    let mut conditions = Conditions::default();
    for condition in listed {
        match condition {
            RetryCondition::ConnectFailure => conditions.connect_failure = true,
            RetryCondition::Reset => conditions.reset = true,
            RetryCondition::PerTryTimeout => conditions.per_try_timeout = true,
            RetryCondition::RefusedStream => conditions.refused_stream = true,
        }
    }
    (statuses, codes, conditions)
}

fn grpc_codes<'a>(names: impl Iterator<Item = &'a String>, faults: &mut Faults) -> Vec<GrpcCode> {
    let mut codes = BTreeSet::new();
    for (index, name) in names.enumerate().take(MAX_LISTED) {
        let code = GrpcCode::of_name(name).filter(|code| *code != GrpcCode::Ok);
        if code.is_none() {
            let name: String = name.chars().take(80).collect();
            faults.index(index, |faults| {
                faults.refuse(format!(
                    "{name:?} is not a gRPC code that means failure (such as UNAVAILABLE)"
                ));
            });
        }
        codes.extend(code);
    }
    codes.into_iter().collect()
}

fn methods(methods: Option<&RetryMethodsField>, faults: &mut Faults) -> RetryMethods {
    match methods {
        None => RetryMethods::Safe,
        Some(RetryMethodsField::Named(name)) if name == "Idempotent" => RetryMethods::Idempotent,
        Some(RetryMethodsField::Named(name)) if name == "Any" => RetryMethods::Any,
        Some(RetryMethodsField::Named(name)) => {
            let name: String = name.chars().take(80).collect();
            faults.refuse(format!(
                "{name:?} is not Idempotent, Any or a list of methods"
            ));
            RetryMethods::Safe
        }
        Some(RetryMethodsField::Listed(list)) => {
            at_most(list.len(), MAX_LISTED, "methods", faults);
            for (index, method) in list.iter().enumerate() {
                if method.is_empty()
                    || method.len() > 32
                    || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
                {
                    faults.index(index, |faults| {
                        faults.refuse("is not a method in upper case");
                    });
                }
            }
            RetryMethods::Listed(list.clone())
        }
    }
}

fn backoff(field: Option<&BackoffField>, faults: &mut Faults) -> Backoff {
    let default = Backoff::default();
    let Some(field) = field else {
        return default;
    };
    let base = positive("base", field.base.as_ref(), faults).unwrap_or(default.base);
    let max = positive("max", field.max.as_ref(), faults).unwrap_or(default.max.max(base));
    if max < base {
        faults.field("max", |faults| faults.refuse("is shorter than base"));
    }
    let least = faults.field("jitterMin", |faults| {
        field
            .jitter_min
            .as_ref()
            .and_then(|text| faults.take(text.parse()))
    });
    let jitter_min = least.unwrap_or_default();
    if let Some(reason) = jitter_min_fault(jitter_min, base, field.jitter) {
        faults.field("jitterMin", |faults| faults.refuse(reason));
    }
    let jitter = match field.jitter {
        Some(JitterField::None) => Jitter::None,
        Some(JitterField::Equal) => Jitter::Equal,
        Some(JitterField::Full) | None => Jitter::Full,
        Some(JitterField::Decorrelated) => Jitter::Decorrelated,
    };
    Backoff {
        base,
        max,
        jitter,
        jitter_min,
    }
}

fn jitter_min_fault(
    least: Duration,
    base: Duration,
    jitter: Option<JitterField>,
) -> Option<&'static str> {
    if least.is_zero() {
        return None;
    }
    match jitter {
        Some(JitterField::None) => Some("means nothing where jitter is None"),
        Some(JitterField::Decorrelated) => {
            Some("means nothing: Decorrelated never waits less than base")
        }
        _ if least > base => Some("is longer than base"),
        _ => None,
    }
}

fn budget(field: Option<&BudgetField>, faults: &mut Faults) -> Budget {
    let default = Budget::default();
    let Some(field) = field else {
        return default;
    };
    let percent = faults.field("percent", |faults| {
        field
            .percent
            .and_then(|percent| whole(percent.into(), 0, 100, faults))
    });
    Budget {
        percent: percent
            .and_then(|percent| u8::try_from(percent).ok())
            .unwrap_or(default.percent),
        min_per_second: field.min_per_second.unwrap_or(default.min_per_second),
        window: positive("window", field.window.as_ref(), faults).unwrap_or(default.window),
    }
}
