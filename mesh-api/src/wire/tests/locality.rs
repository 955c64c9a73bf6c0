//! Where endpoints are, and what is preferred, any of it.

use super::*;
use crate::model::locality::{Area, Distribution, Failover, Locality, LocalityPreference};
use crate::model::origin::Sourced;

pub(super) fn locality() -> impl Strategy<Value = Locality> {
    ("[a-z]{0,9}", "[a-z]{0,9}").prop_map(|(region, zone)| Locality { region, zone })
}

pub(super) fn preference() -> impl Strategy<Value = Sourced<Option<LocalityPreference>>> {
    let failover = ("[a-z]{1,9}", "[a-z]{1,9}").prop_map(|(from, to)| Failover { from, to });
    let weights = (area(), vec((area(), 1u32..=10_000), 1..3))
        .prop_map(|(from, to)| Distribution { from, to });
    let parts = (any::<bool>(), vec(failover, 0..3), vec(weights, 0..3));
    let preference = parts.prop_map(|(prefer_local, failover, weights)| LocalityPreference {
        prefer_local,
        failover,
        weights,
    });
    // Where there is none there is no origin.
    option::of(sourced(preference)).prop_map(|found| match found {
        Some(Sourced { value, origin }) => Sourced::new(Some(value), origin),
        None => Sourced::default(),
    })
}

fn area() -> impl Strategy<Value = Area> {
    ("[a-z]{1,9}", option::of("[a-z]{1,9}")).prop_map(|(region, zone)| Area { region, zone })
}
