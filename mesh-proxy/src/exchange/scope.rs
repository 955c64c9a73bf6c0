//! Whose exchange it is, and what is known of a peer's call before it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_api::model::destination::Protocol;
use mesh_api::model::inbound::Inbound;
use mesh_api::name::{DestinationName, Identity, Port};
use mesh_api::snapshot::BackendTable;

use crate::context::{Context, plain_backend};
use crate::telemetry::Direction;

/// Whose exchange it is.
pub enum Scope {
    /// The local workload calls this destination.
    Calling(DestinationName),
    /// The local workload calls the host that each request names.
    ForwardProxy,
    /// A peer calls the local workload.
    Receiving(Receiving),
}

/// A peer's call to the local workload.
pub struct Receiving {
    /// The workload's entry, as of the connection's start.
    pub entry: Arc<Inbound>,
    /// Which port.
    pub port: Port,
    /// What the app says it speaks there.
    pub protocol: Protocol,
    /// The app, as a backend of one endpoint.
    pub backend: Arc<BackendTable>,
    /// The peer, if it proved who it is.
    pub peer: Option<Identity>,
    /// Where its connection is from.
    pub address: IpAddr,
}

impl Receiving {
    /// A call to `port` of the workload of `entry`, that was dialled at `own`, one of its addresses.
    pub fn new(
        context: &Context,
        entry: &Arc<Inbound>,
        (own, port): (IpAddr, Port),
        (peer, address): (Option<Identity>, IpAddr),
    ) -> Self {
        let app = SocketAddr::new(context.shared.bootstrap.app_at(own), port.number());
        let services = entry.ports.iter().find(|known| known.port == port);
        let protocol = services.map_or(Protocol::Detect, |known| known.protocol);
        let service = services.and_then(|known| known.services.first());
        let name = DestinationName::new(service.unwrap_or(&entry.workload).clone(), port);
        Self {
            entry: Arc::clone(entry),
            port,
            protocol,
            backend: plain_backend(name, [app]),
            peer,
            address,
        }
    }
}

impl Receiving {
    /// True if a policy reads the requests to its port.
    pub fn has_http_policy(&self) -> bool {
        let known = self.entry.port(self.port);
        known.is_some_and(|known| known.has_http_policy)
    }
}

impl Scope {
    /// Which way it goes, seen from the local workload.
    pub(super) fn direction(&self) -> Direction {
        match self {
            Self::Calling(_) | Self::ForwardProxy => Direction::Outbound,
            Self::Receiving(_) => Direction::Inbound,
        }
    }

    pub(super) fn peer(&self) -> Option<&Identity> {
        match self {
            Self::Receiving(receiving) => receiving.peer.as_ref(),
            Self::Calling(_) | Self::ForwardProxy => None,
        }
    }

    /// `outbound` or `inbound`, the origin of `mesh-error`.
    pub fn origin(&self) -> &'static str {
        self.direction().as_str()
    }
}
