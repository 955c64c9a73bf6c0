//! Where endpoints are, and which of them callers prefer.

use crate::error::Faults;
use crate::model::locality::{
    Area, Distribution, Failover, Locality, LocalityPreference, MAX_PLACE,
};
use crate::model::origin::Sourced;
use crate::wire::generated as wire;
use crate::wire::read;

pub(super) fn write(from: Option<&Locality>) -> Option<wire::Place> {
    from.map(|from| wire::Place {
        region: from.region.clone(),
        zone: from.zone.clone(),
    })
}

/// `None` where it is not known.
#[expect(
    clippy::option_option,
    reason = "the outer is a fault, the inner a value left out"
)]
pub(super) fn read(from: Option<&wire::Place>, faults: &mut Faults) -> Option<Option<Locality>> {
    let Some(from) = from else {
        return Some(None);
    };
    faults.field("locality", |f| {
        let locality = Locality {
            region: name("region", &from.region, f)?,
            zone: name("zone", &from.zone, f)?,
        };
        Some(Some(locality))
    })
}

pub(super) fn write_preference(
    from: &Sourced<Option<LocalityPreference>>,
) -> Option<wire::LocalityPreference> {
    let preference = from.value.as_ref()?;
    let failover = preference.failover.iter().map(|one| wire::Failover {
        from: one.from.clone(),
        to: one.to.clone(),
    });
    let weights = preference.weights.iter().map(|one| wire::Distribution {
        from: Some(write_area(&one.from)),
        to: one.to.iter().map(write_share).collect(),
    });
    Some(wire::LocalityPreference {
        prefer_local: preference.prefer_local,
        failover: failover.collect(),
        weights: weights.collect(),
        origin: read::write_origin(&from.origin),
    })
}

pub(super) fn read_preference(
    from: Option<&wire::LocalityPreference>,
    faults: &mut Faults,
) -> Option<Sourced<Option<LocalityPreference>>> {
    let Some(from) = from else {
        return Some(Sourced::default());
    };
    faults.field("locality", |f| {
        let failover = read::list("failover", &from.failover, MAX_PLACES, f, |one, f| {
            Some(Failover {
                from: name("from", &one.from, f)?,
                to: name("to", &one.to, f)?,
            })
        });
        let weights = read::list("weights", &from.weights, MAX_PLACES, f, read_distribution);
        let preference = LocalityPreference {
            prefer_local: from.prefer_local,
            failover: failover?,
            weights: weights?,
        };
        read::sourced(Some(Some(preference)), "origin", from.origin.as_ref(), f)
    })
}

fn read_distribution(from: &wire::Distribution, faults: &mut Faults) -> Option<Distribution> {
    let to = read::list("to", &from.to, MAX_PLACES, faults, |share, f| {
        let area = read_area("area", share.area.as_ref(), f);
        let weight = read::number("weight", share.weight, 1..=10_000, f);
        Some((area?, weight?))
    });
    let from = read_area("from", from.from.as_ref(), faults);
    Some(Distribution {
        from: from?,
        to: to?,
    })
}

fn write_share((area, weight): &(Area, u32)) -> wire::PlaceShare {
    wire::PlaceShare {
        area: Some(write_area(area)),
        weight: *weight,
    }
}

fn write_area(from: &Area) -> wire::Place {
    wire::Place {
        region: from.region.clone(),
        zone: from.zone.clone().unwrap_or_default(),
    }
}

fn read_area(field: &str, from: Option<&wire::Place>, faults: &mut Faults) -> Option<Area> {
    let from = read::required(field, from, faults)?;
    faults.field(field, |f| {
        let zone = name("zone", &from.zone, f)?;
        Some(Area {
            region: name("region", &from.region, f)?,
            zone: (!zone.is_empty()).then_some(zone),
        })
    })
}

fn name(field: &str, from: &str, faults: &mut Faults) -> Option<String> {
    let is_good = from.len() <= MAX_PLACE;
    if !is_good {
        let reason = format!("has more than {MAX_PLACE} bytes");
        faults.field(field, |f| f.refuse(reason));
    }
    is_good.then(|| from.to_owned())
}

const MAX_PLACES: usize = 64;
