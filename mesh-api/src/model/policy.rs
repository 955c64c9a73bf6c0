//! Settings of an exchange and of a backend, with their defaults.
//!
//! [`DEFAULTS`] and the `Default` impls here are the one table of defaults; the docs print it.

use std::time::Duration;

use crate::model::affinity::KeySource;
use crate::model::breaker::Limits;
use crate::model::grpc::GrpcCode;
use crate::model::health::HealthCheck;
use crate::model::locality::LocalityPreference;
use crate::model::origin::Sourced;
use crate::model::outlier::OutlierDetection;
use crate::name::HeaderName;

/// Time allowed to an exchange. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ExchangeTimeouts {
    /// From the request's first byte to the response's last; covers all tries.
    pub request: Sourced<Option<Duration>>,
    /// For one try, from its start to the response's head.
    pub per_try: Sourced<Option<Duration>>,
    /// Between two bytes either way, from the request's head on; also of what it is upgraded to.
    pub stream_idle: Sourced<Option<Duration>>,
    /// From the request's first byte to the last, of what it is upgraded to if it is.
    pub max_stream_duration: Sourced<Option<Duration>>,
    /// The next hop is told of `request`, where the caller gave no deadline of its own.
    pub propagate_deadline: Sourced<bool>,
}

/// When and how a request is tried again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Tries after the first.
    pub attempts: u32,
    /// Response statuses that are retried.
    pub statuses: Vec<StatusRange>,
    /// gRPC codes that are retried, sorted: of a response that is nothing but its trailers.
    pub grpc_codes: Vec<GrpcCode>,
    /// A field of the response by which the app asks for another try.
    pub response_header: Option<HeaderName>,
    /// Conditions that are retried.
    pub conditions: Conditions,
    /// Methods that may be retried once bytes were sent.
    pub methods: RetryMethods,
    /// Wait before each further try.
    pub backoff: Backoff,
    /// Whether an answer says when to try again (`Retry-After`, RFC 9110 section 10.2.3;
    /// `grpc-retry-pushback-ms`, gRFC A6).
    pub retry_after: RetryAfter,
    /// Limit on the share of retries per destination.
    pub budget: Budget,
    /// Largest request body kept for a retry, in bytes.
    pub max_body_bytes: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 2,
            statuses: Vec::new(),
            grpc_codes: Vec::new(),
            response_header: None,
            conditions: Conditions {
                connect_failure: true,
                reset: true,
                refused_stream: true,
                per_try_timeout: false,
            },
            methods: RetryMethods::Safe,
            backoff: Backoff::default(),
            retry_after: RetryAfter::Respect,
            budget: Budget::default(),
            max_body_bytes: 65_536,
        }
    }
}

impl RetryPolicy {
    /// True if an answer of the app may be a failure by this policy.
    pub fn judges_answers(&self) -> bool {
        !self.statuses.is_empty() || !self.grpc_codes.is_empty() || self.response_header.is_some()
    }
}

/// Whether an answer's word on when to try again is heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RetryAfter {
    /// It is.
    #[default]
    Respect,
    /// It is not.
    Ignore,
}

/// An inclusive range of response statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// First.
    pub from: u16,
    /// Last.
    pub to: u16,
}

impl StatusRange {
    /// Whether it has `status`.
    pub fn contains(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

/// What went wrong with a try, as far as a retry cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set: any of them may be asked for"
)]
pub struct Conditions {
    /// Nothing of the request reached the app: retried for any method, outside the budget.
    pub connect_failure: bool,
    /// The connection broke before the first byte of a response.
    pub reset: bool,
    /// HTTP/2 `REFUSED_STREAM`: not processed, by the peer's word (RFC 9113 section 8.7), and so retried
    /// like a failed connect.
    pub refused_stream: bool,
    /// The try's own timeout passed.
    pub per_try_timeout: bool,
}

/// Which methods may be retried after bytes were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryMethods {
    /// GET, HEAD and OPTIONS: the default.
    Safe,
    /// GET, HEAD, OPTIONS, PUT, DELETE, TRACE (RFC 9110 section 9.2.2), and any request with an `Idempotency-Key`.
    Idempotent,
    /// Every method.
    Any,
    /// These, exact.
    Listed(Vec<String>),
}

/// Wait before a retry: `base * 2^n`, at most `max`, jittered by one of the ways of "Exponential Backoff
/// And Jitter" (AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the first retry.
    pub base: Duration,
    /// Upper bound.
    pub max: Duration,
    /// How much of it is random.
    pub jitter: Jitter,
    /// No random wait is shorter.
    pub jitter_min: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        let (base, max) = (Duration::from_millis(25), Duration::from_millis(250));
        Self {
            base,
            max,
            jitter: Jitter::Full,
            jitter_min: Duration::ZERO,
        }
    }
}

/// The random part of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// None.
    None,
    /// Uniform between 0 and the wait.
    Full,
    /// Half the wait and a uniform part of the other half.
    Equal,
    /// Uniform between the base and three times the wait before, whatever the number of the try.
    Decorrelated,
}

impl Jitter {
    /// As explanations name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "no",
            Self::Full => "full",
            Self::Equal => "equal",
            Self::Decorrelated => "decorrelated",
        }
    }
}

/// Retries allowed: `percent` of the exchanges in the window, and at least `min_per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// 0 to 100.
    pub percent: u8,
    /// Allowed whatever the rate.
    pub min_per_second: u32,
    /// Over which exchanges are counted.
    pub window: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            percent: 20,
            min_per_second: 3,
            window: Duration::from_secs(10),
        }
    }
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// Two random choices, the one with less expected delay (peak EWMA of latency × outstanding).
    #[default]
    PeakEwma,
    /// Two random choices, the one with fewer exchanges outstanding.
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// By a hash ring.
    RingHash,
    /// By a Maglev table.
    Maglev,
}

