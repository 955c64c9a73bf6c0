//! What happens to a request: the answers that [`request`](super::request) may give.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::{Affinity, CorsField};
use crate::model::affinity::Stickiness;
use crate::model::fault::AbortAnswer;
use crate::model::mirror::Mirroring;
use crate::model::origin::{Origin, Sourced};
use crate::model::policy::{ExchangeTimeouts, RetryPolicy};
use crate::model::route::{DirectResponse, HeaderChanges};
use crate::name::Hostname;
use crate::snapshot::{BackendTable, RuleTable};

/// What happens to a request.
#[derive(Debug)]
pub enum Decision<'s> {
    /// It goes to a backend.
    Forward(Forward<'s>),
    /// It is answered here.
    Respond(Respond<'s>),
    /// It fails, as a policy injects it.
    Abort(Box<Abort<'s>>),
}

/// An injected failure.
#[derive(Debug)]
pub struct Abort<'s> {
    /// The rule that matched; `None` where the destination has no routes.
    pub rule: Option<&'s Arc<RuleTable>>,
    /// What is answered.
    pub answer: AbortAnswer,
    /// After which wait; it counts towards the request's timeout.
    pub delay: Option<Duration>,
    /// The field that lists it.
    pub origin: &'s Origin,
    /// By which the proxy may decide on the request anew instead; `None` where it may not.
    pub retry: Option<&'s RetryPolicy>,
    /// Timeouts in force.
    pub timeouts: &'s ExchangeTimeouts,
}

/// What is injected into a request that is forwarded all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// A wait before it goes on; it counts towards the request's timeout.
    pub delay: Option<Duration>,
    /// Bytes of the response's content per second.
    pub bandwidth: Option<u64>,
}

/// How a request is forwarded.
#[derive(Debug)]
pub struct Forward<'s> {
    /// The rule that matched; `None` where the destination has no routes.
    pub rule: Option<&'s Arc<RuleTable>>,
    /// The backend chosen.
    pub backend: &'s Arc<BackendTable>,
    /// What keeps its user, if anything does.
    pub stickiness: Option<&'s Sourced<Stickiness>>,
    /// What keeps it on an endpoint, and what the client is given for that.
    pub affinity: Affinity,
    /// Changes to the request's head: the rule's, then the backend's.
    pub request_headers: [&'s HeaderChanges; 2],
    /// Changes to the response's head: the backend's, then the rule's.
    pub response_headers: [&'s HeaderChanges; 2],
    /// The new path and query, where they change.
    pub target: Option<String>,
    /// The new Host, where it changes.
    pub host: Option<&'s Hostname>,
    /// Set where the rule has a CORS filter: what the response says, instead of the app's
    /// [`OF_APPS`](super::cors::OF_APPS).
    pub cors: Option<Vec<CorsField>>,
    /// Timeouts in force.
    pub timeouts: &'s ExchangeTimeouts,
    /// Retries in force.
    pub retry: &'s Sourced<RetryPolicy>,
    /// What a policy injects.
    pub injected: Injected,
    /// Copies to make.
    pub mirrors: Mirrors<'s>,
}

/// Copies of a request.
#[derive(Clone, Debug)]
pub struct Mirrors<'s> {
    /// Where they go; empty for most requests.
    pub backends: Vec<&'s Arc<BackendTable>>,
    /// How they are made.
    pub settings: &'s Mirroring,
}

impl Default for Mirrors<'_> {
    fn default() -> Self {
        Self {
            backends: Vec::new(),
            settings: &Mirroring::DEFAULT,
        }
    }
}

/// An answer the mesh makes itself.
#[derive(Debug)]
pub struct Respond<'s> {
    /// The rule that matched, if one did.
    pub rule: Option<&'s Arc<RuleTable>>,
    /// Its status.
    pub status: u16,
    /// The Location of a redirect.
    pub location: Option<String>,
    /// Its content, where a user wrote it.
    pub content: Option<&'s DirectResponse>,
    /// What it says to pages of other origins.
    pub cors: Vec<CorsField>,
    /// Changes to the response's head by the rule; applied to what a user asked for only.
    pub response_headers: Option<&'s HeaderChanges>,
    /// Why, for `mesh-error`, metrics and logs; `None` for what a user asked for (a redirect).
    pub refusal: Option<Refusal<'s>>,
}

impl<'s> Respond<'s> {
    /// An answer that a user asked for.
    pub(super) fn asked(rule: &'s Arc<RuleTable>, status: u16) -> Self {
        Self {
            rule: Some(rule),
            status,
            location: None,
            content: None,
            cors: Vec::new(),
            response_headers: Some(&rule.rule.response_headers),
            refusal: None,
        }
    }

    /// The answer of a refusal.
    pub(super) fn refused(rule: Option<&'s Arc<RuleTable>>, refusal: Refusal<'s>) -> Self {
        Self {
            rule,
            status: refusal.status(),
            location: None,
            content: None,
            cors: Vec::new(),
            response_headers: None,
            refusal: Some(refusal),
        }
    }
}

/// Why the mesh answers instead of the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal<'s> {
    /// The destination has routes and none matches: 404.
    NoRoute,
    /// The chosen backendRef does not resolve: 500 (Gateway API `BackendRefs`).
    BrokenBackend(Cow<'s, str>),
    /// The rule has no backend with a weight: 500.
    NoBackend,
    /// A filter of the rule does not resolve: 500 (Gateway API `HTTPRouteFilter`, `extensionRef`).
    BrokenFilter(Cow<'s, str>),
}

impl Refusal<'_> {
    /// The status that a caller of HTTP sees.
    pub fn status(&self) -> u16 {
        match self {
            Self::NoRoute => 404,
            Self::BrokenBackend(_) | Self::NoBackend | Self::BrokenFilter(_) => 500,
        }
    }

    /// The `reason` of `mesh-error`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::BrokenBackend(_) => "broken-backend",
            Self::NoBackend => "no-backend",
            Self::BrokenFilter(_) => "broken-filter",
        }
    }
}
