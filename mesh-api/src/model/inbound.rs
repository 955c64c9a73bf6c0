//! What a workload accepts: one inbound entry per workload.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::model::authorization::Authorization;
use crate::model::destination::Protocol;
use crate::model::narrowing::Labels;
use crate::model::origin::Sourced;
use crate::model::policy::MutualTls;
use crate::model::ratelimit::{RateLimiting, ReceivedRoutes};
use crate::name::{Identity, ObjectName, Port};

/// The receiving side of one workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Inbound {
    /// The workload.
    pub workload: ObjectName,
    /// Who it is.
    pub identity: Identity,
    /// What it carries, by which routes and faults tell callers apart.
    pub labels: Labels,
    /// Its addresses, the first before others; tunnels to any other are refused.
    pub addresses: Vec<IpAddr>,
    /// Where its tunnel listens.
    pub tunnel_port: Port,
    /// Its ports, sorted.
    pub ports: Vec<InboundPort>,
    /// Whether plaintext is accepted on ports that are not listed; `None`: they are refused.
    pub unlisted: Option<Sourced<MutualTls>>,
    /// Who may call it, by policy.
    pub authorizations: Vec<Authorization>,
    /// How much of it is taken, by policy.
    pub rate_limits: Vec<RateLimiting>,
    /// The routes that those policies name rules of.
    pub received_routes: Vec<ReceivedRoutes>,
}

impl Inbound {
    /// What it accepts on `port`, if anything. The proxy's own ports are never the app's.
    pub fn port(&self, port: Port) -> Option<Cow<'_, InboundPort>> {
        if let Some(listed) = self.ports.iter().find(|listed| listed.port == port) {
            return Some(Cow::Borrowed(listed));
        }
        let is_own = port == self.tunnel_port || PROXY_PORTS.contains(&port.number());
        let mutual_tls = self.unlisted.clone().filter(|_| !is_own)?;
        Some(Cow::Owned(InboundPort {
            port,
            protocol: Protocol::Detect,
            mutual_tls,
            has_http_policy: self.rate_limits.iter().any(|one| one.reads_requests(port)),
            services: Vec::new(),
        }))
    }
}

/// Where a proxy beside an app listens: capture, forward proxy, redirect check, tunnel, metrics, DNS.
const PROXY_PORTS: [u16; 7] = [15001, 15002, 15003, 15006, 15008, 15020, 15053];

/// One port of a workload.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundPort {
    /// The app's port.
    pub port: Port,
    /// What the app speaks.
    pub protocol: Protocol,
    /// Whether plaintext is accepted.
    pub mutual_tls: Sourced<MutualTls>,
    /// A policy reads the requests to this port: bytes that are not its protocol are refused, and a
    /// sender's hint that they are opaque counts for nothing.
    pub has_http_policy: bool,
    /// Services that send here, sorted; the first labels metrics.
    pub services: Vec<ObjectName>,
}
