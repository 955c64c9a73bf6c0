//! Where workloads run, and which places callers prefer.

use std::collections::BTreeMap;
use std::fmt;

/// The label of a workload with its region, as Kubernetes writes it on nodes and, from 1.35 on, on pods.
pub const REGION_LABEL: &str = "topology.kubernetes.io/region";
/// The same of its zone.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// Longest name of a region or a zone, in bytes: that of a label's value.
pub const MAX_PLACE: usize = 63;

/// Where a workload runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Locality {
    /// Empty where it is not known.
    pub region: String,
    /// Of the region; empty where it is not known.
    pub zone: String,
}

/// A region, or a zone of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Area {
    /// The region.
    pub region: String,
    /// The zone; `None`: all of the region.
    pub zone: Option<String>,
}

/// Which endpoints a caller prefers by where they are. At least one part is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalityPreference {
    /// The nearest first: of the same zone, of the same region, of regions by `failover`, then all others.
    pub prefer_local: bool,
    /// Which regions come next, the first before others.
    pub failover: Vec<Failover>,
    /// Fixed shares, for callers in some places; these beat `prefer_local`.
    pub weights: Vec<Distribution>,
}

/// Where callers of a region go when theirs fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// The callers' region.
    pub from: String,
    /// Where they go.
    pub to: String,
}

/// The shares that callers of a place give to places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Where the callers are.
    pub from: Area,
    /// Places and their shares, which are above 0.
    pub to: Vec<(Area, u32)>,
}

impl Locality {
    /// That of a workload with these labels, if they tell any.
    pub fn of_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        let place = |name: &str| {
            let named = labels.get(name).filter(|value| value.len() <= MAX_PLACE);
            named.cloned().unwrap_or_default()
        };
        let found = Self {
            region: place(REGION_LABEL),
            zone: place(ZONE_LABEL),
        };
        (!found.region.is_empty() || !found.zone.is_empty()).then_some(found)
    }

    /// Whether both are known to be in one region.
    pub fn shares_region(&self, other: &Self) -> bool {
        !self.region.is_empty() && self.region == other.region
    }

    /// Whether both are in one zone. Zones of a name are one where a region is not known.
    pub fn shares_zone(&self, other: &Self) -> bool {
        let may_share = self.region.is_empty() || other.region.is_empty();
        !self.zone.is_empty()
            && self.zone == other.zone
            && (may_share || self.region == other.region)
    }
}

impl Area {
    /// Whether a locality is within.
    pub fn holds(&self, locality: &Locality) -> bool {
        self.region == locality.region && self.zone.as_ref().is_none_or(|z| *z == locality.zone)
    }
}

/// `region/zone`, with `?` for a region that is not known.
impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = if self.region.is_empty() {
            "?"
        } else {
            &self.region
        };
        f.write_str(region)?;
        if self.zone.is_empty() {
            return Ok(());
        }
        write!(f, "/{}", self.zone)
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.region)?;
        self.zone
            .as_ref()
            .map_or(Ok(()), |zone| write!(f, "/{zone}"))
    }
}

impl fmt::Display for LocalityPreference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for Distribution { from, to } in &self.weights {
            let shares = to.iter().map(|(area, weight)| format!("{area} {weight}"));
            let shares: Vec<_> = shares.collect();
            parts.push(format!("from {from}: {}", shares.join(", ")));
        }
        if self.prefer_local {
            parts.push("zone, region, others".to_owned());
        }
        for Failover { from, to } in &self.failover {
            parts.push(format!("{from} fails over to {to}"));
        }
        f.write_str(&parts.join("; "))
    }
}
