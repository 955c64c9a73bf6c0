//! Limits of the receiving side with the expressions of their matches compiled.

use std::sync::Arc;

use crate::error::Faults;
use crate::model::inbound::Inbound;
use crate::model::ratelimit::{RateLimit, RateLimiting};
use crate::name::ObjectName;
use crate::snapshot::routing::{Expressions, RoutingTable};

/// The limits of a workload, ready for look-ups.
#[derive(Debug)]
pub struct RateLimitTable {
    /// Every policy that applies.
    pub policies: Vec<RateLimiting>,
    /// Every limit on requests, in the order of policies and as written.
    pub limits: Vec<LimitTable>,
    /// Routes by which requests are told apart, as the entry lists them.
    pub routings: Vec<ReceivedTable>,
}

/// A limit on requests.
#[derive(Debug)]
pub struct LimitTable {
    /// The place of its policy.
    pub policy: usize,
    /// The policy's name.
    pub name: ObjectName,
    /// The limit.
    pub limit: RateLimit,
    /// The expressions of each of its matches.
    pub expressions: Vec<Expressions>,
}

/// Routes of a Service's port.
#[derive(Debug)]
pub struct ReceivedTable {
    /// The Service's port.
    pub port: u16,
    /// Its routes.
    pub routing: RoutingTable,
}

impl RateLimitTable {
    /// Compiles the limits of `inbound`; `None` where it has none, or a fault was recorded.
    pub fn compile(inbound: &Inbound, faults: &mut Faults) -> Option<Arc<Self>> {
        if inbound.rate_limits.is_empty() {
            return None;
        }
        let mut limits = Vec::new();
        for (policy, limiting) in inbound.rate_limits.iter().enumerate() {
            for limit in &limiting.limits {
                let matches = limit.matches.iter();
                let each = matches.map(|one| Expressions::compile(&one.conditions, faults));
                limits.push(LimitTable {
                    policy,
                    name: limiting.policy.clone(),
                    limit: limit.clone(),
                    expressions: each.collect::<Option<_>>()?,
                });
            }
        }
        let received = inbound.received_routes.iter();
        let routings = received.map(|received| {
            Some(ReceivedTable {
                port: received.destination.port.number(),
                routing: RoutingTable::compile(received.routes.clone(), faults)?,
            })
        });
        Some(Arc::new(Self {
            routings: routings.collect::<Option<_>>()?,
            policies: inbound.rate_limits.clone(),
            limits,
        }))
    }
}
