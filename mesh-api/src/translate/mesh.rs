//! Mesh-wide facts.

use crate::model::mesh::MeshFacts;
use crate::name::{Hostname, TrustDomain};
use crate::translate::index::Index;

/// The facts. Ranges are those the Mesh names: addresses of Services and workloads outside them are
/// known through their destinations, and a mesh on one machine has no range of its own.
pub(super) fn facts(index: &Index) -> MeshFacts {
    let mesh = &index.mesh;
    MeshFacts {
        trust_domain: mesh
            .trust_domain
            .clone()
            .or_else(|| index.trust_domain.clone())
            .unwrap_or_else(default_trust_domain),
        trust_domain_aliases: Vec::new(),
        cluster_domain: mesh
            .cluster_domain
            .clone()
            .unwrap_or_else(default_cluster_domain),
        ranges: mesh.ranges.clone(),
        unknown_destinations: mesh.unknown_destinations,
    }
}

#[expect(clippy::expect_used, reason = "the text is a trust domain")]
fn default_trust_domain() -> TrustDomain {
    "cluster.local"
        .parse()
        .expect("cluster.local is a trust domain")
}

#[expect(clippy::expect_used, reason = "the text is a host name")]
fn default_cluster_domain() -> Hostname {
    "cluster.local"
        .parse()
        .expect("cluster.local is a host name")
}
