//! Locality: endpoints in tiers, by where they are as one caller sees it.
//!
//! By nearness the first tier has all of the share while enough of it is well. A tier of which less than 1/1.4 are
//! well takes 1.4 times the part that is, and the next ones the rest: what is left can carry 40 % more than its own,
//! and no more is asked of it (the factor and the rule are those of Envoy's priority levels). By weight each
//! place has its share as long as any of it is well. Well is what is neither stale, failed nor ejected, whoever found that:
//! nothing else has to be configured. Where no endpoint is well, all are picked from as if there were no tiers.
//!
//! Tiers are made when endpoints change and shares looked at now and then; a pick draws a tier, then an endpoint of it.

use crate::decide::Random;
use crate::decide::balance::{Candidate, Choice, Members, Standing, Weights, choose};
use crate::model::backend::Endpoint;
use crate::model::locality::{Area, Distribution, Failover, Locality, LocalityPreference};

/// What a tier can carry, in percent of what it has when all of it is well.
const OVERPROVISIONING: u64 = 140;
/// All of the share.
const WHOLE: u64 = 10_000;

/// How near an endpoint is to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Near {
    /// In the same zone.
    Zone,
    /// In the same region.
    Region,
    /// In a region that the caller's fails over to.
    Failover,
    /// Elsewhere, or nobody knows where.
    Other,
}

impl Near {
    /// All, the nearest first.
    pub const ALL: [Self; 4] = [Self::Zone, Self::Region, Self::Failover, Self::Other];

    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Region => "region",
            Self::Failover => "failover",
            Self::Other => "other",
        }
    }
}

/// The endpoints of a backend in tiers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers {
    tiers: Vec<Tier>,
    /// How near each endpoint is.
    near: Vec<Near>,
}

/// Endpoints that are alike to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tier {
    /// Their places in the backend.
    places: Vec<usize>,
    weights: Weights,
    /// A fixed share; `None`: what those before leave.
    share: Option<u32>,
}

/// The share of each tier, as it was when endpoints were last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// Of those up to each, itself included; empty where nothing is well.
    sums: Vec<u64>,
}

impl Tiers {
    /// The tiers that a caller at `own` sees; `None` where none of its wishes is about that place.
    pub fn new(
        own: &Locality,
        preference: &LocalityPreference,
        endpoints: &[Endpoint],
    ) -> Option<Self> {
        let regions: Vec<&str> = preference
            .failover
            .iter()
            .filter(|Failover { from, .. }| *from == own.region)
            .map(|failover| failover.to.as_str())
            .collect();
        let levels: Vec<Level> = endpoints
            .iter()
            .map(|endpoint| Level::of(own, endpoint.locality.as_ref(), &regions))
            .collect();
        let tiers = match distribution(own, &preference.weights) {
            Some(distribution) => by_weight(distribution, endpoints),
            None if preference.prefer_local => by_nearness(&levels, endpoints),
            None => return None,
        };
        let near = levels.into_iter().map(|level| level.near).collect();
        Some(Self { tiers, near })
    }

    /// How near an endpoint is.
    pub fn near(&self, place: usize) -> Near {
        self.near.get(place).copied().unwrap_or(Near::Other)
    }

    /// The shares while these endpoints are well.
    pub fn shares(&self, is_well: impl Fn(usize) -> bool) -> Shares {
        let part = |tier: &Tier| {
            let well = tier.places.iter().filter(|place| is_well(**place));
            part(well.count() as u64, tier.places.len() as u64)
        };
        let parts: Vec<u64> = self.tiers.iter().map(part).collect();
        let total: u64 = parts.iter().sum();
        let mut left = WHOLE;
        let mut sum = 0;
        let each = self.tiers.iter().zip(parts).map(|(tier, part)| {
            sum += if let Some(share) = tier.share {
                u64::from(share) * u64::from(part > 0)
            } else {
                // Where all together carry less than the whole, each takes more, in proportion.
                let share = (part * WHOLE / total.clamp(1, WHOLE)).min(left);
                left -= share;
                share
            };
            sum
        });
        let sums: Vec<u64> = each.collect();
        let any = sums.last().is_some_and(|sum| *sum > 0);
        Shares {
            sums: if any { sums } else { Vec::new() },
        }
    }

    /// The chance of each endpoint in parts of the returned whole, where all of a tier are picked by weight.
    pub fn chances(&self, shares: &Shares, is_well: impl Fn(usize) -> bool) -> (Vec<f64>, f64) {
        let mut chances = vec![0.0; self.near.len()];
        let mut before = 0;
        for (tier, sum) in self.tiers.iter().zip(&shares.sums) {
            let weight = |at: usize| f64::from(tier.weights.of(at));
            let all = tier.places.iter().enumerate();
            let well: Vec<_> = all.filter(|(_, place)| is_well(**place)).collect();
            let total: f64 = well.iter().map(|(at, _)| weight(*at)).sum();
            let share = f64::from(u32::try_from(sum - before).unwrap_or(u32::MAX));
            before = *sum;
            for (at, place) in well {
                if let Some(chance) = chances.get_mut(*place) {
                    *chance = share * weight(at) / total;
                }
            }
        }
        let whole = f64::from(u32::try_from(before).unwrap_or(u32::MAX));
        (chances, whole)
    }

