//! Locality: the tiers of a backend's endpoints as this proxy sees them, by `mesh_api::decide::balance::locality`.
//!
//! May use `load`.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use mesh_api::decide::Random;
use mesh_api::decide::balance::locality::{Near, Shares, Tiers};
use mesh_api::decide::balance::{Candidate, Choice, Members};
use mesh_api::model::locality::Locality;
use mesh_api::snapshot::BackendTable;

/// How long the shares of tiers hold, unless something is known to have changed.
const HOLD: Duration = Duration::from_millis(100);

/// A worker's view of a backend's tiers.
#[derive(Debug)]
pub(super) struct Tiered {
    tiers: Tiers,
    shares: RefCell<Shares>,
    looked: Cell<Option<Instant>>,
}

impl Tiered {
    /// Those of `backend`, if it has any for a proxy at `own`.
    pub(super) fn of(backend: &BackendTable, own: Option<&Locality>) -> Option<Self> {
        let preference = backend.settings.locality.value.as_ref()?;
        let tiers = Tiers::new(own?, preference, &backend.endpoints)?;
        Some(Self {
            tiers,
            shares: RefCell::default(),
            looked: Cell::new(None),
        })
    }

    /// How an endpoint stands has changed.
    pub(super) fn look_again(&self) {
        self.looked.set(None);
    }

    /// How near an endpoint is.
    pub(super) fn near(&self, index: usize) -> Near {
        self.tiers.near(index)
    }

    /// Picks by tiers.
    pub(super) fn choose(
        &self,
        choice: &Choice<'_>,
        (members, now): (&impl Members, Instant),
        place: (u64, &mut Vec<Candidate>),
        random: &mut dyn Random,
    ) -> Option<usize> {
        let holds = |at: Instant| now.saturating_duration_since(at) < HOLD;
        if !self.looked.get().is_some_and(holds) {
            let is_well = |index| members.standing(index).is_well();
            *self.shares.borrow_mut() = self.tiers.shares(is_well);
            self.looked.set(Some(now));
        }
        let shares = self.shares.borrow();
        self.tiers.choose(&shares, choice, members, place, random)
    }
}
