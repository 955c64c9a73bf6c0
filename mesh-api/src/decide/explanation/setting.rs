//! Values in force as text, each with the field that set it.

use std::fmt::Debug;
use std::time::Duration;

use serde::Serialize;

use crate::model::origin::Sourced;
use crate::model::policy::{Backoff, RetryAfter, RetryMethods, RetryPolicy};

/// A value in force and the field that set it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// As text: `10s`, `none`.
    pub value: String,
    /// `default`, or the kind, object and field.
    pub origin: String,
}

pub(super) fn setting<T>(from: &Sourced<T>, text: impl Fn(&T) -> String) -> Setting {
    Setting {
        value: text(&from.value),
        origin: from.origin.to_string(),
    }
}

/// A duration's `Debug` form is its short one: `250ms`.
pub(super) fn debug(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// A limit as text.
#[expect(clippy::ref_option, reason = "settings hand out references")]
pub(super) fn duration(value: &Option<Duration>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| debug(&value))
}

/// The part of a retry policy that is about connections.
pub(super) fn connect_retry_text(policy: &RetryPolicy) -> String {
    if policy.attempts == 0 || !policy.conditions.connect_failure {
        return "none".to_owned();
    }
    format!(
        "{} more on connect failure; {}",
        policy.attempts,
        backoff_text(&policy.backoff),
    )
}

fn backoff_text(backoff: &Backoff) -> String {
    let (base, max) = (debug(&backoff.base), debug(&backoff.max));
    let jitter = backoff.jitter.as_str();
    let least = if backoff.jitter_min.is_zero() {
        String::new()
    } else {
        format!(", at least {:?}", backoff.jitter_min)
    };
    format!("backoff {base} to {max}, {jitter} jitter{least}")
}

pub(super) fn retry_text(policy: &RetryPolicy) -> String {
    let conditions = [
        ("connect failure", policy.conditions.connect_failure),
        ("reset", policy.conditions.reset),
        ("refused stream", policy.conditions.refused_stream),
        ("per-try timeout", policy.conditions.per_try_timeout),
    ];
    let mut on: Vec<String> = conditions
        .iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| (*name).to_owned())
        .collect();
    on.extend(policy.statuses.iter().map(|range| {
        if range.from == range.to {
            range.from.to_string()
        } else {
            format!("{}-{}", range.from, range.to)
        }
    }));
    on.extend(policy.grpc_codes.iter().map(ToString::to_string));
    on.extend(
        policy
            .response_header
            .iter()
            .map(|name| format!("response header {name}")),
    );
    if policy.attempts == 0 || on.is_empty() {
        return "none".to_owned();
    }
    let methods = match &policy.methods {
        RetryMethods::Safe => "safe".to_owned(),
        RetryMethods::Idempotent => "idempotent".to_owned(),
        RetryMethods::Any => "all".to_owned(),
        RetryMethods::Listed(listed) => listed.join(" "),
    };
    format!(
        "{} more on {}; {methods} methods; {}; {}; budget {} % or {}/s",
        policy.attempts,
        on.join(", "),
        backoff_text(&policy.backoff),
        match policy.retry_after {
            RetryAfter::Respect => "Retry-After respected",
            RetryAfter::Ignore => "Retry-After ignored",
        },
        policy.budget.percent,
        policy.budget.min_per_second,
    )
}