    /// Picks as [`choose`] does, of a tier that is drawn by its share; of the others in turn where none of that is as it
    /// should be.
    pub fn choose(
        &self,
        shares: &Shares,
        choice: &Choice<'_>,
        members: &impl Members,
        (turn, room): (u64, &mut Vec<Candidate>),
        random: &mut dyn Random,
    ) -> Option<usize> {
        let drawn = shares.draw(random);
        let others = (0..self.tiers.len()).filter(|at| Some(*at) != drawn);
        let order = drawn.into_iter().chain(others);
        for tier in order.filter_map(|at| self.tiers.get(at)) {
            let of_tier = Choice {
                weights: &tier.weights,
                ..*choice
            };
            let within = Within { members, tier };
            let found = choose(&of_tier, &within, (turn, &mut *room), random);
            let place = found.and_then(|at| tier.places.get(at).copied());
            if let Some(place) = place.filter(|place| members.standing(*place).is_first_choice()) {
                return Some(place);
            }
        }
        choose(choice, members, (turn, room), random)
    }
}

impl Shares {
    fn draw(&self, random: &mut dyn Random) -> Option<usize> {
        let total = *self.sums.last()?;
        if self.sums.first() == Some(&total) {
            return Some(0);
        }
        let point = random.below(total);
        Some(self.sums.partition_point(|sum| *sum <= point))
    }
}

/// A tier's place among the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Level {
    near: Near,
    /// The place of its region in the order of failover.
    at: usize,
}

impl Level {
    fn of(own: &Locality, other: Option<&Locality>, regions: &[&str]) -> Self {
        let at = other.and_then(|other| {
            let mut regions = regions.iter();
            regions.position(|region| *region == other.region)
        });
        let near = match (other, at) {
            (Some(other), _) if own.shares_zone(other) => Near::Zone,
            (Some(other), _) if own.shares_region(other) => Near::Region,
            (_, Some(_)) => Near::Failover,
            _ => Near::Other,
        };
        let at = at.filter(|_| near == Near::Failover).unwrap_or_default();
        Self { near, at }
    }
}

/// What a tier takes: the part that is well, times what that can carry.
fn part(well: u64, all: u64) -> u64 {
    (well * OVERPROVISIONING * WHOLE / 100 / all.max(1)).min(WHOLE)
}

/// The shares that callers at `own` give, by the narrowest that names their place.
fn distribution<'a>(own: &Locality, all: &'a [Distribution]) -> Option<&'a Distribution> {
    let fitting = all.iter().filter(|one| one.from.holds(own));
    fitting.min_by_key(|one| one.from.zone.is_none())
}

fn by_nearness(levels: &[Level], endpoints: &[Endpoint]) -> Vec<Tier> {
    let mut distinct = levels.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let tier = |level: &Level| {
        let places = (0..levels.len()).filter(|at| levels.get(*at) == Some(level));
        Tier::new(places.collect(), endpoints, None)
    };
    distinct.iter().map(tier).collect()
}

fn by_weight(distribution: &Distribution, endpoints: &[Endpoint]) -> Vec<Tier> {
    let areas = distribution.to.iter().map(|(area, _)| area);
    // Each endpoint is of the narrowest place that holds it.
    let area_of = |endpoint: &Endpoint| {
        let locality = endpoint.locality.as_ref()?;
        let holding = areas.clone().filter(|area| area.holds(locality));
        holding.min_by_key(|area| area.zone.is_none())
    };
    let of: Vec<Option<&Area>> = endpoints.iter().map(area_of).collect();
    let tier = |(area, share): &(Area, u32)| {
        let places = (0..of.len()).filter(|at| of.get(*at) == Some(&Some(area)));
        Tier::new(places.collect(), endpoints, Some(*share))
    };
    distribution.to.iter().map(tier).collect()
}

impl Tier {
    fn new(places: Vec<usize>, endpoints: &[Endpoint], share: Option<u32>) -> Self {
        let weight = |place: &usize| endpoints.get(*place).map_or(1, |endpoint| endpoint.weight);
        Self {
            weights: Weights::new(places.iter().map(weight)),
            places,
            share,
        }
    }
}

/// The endpoints of a tier, by their places in it.
struct Within<'m, M> {
    members: &'m M,
    tier: &'m Tier,
}

impl<M> Within<'_, M> {
    fn place(&self, index: usize) -> usize {
        self.tier.places.get(index).copied().unwrap_or(usize::MAX)
    }
}

impl<M: Members> Members for Within<'_, M> {
    fn standing(&self, index: usize) -> Standing {
        self.members.standing(self.place(index))
    }

    fn load(&self, index: usize) -> f64 {
        self.members.load(self.place(index))
    }

    fn outstanding(&self, index: usize) -> u64 {
        self.members.outstanding(self.place(index))
    }

    fn warmth(&self, index: usize) -> u32 {
        self.members.warmth(self.place(index))
    }
}
