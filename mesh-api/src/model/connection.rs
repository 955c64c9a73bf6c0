//! Routes of whole connections as checked rules (Gateway API 1.6 `TCPRoute` and `TLSRoute`, Service
//! parents).

use crate::model::origin::Sourced;
use crate::model::policy::RetryPolicy;
use crate::model::route::Target;
use crate::name::{Hostname, Name, ObjectName};

/// A route of a destination's connections. The Gateway API gives each exactly one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionRoute {
    /// Which kind the user wrote.
    pub kind: ConnectionRouteKind,
    /// The route.
    pub name: ObjectName,
    /// When it was created, seconds since the epoch: the older of two equal matches wins.
    pub created: i64,
    /// Server names of a ClientHello that it takes, `*.` as a suffix; empty for a TCPRoute, which
    /// takes every connection.
    pub hostnames: Vec<Hostname>,
    /// Its rule.
    pub rule: ConnectionRule,
}

/// The kind of a connection's route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionRouteKind {
    /// By server name, without opening TLS.
    Tls,
    /// Every connection.
    Tcp,
}

impl ConnectionRouteKind {
    /// As `kind` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
        }
    }
}

/// The rule of a connection's route: `spec.rules[0]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionRule {
    /// `spec.rules[0].name`.
    pub name: Option<Name>,
    /// Where connections go, by weight; all weights 0 refuses them.
    pub backends: Vec<ConnectionBackend>,
    /// How often another endpoint is tried where one does not take the connection.
    pub retry: Sourced<RetryPolicy>,
}

/// A weighted target of a connection's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionBackend {
    /// Its share among the rule's weights (Gateway API: 0 to 1,000,000).
    pub weight: u32,
    /// Where the connection goes.
    pub target: Target,
}
