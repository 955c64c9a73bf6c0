//! What answers tell of limits: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers,
//! structured fields since its version 8), `Retry-After` and gRPC's pushback.

use std::time::Duration;

use crate::model::ratelimit::RateLimit;

/// The field that tells what is left.
pub const RATE_LIMIT: &str = "ratelimit";
/// The field that tells the limits.
pub const RATE_LIMIT_POLICY: &str = "ratelimit-policy";

/// The values of both fields: a list with an item for each limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RateFields {
    /// `"per-client";r=49;t=1`: how many more may come, until when in seconds.
    pub limit: String,
    /// `"per-client";q=100;w=1`: how many in how many seconds.
    pub policy: String,
}

impl RateFields {
    /// True if no limit was added.
    pub fn is_empty(&self) -> bool {
        self.limit.is_empty()
    }

    /// Adds a limit that has `left`, and more after `time`.
    pub(super) fn add(&mut self, limit: &RateLimit, left: u32, time: Duration) {
        for value in [&mut self.limit, &mut self.policy] {
            if value.is_empty() {
                value.reserve(ROOM);
            } else {
                value.push_str(", ");
            }
        }
        let (name, rate) = (limit.name.as_str(), limit.rate);
        item(&mut self.limit, name, ("r", left));
        parameter(&mut self.limit, "t", ceil(time));
        item(&mut self.policy, name, ("q", rate.requests()));
        // A window is in whole seconds: one that is not is left out.
        let per = rate.per();
        if per.subsec_nanos() == 0 {
            parameter(&mut self.policy, "w", per.as_secs());
        }
    }
}

/// Bytes that a value has at first: enough for a limit with a name of usual length.
const ROOM: usize = 64;

/// Appends an item of a list (RFC 9651 section 3.1): its name, and its first parameter.
fn item(value: &mut String, name: &str, (key, number): (&str, u32)) {
    value.push('"');
    value.push_str(name);
    value.push('"');
    parameter(value, key, number.into());
}

fn parameter(value: &mut String, key: &str, number: u64) {
    value.push(';');
    value.push_str(key);
    value.push('=');
    value.push_str(itoa::Buffer::new().format(number));
}

/// The value of `Retry-After` (RFC 9110 section 10.2.3): at least a second.
pub fn retry_after_secs(wait: Duration) -> u64 {
    ceil(wait).max(1)
}

/// The value of `grpc-retry-pushback-ms` (gRFC A6): at least a millisecond.
pub fn retry_after_ms(wait: Duration) -> u64 {
    let millis = wait.as_nanos().div_ceil(1_000_000).max(1);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

fn ceil(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