impl Algorithm {
    /// As a policy says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PeakEwma => "PeakEwma",
            Self::LeastRequest => "LeastRequest",
            Self::RoundRobin => "RoundRobin",
            Self::Random => "Random",
            Self::RingHash => "RingHash",
            Self::Maglev => "Maglev",
        }
    }

    /// Whether a key of the request picks the endpoint.
    pub fn goes_by_key(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

/// Settings of a backend: how its endpoints are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSettings {
    /// Time allowed to connect, TLS and tunnel included.
    pub connect_timeout: Sourced<Duration>,
    /// How an endpoint is chosen.
    pub algorithm: Sourced<Algorithm>,
    /// What of a request picks the endpoint, of algorithms that go by it: the first that is present.
    pub hash_on: Sourced<Vec<KeySource>>,
    /// How long an endpoint that is new gets less than its share; `None`: not at all.
    pub slow_start: Sourced<Option<Duration>>,
    /// Which endpoints are preferred by where they are; `None`: none.
    pub locality: Sourced<Option<LocalityPreference>>,
    /// Idle time after which a pooled HTTP connection is closed.
    pub pool_idle: Sourced<Duration>,
    /// Bounds on what is in flight.
    pub limits: Sourced<Limits>,
    /// Time without a byte either way after which an opaque connection is closed.
    pub tcp_idle: Sourced<Option<Duration>>,
    /// Age from which on an HTTP connection carries no further exchange.
    pub max_connection_age: Sourced<Option<Duration>>,
    /// When an endpoint is taken out for what it answers.
    pub outlier_detection: Option<Sourced<OutlierDetection>>,
    /// How endpoints are asked whether they work.
    pub health_check: Option<Sourced<HealthCheck>>,
}

impl Default for BackendSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Sourced::default_value(DEFAULTS.connect_timeout),
            algorithm: Sourced::default(),
            hash_on: Sourced::default(),
            slow_start: Sourced::default(),
            locality: Sourced::default(),
            pool_idle: Sourced::default_value(DEFAULTS.pool_idle),
            limits: Sourced::default(),
            tcp_idle: Sourced::default(),
            max_connection_age: Sourced::default(),
            outlier_detection: None,
            health_check: None,
        }
    }
}

/// Mutual TLS towards a workload's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum MutualTls {
    /// Plaintext is accepted and tunnels are too; nothing is required.
    Disabled,
    /// Both are accepted.
    Permissive,
    /// Plaintext is refused.
    #[default]
    Strict,
}

/// Defaults that are plain numbers.
pub struct Defaults {
    /// Time to connect inside the mesh.
    pub connect_timeout: Duration,
    /// Idle pooled HTTP connection.
    pub pool_idle: Duration,
    /// Connections per destination and proxy.
    pub max_connections: u32,
    /// Concurrent requests per destination and proxy.
    pub max_requests: u32,
    /// Requests that wait for a place, per destination and proxy.
    pub max_pending: u32,
    /// Concurrent retries of requests that may have arrived, per destination and proxy.
    pub max_retries: u32,
    /// Longest wait for a place.
    pub queue_timeout: Duration,
    /// Bytes of a message head.
    pub max_head_bytes: usize,
    /// Fields of a message head.
    pub max_head_fields: usize,
    /// A plaintext peer's time to send a head.
    pub head_timeout: Duration,
    /// Consecutive failed connects that eject an endpoint.
    pub eject_after: u32,
    /// First ejection; doubled each time, up to 16 times as long.
    pub base_ejection: Duration,
    /// Largest ejected share of a backend's endpoints, percent.
    pub max_ejected_percent: u32,
    /// Between two looks at how often endpoints fail, where a policy asks for that.
    pub outlier_interval: Duration,
    /// First ejection by a policy; the n-th in a row is n times as long.
    pub outlier_ejection: Duration,
    /// Longest ejection by a policy.
    pub max_ejection: Duration,
    /// Percentage of endpoints that must be well for the others to be left out.
    pub panic_threshold: u32,
    /// Between two checks of an endpoint, where a policy asks for checks.
    pub check_interval: Duration,
    /// By how much that may be longer, percent of it.
    pub check_jitter_percent: u32,
    /// Time for a check.
    pub check_timeout: Duration,
    /// Failed checks in a row after which an endpoint is unhealthy.
    pub unhealthy_after: u32,
    /// Good ones in a row after which it is healthy again.
    pub healthy_after: u32,
    /// How long a call waits for configuration that was asked for.
    pub config_wait: Duration,
    /// Leaf certificate lifetime.
    pub leaf_lifetime: Duration,
}

/// The table.
pub const DEFAULTS: Defaults = Defaults {
    connect_timeout: Duration::from_secs(1),
    pool_idle: Duration::from_mins(5),
    max_connections: 1024,
    max_requests: 10_000,
    max_pending: 1024,
    max_retries: 100,
    queue_timeout: Duration::from_secs(1),
    max_head_bytes: 65_536,
    max_head_fields: 100,
    head_timeout: Duration::from_secs(10),
    eject_after: 1,
    base_ejection: Duration::from_secs(1),
    max_ejected_percent: 50,
    outlier_interval: Duration::from_secs(10),
    outlier_ejection: Duration::from_secs(30),
    max_ejection: Duration::from_mins(5),
    panic_threshold: 50,
    check_interval: Duration::from_secs(10),
    check_jitter_percent: 10,
    check_timeout: Duration::from_secs(1),
    unhealthy_after: 3,
    healthy_after: 2,
    config_wait: Duration::from_secs(5),
    leaf_lifetime: Duration::from_hours(24),
};
