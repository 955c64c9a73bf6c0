//! Which backend of a rule: by weight, or by the key of a user.

use std::sync::Arc;

use super::Random;
use super::balance::rendezvous::{self, Share};
use super::decision::Refusal;
use crate::model::route::{Target, WeightedBackend};
use crate::snapshot::{BackendTable, DestinationTable, hash};

/// The place of the backend that a key belongs to.
pub(super) fn keep(
    destination: &DestinationTable,
    backends: &[WeightedBackend],
    key: u64,
) -> Option<usize> {
    let share = |(at, backend): (usize, &WeightedBackend)| {
        let seed = match backend_of(destination, &backend.target) {
            Ok(found) => found.seed,
            Err(Refusal::BrokenBackend(reason)) => hash::key(reason.as_bytes()),
            Err(_) => 0,
        };
        // A backend that is named again has a share of its own.
        let before = backends.iter().take(at);
        let again = before.filter(|other| other.target == backend.target);
        Share {
            seed: seed.wrapping_add(again.count() as u64),
            weight: backend.weight,
        }
    };
    rendezvous::choose(key, backends.iter().enumerate().map(share))
}

/// Chooses a place by weight; `None` if all weights are 0.
pub(super) fn by_weight(
    total: u64,
    weights: impl ExactSizeIterator<Item = u32>,
    random: &mut dyn Random,
) -> Option<usize> {
    if total == 0 {
        return None;
    }
    if weights.len() == 1 {
        return Some(0);
    }
    let mut left = random.below(total);
    let mut places = weights.map(u64::from);
    places.position(|weight| {
        let chosen = left < weight;
        left = left.saturating_sub(weight);
        chosen
    })
}

/// The backend that a target means, or why there is none.
pub(super) fn backend_of<'s>(
    destination: &'s DestinationTable,
    target: &'s Target,
) -> Result<&'s Arc<BackendTable>, Refusal<'s>> {
    let index = match target {
        Target::Broken { reason } => return Err(Refusal::BrokenBackend(reason.into())),
        Target::Backend(index) => usize::try_from(*index).ok(),
    };
    let backend = index.and_then(|index| destination.backends.get(index));
    backend
        .ok_or_else(|| Refusal::BrokenBackend("the entry names a backend it does not carry".into()))
}

pub(super) fn backend_name(destination: &DestinationTable, target: &Target) -> String {
    match backend_of(destination, target) {
        Ok(backend) => backend.name.to_string(),
        Err(Refusal::BrokenBackend(reason)) => reason.into_owned(),
        Err(refusal) => refusal.reason().to_owned(),
    }
}
