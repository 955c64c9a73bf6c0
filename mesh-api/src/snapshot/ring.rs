//! A hash ring: each endpoint has points on a circle, and a key belongs to the next point after it
//! (Karger et al., "Consistent Hashing and Random Trees", 1997).

use crate::model::backend::Endpoint;
use crate::snapshot::hash::xxh64;

/// Points of an endpoint with the weight 100. The share of an endpoint is off by about 1/√points: 3 %.
const POINTS: u64 = 1024;
/// The weight that has so many.
const WEIGHT: u64 = 100;
/// Most points of a ring that has fewer endpoints than that: 4 MiB.
const MAX_POINTS: u64 = 262_144;

/// A ring. It depends on nothing but the endpoints' addresses and weights.
#[derive(Debug, PartialEq, Eq)]
pub struct Ring {
    /// Where each point lies and whose it is, in the order of the circle.
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// The ring of these endpoints.
    ///
    /// Point *i* of an endpoint is the XXH64 of its address as text (`10.0.0.1:8080`, `[fd00::1]:8080`) with the
    /// seed *i*. Where there would be more than 262,144 points, each endpoint has half as many, and again: so its
    /// points depend on no other endpoint, except where the set as a whole crosses that bound.
    pub(super) fn new(endpoints: &[Endpoint]) -> Self {
        let count = |endpoint: &Endpoint| u64::from(endpoint.weight.max(1)) * POINTS / WEIGHT;
        let total: u64 = endpoints.iter().map(count).sum();
        let halvings = total.div_ceil(MAX_POINTS).max(1).next_power_of_two();
        let mut points = Vec::new();
        for (index, endpoint) in (0_u32..).zip(endpoints) {
            let address = endpoint.address.to_string();
            let each = (count(endpoint) / halvings).max(1);
            points.extend((0..each).map(|seed| (xxh64(seed, address.as_bytes()), index)));
        }
        points.sort_unstable();
        Self { points }
    }

    /// How many points it has.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The places of endpoints in the order in which `key` asks for them, each as often as it has points.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = self.points.partition_point(|(point, _)| *point < key);
        let (before, after) = self.points.split_at(start);
        let places = after.iter().chain(before);
        places.filter_map(|(_, index)| usize::try_from(*index).ok())
    }
}
