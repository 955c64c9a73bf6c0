//! What every proxy always holds: the mesh's own ranges and names.

use ipnet::IpNet;

use crate::name::{Hostname, TrustDomain};

/// Mesh-wide facts.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshFacts {
    /// The root of trust of every identity here.
    pub trust_domain: TrustDomain,
    /// Names it was or will be known by.
    pub trust_domain_aliases: Vec<TrustDomain>,
    /// The suffix of service names, `cluster.local`.
    pub cluster_domain: Hostname,
    /// Addresses that belong to the mesh: inside them, no answer means hold, then refuse.
    pub ranges: Vec<IpNet>,
    /// What happens to calls to names and addresses outside the mesh.
    pub unknown_destinations: UnknownDestinations,
}

/// Calls to what the mesh does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UnknownDestinations {
    /// Pass them on as they are.
    #[default]
    Allow,
    /// Refuse them.
    Deny,
}
