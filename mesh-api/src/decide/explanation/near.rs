//! Where endpoints are, as the caller sees it, and what follows from that.

use crate::decide::balance::locality::{Near, Tiers};
use crate::decide::explanation::setting::Setting;
use crate::model::locality::Locality;
use crate::model::narrowing::Labels;
use crate::snapshot::BackendTable;

/// A backend's endpoints in the tiers of one caller.
pub(super) struct View<'b> {
    pub(super) backend: &'b BackendTable,
    own: Option<Locality>,
    tiers: Option<Tiers>,
}

impl<'b> View<'b> {
    /// As a caller with these labels sees them.
    pub(super) fn new(backend: &'b BackendTable, labels: Option<&Labels>) -> Self {
        let own = labels.and_then(Locality::of_labels);
        let preference = backend.settings.locality.value.as_ref();
        let tiers = own.as_ref().zip(preference);
        let tiers =
            tiers.and_then(|(own, preference)| Tiers::new(own, preference, &backend.endpoints));
        Self {
            backend,
            own,
            tiers,
        }
    }

    /// What is preferred, and from where; `None` where nothing is.
    pub(super) fn setting(&self) -> Option<Setting> {
        let from = &self.backend.settings.locality;
        let preference = from.value.as_ref()?;
        let effect = match (&self.own, &self.tiers) {
            (None, _) => "; without effect: where the caller runs is not known".to_owned(),
            (Some(own), None) => format!("; without effect for callers in {own}"),
            (Some(own), Some(_)) => format!("; the caller is in {own}"),
        };
        Some(Setting {
            value: format!("{preference}{effect}"),
            origin: from.origin.to_string(),
        })
    }

    /// How near an endpoint is, where that matters.
    pub(super) fn near(&self, place: usize) -> Option<&'static str> {
        let near = self.tiers.as_ref()?.near(place);
        Some(match near {
            Near::Zone => "same zone",
            Near::Region => "same region",
            Near::Failover => "failover",
            Near::Other => "elsewhere",
        })
    }

    /// The chance of each endpoint in percent, to two decimals; `None` where all are picked from alike.
    pub(super) fn percents(&self, is_well: impl Fn(usize) -> bool) -> Option<Vec<f64>> {
        let tiers = self.tiers.as_ref()?;
        let shares = tiers.shares(&is_well);
        let (chances, whole) = tiers.chances(&shares, is_well);
        let percent = |chance: f64| f64::floor(chance * 10_000.0 / whole) / 100.0;
        (whole > 0.0).then(|| chances.into_iter().map(percent).collect())
    }
}
