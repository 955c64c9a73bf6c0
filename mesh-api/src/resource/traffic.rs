//! `TrafficPolicy`: how clients call a Service or through a route.
//!
//! The schema is whole; sections and fields that do not work yet are kept as JSON and refused by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::affinity::{KeyField, StickinessSection};
use crate::resource::breaker::LimitsSection;
use crate::resource::duration::Duration;
use crate::resource::fault::{FaultField, MirrorField};
use crate::resource::health::HealthCheckSection;
use crate::resource::locality::LocalitySection;
use crate::resource::object::{Object, TargetRef};
use crate::resource::outlier::OutlierSection;

/// Client-side settings.
pub type TrafficPolicy = Object<TrafficPolicySpec>;

/// Targets and sections; sections merge whole, the most specific target wins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficPolicySpec {
    /// What the policy applies to, at least one and at most 16.
    #[schemars(length(min = 1, max = 16))]
    pub target_refs: Vec<TargetRef>,
    /// Time allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<TimeoutSection>,
    /// When and how a request is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySection>,
    /// How an endpoint is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancingSection>,
    /// Keeps a user on a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<StickinessSection>,
    /// Bounds on what is in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSection>,
    /// Takes failing endpoints out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierSection>,
    /// Asks endpoints whether they work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckSection>,
    /// Injected faults, at most 16; an empty list injects none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub fault: Option<Vec<FaultField>>,
    /// How copies of requests are made, and which answers are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorField>,
}

impl TrafficPolicySpec {
    /// The sections without the targets.
    pub fn sections(&self) -> TrafficSections {
        TrafficSections {
            timeout: self.timeout.clone(),
            retry: self.retry.clone(),
            load_balancing: self.load_balancing.clone(),
            stickiness: self.stickiness.clone(),
            limits: self.limits.clone(),
            outlier_detection: self.outlier_detection.clone(),
            health_check: self.health_check.clone(),
            fault: self.fault.clone(),
            mirror: self.mirror.clone(),
        }
    }
}

/// The body of a TrafficPolicy, as `Mesh.spec.traffic` holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrafficSections {
    /// Time allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<TimeoutSection>,
    /// When and how a request is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySection>,
    /// How an endpoint is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancingSection>,
    /// Keeps a user on a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<StickinessSection>,
    /// Bounds on what is in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSection>,
    /// Takes failing endpoints out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierSection>,
    /// Asks endpoints whether they work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckSection>,
    /// Injected faults, at most 16; an empty list injects none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub fault: Option<Vec<FaultField>>,
    /// How copies of requests are made, and which answers are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorField>,
}

/// Time allowed; `0s` is no limit, except for `connect` and `idle`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeoutSection {
    /// For the whole exchange, to the last byte of the response; not for what it is upgraded to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// For one try, to the head of its response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_try: Option<Duration>,
    /// To connect, TLS and tunnel included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    /// After which a pooled connection is closed, and an opaque one that carries no byte either way;
    /// without it the latter is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Duration>,
    /// Between two bytes of an exchange, in whichever direction; also of what it is upgraded to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_idle: Option<Duration>,
    /// For all of one exchange, what it is upgraded to included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_stream_duration: Option<Duration>,
    /// After which a connection to an endpoint carries no further exchange and is closed; up to a
    /// tenth less, by chance, so that not all end at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connection_age: Option<Duration>,
    /// Whether the next hop is told of `request` as a deadline, where the caller gave none; `false`
    /// where absent. A deadline that a caller gave is always told, shortened by the time it took here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagate_deadline: Option<bool>,
}

/// When and how a request is tried again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetrySection {
    /// Tries after the first; 2 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// What is retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<RetryOn>,
    /// What `retryOn` was called once, kept so that its refusal says so. A YAML reader of version 1.1
    /// hands it on as `true`.
    #[serde(default, alias = "true", skip_serializing_if = "Option::is_none")]
    #[schemars(skip)]
    pub on: Option<serde_json::Value>,
    /// `Idempotent`, `Any` or a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<RetryMethodsField>,
    /// Wait before a try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<BackoffField>,
    /// Limit on the share of retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetField>,
    /// Whether `Retry-After` and `grpc-retry-pushback-ms` of an answer are heeded; `Respect` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<RetryAfter>,
    /// Largest body kept for a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
}

/// What is retried.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetryOn {
    /// `503`, `502-504`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<String>>,
    /// gRPC codes by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<Vec<String>>,
    /// What went wrong with the try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<RetryCondition>>,
    /// A header of the response, in lower case, by which the app asks for another try, whatever the
    /// status and the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header: Option<String>,
}

/// What went wrong with a try.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RetryCondition {
    /// Nothing of the request reached the app.
    ConnectFailure,
    /// The connection broke before the response.
    Reset,
    /// HTTP/2 `REFUSED_STREAM`.
    RefusedStream,
    /// The try's own timeout passed.
    PerTryTimeout,
}

/// `Idempotent`, `Any`, or methods by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RetryMethodsField {
    /// `Idempotent` or `Any`.
    Named(String),
    /// Methods by name, exact.
    Listed(Vec<String>),
}

/// Wait before a try.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackoffField {
    /// Before the first retry; 25ms where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Duration>,
    /// Upper bound of every wait, also of one that an answer asks for: if it asks for more, nothing
    /// is tried again. 250ms where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Duration>,
    /// How much of it is random; Full where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<JitterField>,
    /// No random wait is shorter; at most `base`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_min: Option<Duration>,
}

/// The random part of a wait.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum JitterField {
    /// None.
    None,
    /// Uniform between 0 and the wait.
    Full,
    /// Half the wait and a uniform part of the other half.
    Equal,
    /// Uniform between the base and three times the wait before, at most `max`.
    Decorrelated,
}

/// Limit on the share of retries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BudgetField {
    /// 0 to 100; 20 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// Allowed whatever the rate; 3 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_per_second: Option<u32>,
    /// Over which exchanges are counted; 10s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
}

/// Whether an answer's word on when to try again is heeded.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RetryAfter {
    /// It is: the next try waits so long, and none follows where the answer forbids it or asks for more
    /// than `backoff.max` or the time left.
    Respect,
    /// It is not.
    Ignore,
}

/// How an endpoint is chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancingSection {
    /// `PeakEwma` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<AlgorithmField>,
    /// What of the request picks the endpoint, with `RingHash` and `Maglev`, which need it: the first that is
    /// present; any endpoint where none is. At most 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8))]
    pub hash_on: Option<Vec<KeyField>>,
    /// How long a new endpoint gets less than its share: a tenth of it at first, then more with time. At most 1h;
    /// not with `RingHash` and `Maglev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Duration>,
    /// Which endpoints are preferred by where they are. Not with `RingHash` and `Maglev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<LocalitySection>,
}

/// How an endpoint is chosen.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum AlgorithmField {
    /// Two random choices, the one with less expected delay.
    PeakEwma,
    /// Two random choices, the one with fewer requests in flight.
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// Any, by weight.
    Random,
    /// By `hashOn` and a hash ring.
    RingHash,
    /// By `hashOn` and a Maglev table.
    Maglev,
}
