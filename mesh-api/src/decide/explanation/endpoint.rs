//! The endpoints of a backend, with their chances.

use serde::Serialize;

use crate::decide::explanation::near::View;
use crate::model::backend::{self, Transport};

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The app's address.
    pub address: String,
    /// The workload behind it.
    pub workload: Option<String>,
    /// The identity that its certificate must carry; none: it is reached without mutual TLS.
    pub identity: Option<String>,
    /// Where its tunnel listens.
    pub tunnel: Option<String>,
    /// Where it runs, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<String>,
    /// How near that is to the caller, where it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near: Option<&'static str>,
    /// Its lease ran out: used only if no other is left.
    pub stale: bool,
    /// Its share of the backend's requests while all loads are equal, in percent.
    pub percent: f64,
}

/// The endpoints with their chances; one has them all where a key leads to it.
pub(super) fn endpoints(view: &View<'_>, key: Option<u64>) -> Vec<Endpoint> {
    let backend = view.backend;
    let from = &backend.endpoints;
    let all_stale = from.iter().all(|endpoint| endpoint.stale);
    let is_usable = |endpoint: &backend::Endpoint| all_stale || !endpoint.stale;
    let led = backend.keys.as_ref().zip(key).and_then(|(keys, key)| {
        let at = keys.find(key, |at| from.get(*at).is_some_and(is_usable))?;
        from.get(at)
    });
    let weight = |endpoint: &backend::Endpoint| {
        let is_led = led.is_none_or(|led| led.address == endpoint.address);
        if is_led && is_usable(endpoint) {
            u64::from(endpoint.weight)
        } else {
            0
        }
    };
    let total = from.iter().map(weight).sum();
    let is_well = |at: usize| from.get(at).is_some_and(is_usable);
    let tiered = led.is_none().then(|| view.percents(is_well)).flatten();
    let tiered = |at: usize| tiered.as_ref().and_then(|all| all.get(at).copied());
    let each = from.iter().enumerate().map(|(at, endpoint)| Endpoint {
        address: endpoint.address.to_string(),
        workload: endpoint.workload.as_ref().map(ToString::to_string),
        identity: match &endpoint.transport {
            Transport::Hbone { identity, .. } => Some(identity.to_string()),
            Transport::Plain => None,
        },
        tunnel: endpoint.tunnel_address().map(|address| address.to_string()),
        stale: endpoint.stale,
        locality: endpoint.locality.as_ref().map(ToString::to_string),
        near: view.near(at),
        percent: tiered(at).unwrap_or_else(|| percent(weight(endpoint), total)),
    });
    each.collect()
}

/// To two decimals.
pub(super) fn percent(part: u64, total: u64) -> f64 {
    let hundredths = part * 10_000 / total.max(1);
    f64::from(u32::try_from(hundredths).unwrap_or(0)) / 100.0
}
