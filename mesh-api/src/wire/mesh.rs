//! The mesh's facts.

use crate::error::Faults;
use crate::model::mesh::{MeshFacts, UnknownDestinations};
use crate::wire::generated as wire;
use crate::wire::read;

pub(super) fn write(from: &MeshFacts) -> wire::MeshFacts {
    wire::MeshFacts {
        trust_domain: from.trust_domain.to_string(),
        trust_domain_aliases: from
            .trust_domain_aliases
            .iter()
            .map(ToString::to_string)
            .collect(),
        cluster_domain: from.cluster_domain.to_string(),
        ranges: from.ranges.iter().map(ToString::to_string).collect(),
        deny_unknown_destinations: from.unknown_destinations == UnknownDestinations::Deny,
    }
}

pub(super) fn read(from: &wire::MeshFacts, faults: &mut Faults) -> Option<MeshFacts> {
    let trust_domain = read::text("trustDomain", &from.trust_domain, faults);
    let aliases = &from.trust_domain_aliases;
    let aliases = read::list(
        "trustDomainAliases",
        aliases,
        MAX_ALIASES,
        faults,
        |text, f| f.take(text.parse()),
    );
    let cluster_domain = read::text("clusterDomain", &from.cluster_domain, faults);
    let ranges = read::list("ranges", &from.ranges, MAX_RANGES, faults, |text, f| {
        f.take(text.parse())
    });
    Some(MeshFacts {
        trust_domain: trust_domain?,
        trust_domain_aliases: aliases?,
        cluster_domain: cluster_domain?,
        ranges: ranges?,
        unknown_destinations: if from.deny_unknown_destinations {
            UnknownDestinations::Deny
        } else {
            UnknownDestinations::Allow
        },
    })
}

const MAX_ALIASES: usize = 64;
const MAX_RANGES: usize = 4096;
