//! Backends and their endpoints.

use std::net::{IpAddr, SocketAddr};

use crate::model::destination::Protocol;
use crate::model::locality::Locality;
use crate::model::policy::BackendSettings;
use crate::name::{DestinationName, Identity, ObjectName, Port};

/// A Service's port as a target of routes, with its endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The Service and port.
    pub name: DestinationName,
    /// What its app speaks: that of its own port, which may differ from the destination's.
    pub protocol: Protocol,
    /// How its endpoints are reached.
    pub settings: BackendSettings,
    /// Where it runs, sorted by address.
    pub endpoints: Vec<Endpoint>,
}

/// One address of a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// The app's address as peers see it.
    pub address: SocketAddr,
    /// The workload behind it, `namespace/name`; empty for an address without one.
    pub workload: Option<ObjectName>,
    /// How it is reached.
    pub transport: Transport,
    /// Relative share among the endpoints, 1 to 10,000; 100 by default.
    pub weight: u32,
    /// Its lease ran out while too many others did: kept, but not trusted.
    pub stale: bool,
    /// Where it runs, if that is known.
    pub locality: Option<Locality>,
}

/// How an endpoint is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// An HBONE tunnel to this identity.
    Hbone {
        /// The identity its certificate must carry.
        identity: Identity,
        /// The tunnel's port at the endpoint's address.
        port: Port,
    },
    /// Plain TCP: the endpoint is outside the mesh.
    Plain,
}

impl Endpoint {
    /// The address of its tunnel, if it has one.
    pub fn tunnel_address(&self) -> Option<SocketAddr> {
        match &self.transport {
            Transport::Hbone { port, .. } => Some(SocketAddr::new(self.ip(), port.number())),
            Transport::Plain => None,
        }
    }

    /// Its IP address.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}
