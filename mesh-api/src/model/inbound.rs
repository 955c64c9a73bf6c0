//! What a workload accepts: one inbound entry per workload.

use std::net::IpAddr;

use crate::model::destination::Protocol;
use crate::model::origin::Sourced;
use crate::model::policy::MutualTls;
use crate::name::{Identity, ObjectName, Port};

/// The receiving side of one workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Inbound {
    /// The workload.
    pub workload: ObjectName,
    /// Who it is.
    pub identity: Identity,
    /// Its addresses, the first before others; tunnels to any other are refused.
    pub addresses: Vec<IpAddr>,
    /// Where its tunnel listens.
    pub tunnel_port: Port,
    /// Its ports, sorted. A port not listed is refused.
    pub ports: Vec<InboundPort>,
}

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
