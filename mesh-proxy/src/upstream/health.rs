//! Outlier detection by failed connects: an endpoint that cannot be reached is ejected for a while.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::load::EndpointState;

/// Ejection after the first failed connect.
const BASE: Duration = Duration::from_secs(1);
/// Longest ejection.
const MAX: Duration = Duration::from_secs(16);

/// A change of an endpoint's standing, to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EjectionChange {
    /// Left out for this time.
    Ejected(Duration),
    /// A success: back in.
    Returned,
}

/// Whether the endpoint is left out at `now` (milliseconds since the start).
pub(super) fn is_ejected(state: &EndpointState, now: u64) -> bool {
    state.ejected_until.load(Relaxed) > now
}

/// Records a failed connect. `ejected` of the backend's `total` endpoints are out already, this
/// one not counted.
pub(super) fn fail(
    state: &EndpointState,
    ejected: usize,
    total: usize,
    now: u64,
) -> Option<EjectionChange> {
    if is_ejected(state, now) {
        // One of several attempts that began together: the ejection stands as it is.
        return None;
    }
    let failures = state.failures.load(Relaxed).saturating_add(1);
    state.failures.store(failures, Relaxed);
    let time = ejection(failures, ejected, total)?;
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    state
        .ejected_until
        .store(now.saturating_add(millis), Relaxed);
    Some(EjectionChange::Ejected(time))
}

/// Records a success: what was held against the endpoint is forgotten.
pub(super) fn succeed(state: &EndpointState) -> Option<EjectionChange> {
    if state.failures.load(Relaxed) == 0 {
        return None;
    }
    state.failures.store(0, Relaxed);
    let until = state.ejected_until.swap(0, Relaxed);
    (until > 0).then_some(EjectionChange::Returned)
}

/// Adapter: the arithmetic of `mesh_api::decide::eject`, to be replaced by it. From the first
/// failed connect in a row, 1 s doubling to 16 s; at most half of a backend, a single one never.
pub(super) fn ejection(failures: u32, ejected: usize, total: usize) -> Option<Duration> {
    if failures == 0 || (ejected + 1) * 2 > total {
        return None;
    }
    Some(BASE.saturating_mul(1 << (failures - 1).min(4)).min(MAX))
}
