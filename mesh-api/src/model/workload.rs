//! A running instance that Services may select.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::name::{Identity, Name, ObjectName, Port};

/// A checked `Workload` or `Pod`.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// `namespace/name`.
    pub name: ObjectName,
    /// Services select it by these.
    pub labels: BTreeMap<String, String>,
    /// Where peers reach it, the first before others; none while it has none yet, or has no longer.
    pub addresses: Vec<IpAddr>,
    /// The app's ports by the Service's port name: they beat what the Service says.
    pub ports: BTreeMap<String, Port>,
    /// The app's ports as its containers declare them.
    pub container_ports: Vec<ContainerPort>,
    /// Its service account, `default` if none is given.
    pub service_account: Name,
    /// Where its tunnel listens; `None` for a workload outside the mesh.
    pub tunnel_port: Option<Port>,
    /// Relative share, 1 to 10,000.
    pub weight: u32,
}

/// A port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// As a Service's `targetPort` names it; empty if it has no name.
    pub name: String,
    /// Its number.
    pub port: Port,
}

impl Workload {
    /// Its identity in `trust_domain`.
    pub fn identity(&self, trust_domain: &crate::name::TrustDomain) -> Identity {
        Identity {
            trust_domain: trust_domain.clone(),
            namespace: self.name.namespace.clone(),
            service_account: self.service_account.clone(),
        }
    }
}
