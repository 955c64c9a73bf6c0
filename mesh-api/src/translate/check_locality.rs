//! Checks of localities: of workloads, of the section `loadBalancing.locality`, of the Mesh.

use crate::error::Faults;
use crate::model::locality::{
    Area, Distribution, Failover, Locality, LocalityPreference, MAX_PLACE,
};
use crate::model::policy::Algorithm;
use crate::resource::locality::{
    LocalityFailover, LocalityField, LocalityMode, LocalitySection, LocalityWeights,
};
use crate::translate::check_reference::at_most;
use crate::translate::check_workload::whole;
use crate::translate::checked::CheckedPreference;

/// Most places of a list, as many as a proxy takes.
const MAX_PLACES: usize = 64;

/// Checks where a workload runs.
pub(super) fn locality(field: &LocalityField, faults: &mut Faults) -> Option<Locality> {
    let region = faults.field("region", |faults| place(&field.region, faults));
    let zone = faults.field("zone", |faults| match &field.zone {
        None => Some(String::new()),
        Some(zone) => place(zone, faults),
    });
    Some(Locality {
        region: region?,
        zone: zone?,
    })
}

/// Checks the section; `None` if it asks for nothing. Without `failover` it is the Mesh's.
pub(super) fn preference(
    section: &LocalitySection,
    algorithm: Algorithm,
    faults: &mut Faults,
) -> Option<CheckedPreference> {
    let prefer_local = section.mode == Some(LocalityMode::PreferLocal);
    if algorithm.goes_by_key() && (prefer_local || !section.weights.is_empty()) {
        faults.refuse(format!(
            "is not for {}: a key leads to one endpoint, wherever its caller is; leave it out, or choose another algorithm",
            algorithm.as_str()
        ));
    }
    let weights = faults.field("weights", |faults| weights(&section.weights, faults));
    let failover = section.failover.as_deref();
    let order = faults.field("failover", |faults| {
        if failover.is_some() && !prefer_local {
            faults.refuse("is for mode PreferLocal");
        }
        self::failover(failover.unwrap_or_default(), faults)
    });
    let preference = LocalityPreference {
        prefer_local,
        failover: order,
        weights,
    };
    (prefer_local || !preference.weights.is_empty()).then_some(CheckedPreference {
        preference,
        says_failover: failover.is_some(),
    })
}

/// Checks an order of failover.
pub(super) fn failover(given: &[LocalityFailover], faults: &mut Faults) -> Vec<Failover> {
    at_most(given.len(), MAX_PLACES, "entries", faults);
    let mut order: Vec<Failover> = Vec::new();
    for (index, LocalityFailover { from, to }) in given.iter().enumerate().take(MAX_PLACES) {
        faults.index(index, |faults| {
            let from = faults.field("from", |faults| place(from, faults));
            let to = faults.field("to", |faults| place(to, faults));
            let (Some(from), Some(to)) = (from, to) else {
                return;
            };
            let next = Failover { from, to };
            if next.from == next.to {
                faults.refuse("names a region twice");
            } else if order.contains(&next) {
                faults.refuse("is there already");
            } else {
                order.push(next);
            }
        });
    }
    order
}

fn weights(given: &[LocalityWeights], faults: &mut Faults) -> Vec<Distribution> {
    at_most(given.len(), MAX_PLACES, "entries", faults);
    let mut all: Vec<Distribution> = Vec::new();
    for (index, one) in given.iter().enumerate().take(MAX_PLACES) {
        faults.index(index, |faults| {
            let from = faults.field("from", |faults| area(&one.from, faults));
            let to = faults.field("to", |faults| shares(one, faults));
            let Some(from) = from else { return };
            if all.iter().any(|other| other.from == from) {
                faults.field("from", |faults| faults.refuse("is there already"));
            }
            all.push(Distribution { from, to });
        });
    }
    all
}

fn shares(one: &LocalityWeights, faults: &mut Faults) -> Vec<(Area, u32)> {
    if one.to.is_empty() {
        faults.refuse("names no place");
    }
    at_most(one.to.len(), MAX_PLACES, "places", faults);
    let shares = one.to.iter().take(MAX_PLACES);
    let shares = shares.filter_map(|(text, weight)| {
        faults.field(text, |faults| {
            let area = area(text, faults);
            Some((area?, whole(*weight, 1, 10_000, faults)?))
        })
    });
    shares.collect()
}

/// `region` or `region/zone`.
fn area(text: &str, faults: &mut Faults) -> Option<Area> {
    let (region, zone) = match text.split_once('/') {
        None => (text, None),
        Some((region, zone)) => (region, Some(zone)),
    };
    let region = place(region, faults)?;
    let zone = match zone {
        None => None,
        Some(zone) => Some(place(zone, faults)?),
    };
    Some(Area { region, zone })
}

fn place(text: &str, faults: &mut Faults) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_good = (1..=MAX_PLACE).contains(&text.len()) && text.bytes().all(is_plain);
    if !is_good {
        let shown: String = text.chars().take(80).collect();
        faults.refuse(format!(
            "{shown:?} is not a region or zone (letters, digits, '-', '_' and '.', at most {MAX_PLACE})"
        ));
    }
    is_good.then(|| text.to_owned())
}
