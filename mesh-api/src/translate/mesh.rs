//! Mesh-wide facts.

use ipnet::IpNet;

use crate::model::mesh::MeshFacts;
use crate::name::{Hostname, TrustDomain};
use crate::translate::index::Index;

/// Most ranges that a proxy takes.
pub(super) const MAX_RANGES: usize = 4096;

/// The facts. Ranges are those that the Mesh and the control plane name, and every virtual IP and
/// meshed pod's address that is in none of them: what is dialled there waits for the control plane's
/// answer, and never leaves in the clear.
pub(super) fn facts(index: &Index) -> MeshFacts {
    let mesh = &index.mesh;
    MeshFacts {
        trust_domain: trust_domain(index),
        trust_domain_aliases: Vec::new(),
        cluster_domain: mesh
            .cluster_domain
            .clone()
            .or_else(|| index.cluster_domain.clone())
            .unwrap_or_else(default_cluster_domain),
        ranges: ranges(index),
        unknown_destinations: mesh.unknown_destinations,
    }
}

/// The root of trust in force.
pub(super) fn trust_domain(index: &Index) -> TrustDomain {
    let named = index.mesh.trust_domain.clone();
    named
        .or_else(|| index.trust_domain.clone())
        .unwrap_or_else(default_trust_domain)
}

fn ranges(index: &Index) -> Vec<IpNet> {
    let services = index.services.all();
    let services = services.flat_map(|(_, dated)| &dated.value.addresses);
    let pods = index.pods.all().map(|(_, dated)| &dated.value.workload);
    let pods = pods.filter(|pod| pod.tunnel_port.is_some());
    let addresses = services.chain(pods.flat_map(|pod| &pod.addresses));
    let outside = addresses.filter(|address| !index.is_in_ranges(**address));
    let single: Vec<IpNet> = outside.map(|address| IpNet::from(*address)).collect();
    let mut ranges = index.mesh.ranges.clone();
    for range in &index.ranges {
        if !ranges.contains(range) {
            ranges.push(*range);
        }
    }
    let left = MAX_RANGES.saturating_sub(ranges.len());
    ranges.extend(fit(&single, left));
    ranges
}

/// At most `most` ranges that hold all of `single`: wider than need be rather than one too few, since
/// an address that is wrongly held fails with a reason.
fn fit(single: &[IpNet], most: usize) -> Vec<IpNet> {
    let mut ranges = IpNet::aggregate(&single.to_vec());
    while ranges.len() > most.max(2) {
        let wider = ranges
            .iter()
            .map(|range| range.supernet().unwrap_or(*range));
        ranges = IpNet::aggregate(&wider.collect());
    }
    ranges
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_addresses_fit_in_few_ranges() {
        let single: Vec<IpNet> = (0..=255u8)
            .map(|last| format!("10.0.{}.{last}/32", last % 7).parse().unwrap())
            .chain(["fd00::1/128".parse().unwrap()])
            .collect();
        for most in [300, 64, 8, 2] {
            let ranges = fit(&single, most);
            assert!(ranges.len() <= most, "{} of {most}", ranges.len());
            for address in &single {
                assert!(ranges.iter().any(|range| range.contains(address)));
            }
        }
        assert!(fit(&[], 0).is_empty());
    }
}
