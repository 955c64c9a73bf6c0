//! A destination: a Service's port as one consumer namespace sees it, with its closure.

use std::net::IpAddr;

use crate::model::affinity::Stickiness;
use crate::model::backend::Backend;
use crate::model::connection::ConnectionRoute;
use crate::model::fault::Fault;
use crate::model::origin::Sourced;
use crate::model::policy::{ExchangeTimeouts, RetryPolicy};
use crate::model::route::Route;
use crate::name::{DestinationName, Namespace};

/// What a proxy needs to carry traffic for one destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// The Service and port.
    pub name: DestinationName,
    /// The namespace it is seen from.
    pub consumer: Namespace,
    /// What the app speaks.
    pub protocol: Protocol,
    /// Its virtual IPs.
    pub addresses: Vec<IpAddr>,
    /// Routes of requests in force for this consumer, any order; none: everything goes to `backends[0]`.
    pub routes: Vec<Route>,
    /// Routes of whole connections in force for this consumer, any order; they decide where `routes`
    /// do not: on bytes that the mesh does not read as HTTP.
    pub connection_routes: Vec<ConnectionRoute>,
    /// Every backend the routes name. The first is the destination's own.
    pub backends: Vec<Backend>,
    /// Timeouts where no rule says otherwise.
    pub timeouts: ExchangeTimeouts,
    /// Retries where no rule says otherwise.
    pub retry: Sourced<RetryPolicy>,
    /// Lists of injected faults, each once; none is empty.
    pub faults: Vec<Sourced<Vec<Fault>>>,
    /// Which of them is in force where no rule decides; `None` injects nothing.
    pub own_faults: Option<u32>,
    /// What keeps a user on an endpoint where no rule says otherwise.
    pub stickiness: Option<Sourced<Stickiness>>,
}

/// What is spoken on a port (`appProtocol`, then port-name prefixes, then detection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC.
    Grpc,
    /// TLS that the mesh does not open.
    Tls,
    /// Bytes.
    Tcp,
    /// Not declared: told by the first bytes.
    Detect,
}

impl Protocol {
    /// True if it is declared to be HTTP, of whatever version.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }

    /// True unless it is declared to be something else than HTTP.
    pub fn may_be_http(self) -> bool {
        self.is_http() || self == Self::Detect
    }

    /// As `appProtocol` names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
            Self::Detect => "detect",
        }
    }
}
