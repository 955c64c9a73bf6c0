//! A Maglev table: each endpoint fills slots in an order of its own, in turns (Eisenbud et al., "Maglev: A Fast
//! and Reliable Software Network Load Balancer", NSDI 2016, section 3.4).

use crate::model::backend::Endpoint;
use crate::snapshot::hash::xxh64;

/// Slots of a table, a prime as the paper asks: an endpoint's share is off by at most 1 % while there are a
/// hundred times as many slots as endpoints.
const SLOTS: usize = 65_537;
/// Slots for more endpoints than that.
const MANY_SLOTS: usize = 655_373;
/// Slots for each endpoint.
const SLOTS_EACH: usize = 100;
/// No endpoint fills the slot yet.
const FREE: u32 = u32::MAX;

/// A table. It depends on nothing but the endpoints' addresses and weights.
#[derive(Debug, PartialEq, Eq)]
pub struct Maglev {
    slots: Vec<u32>,
}

/// One endpoint's order: `(offset + n × skip) mod slots`.
struct Order {
    next: usize,
    skip: usize,
    weight: u64,
    /// The weight that it filled no slots for yet.
    owed: u64,
}

impl Maglev {
    /// The table of these endpoints: 65,537 slots, or 655,373 for more than 655 endpoints.
    ///
    /// The offset is XXH64 of the address as text with the seed 0, the skip that with the seed 1. In each turn an
    /// endpoint fills as many slots as its weight is times the mean, the rest counting for the next turn.
    pub(super) fn new(endpoints: &[Endpoint]) -> Self {
        if endpoints.is_empty() {
            return Self { slots: Vec::new() };
        }
        let count = if endpoints.len() * SLOTS_EACH <= SLOTS {
            SLOTS
        } else {
            MANY_SLOTS
        };
        let weights = endpoints.iter().map(|endpoint| endpoint.weight.max(1));
        let total: u64 = weights.map(u64::from).sum();
        let mean = total.div_ceil(endpoints.len() as u64);
        let mut orders: Vec<_> = endpoints.iter().map(|one| Order::new(one, count)).collect();
        let mut slots = vec![FREE; count];
        let mut left = count;
        while left > 0 {
            for (index, order) in (0_u32..).zip(&mut orders) {
                order.owed += order.weight;
                while left > 0
                    && order.owed >= mean
                    && let Some(free) = order.find(&slots)
                {
                    order.owed -= mean;
                    slots[free] = index;
                    left -= 1;
                }
            }
        }
        Self { slots }
    }

    /// How many slots it has.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The places of endpoints in the order in which `key` asks for them, each as often as it has slots.
    pub(super) fn walk(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = key % (self.slots.len() as u64).max(1);
        let start = usize::try_from(start).unwrap_or_default();
        let (before, after) = self.slots.split_at(start.min(self.slots.len()));
        let places = after.iter().chain(before);
        places.filter_map(|index| usize::try_from(*index).ok())
    }
}

impl Order {
    fn new(endpoint: &Endpoint, slots: usize) -> Self {
        let address = endpoint.address.to_string();
        let below = |bound: usize, seed| {
            let place = xxh64(seed, address.as_bytes()) % bound as u64;
            usize::try_from(place).unwrap_or_default()
        };
        Self {
            next: below(slots, 0),
            skip: below(slots - 1, 1) + 1,
            weight: endpoint.weight.max(1).into(),
            owed: 0,
        }
    }

    /// The first free slot in its order. The number of slots is a prime, so the order visits each once.
    fn find(&mut self, slots: &[u32]) -> Option<usize> {
        for _ in 0..slots.len() {
            let slot = self.next;
            self.next = (slot + self.skip) % slots.len();
            if slots.get(slot) == Some(&FREE) {
                return Some(slot);
            }
        }
        None
    }
}
