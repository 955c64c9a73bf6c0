//! `RateLimitPolicy`: how many requests and connections a workload takes in a time.
//!
//! The schema is whole; limits that several instances share do not work yet and are refused by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::affinity::CallerField;
use crate::resource::duration::Duration;
use crate::resource::fault::FaultMatchField;
use crate::resource::object::{Object, TargetRef, WorkloadSelector};

/// How much a workload takes. All policies that apply are evaluated: a request passes if every limit that
/// it meets lets it.
pub type RateLimitPolicy = Object<RateLimitPolicySpec>;

/// One of `selector` and `targetRefs`; at least one of `limits` and `connections`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.selector) != (has(self.targetRefs) && size(self.targetRefs) > 0)",
        "message": "sets one of selector and targetRefs",
    },
    {
        "rule": "(has(self.limits) && size(self.limits) > 0) || has(self.connections)",
        "message": "has neither limits nor connections",
    },
]))]
pub struct RateLimitPolicySpec {
    /// The policy's own Namespace, or its Services and routes of requests (`HTTPRoute`, `GRPCRoute`); with
    /// `sectionName` a port or a rule of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub target_refs: Vec<TargetRef>,
    /// Workloads of the policy's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// On requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub limits: Vec<RateLimitField>,
    /// On connections; not for a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<ConnectionRateField>,
}

/// A limit on requests: a bucket of `burst` that `requests` per `per` flow back into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimitField {
    /// Its name in answers and metrics: lower case letters, digits and `-`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// How many, 1 to 1,000,000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: i64,
    /// In which time, 1ms to 24h. Over 1,000,000 a second are refused.
    pub per: Duration,
    /// How many may come at once after a pause, 1 to 1,000,000; as `requests` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<i64>,
    /// What has a bucket of its own: all of these together; one bucket for all where absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub by: Vec<RateKeyField>,
    /// Any of these requests, at most 16; all where absent. `sourceWorkloads` is not known to a receiver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub r#match: Vec<FaultMatchField>,
    /// Where it is counted; Local where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<RateScope>,
    /// What is answered over the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exceeded: Option<ExceededField>,
    /// What becomes of requests while a Global count cannot be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unavailable: Option<Unavailable>,
}

/// A part of the key; one member is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateKeyField {
    /// The identity of the calling workload; callers in the clear share a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<CallerField>,
    /// The value of this header field; requests without it share a bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A claim of the request's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The address of the caller's connection: of each instance of a calling workload.
    #[serde(default, rename = "sourceIP", skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<CallerField>,
}

/// Where a limit is counted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RateScope {
    /// In each instance by itself, exact whatever the number of its workers.
    Local,
    /// In all instances together.
    Global,
}

/// What becomes of requests while a Global count cannot be asked.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Unavailable {
    /// They pass.
    Allow,
    /// They are refused.
    Deny,
}

/// An answer over the limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExceededField {
    /// Its status, 400 to 599; 429 where absent. A gRPC call gets `RESOURCE_EXHAUSTED` whatever it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<i64>,
}

/// How many connections are taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionRateField {
    /// In a second, and at once after a pause: 1 to 1,000,000. A tunnel's stream is a connection too.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_second: i64,
}
