//! Outlier detection by failed connects: an endpoint that cannot be reached is ejected for a while,
//! by the rules of `mesh_api::decide::eject`.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mesh_api::decide::eject;
use mesh_api::model::policy::DEFAULTS;

use super::load::EndpointState;

/// A change of an endpoint's standing, to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EjectionChange {
    /// Left out for this time.
    Ejected(Duration),
    /// A success: back in.
    Returned,
}

/// Whether anything is held against the endpoint, at any time.
pub(super) fn is_marked(state: &EndpointState) -> bool {
    state.failed_until.load(Relaxed) > 0
}

/// Whether the endpoint is left out at `now` (milliseconds since the start).
pub(super) fn is_ejected(state: &EndpointState, now: u64) -> bool {
    state.ejected_until.load(Relaxed) > now
}

/// Whether connecting to it failed lately, ejected or not.
pub(super) fn has_failed(state: &EndpointState, now: u64) -> bool {
    state.failed_until.load(Relaxed) > now
}

/// Records a failed connect. `ejected` of the backend's `total` endpoints are out already, this
/// one not counted.
pub(super) fn fail(
    state: &EndpointState,
    ejected: usize,
    total: usize,
    now: u64,
) -> Option<EjectionChange> {
    let mut ejection = state
        .ejection
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let at = Duration::from_millis(now);
    let next = ejection.on_connect_failure(at, &DEFAULTS);
    let began = next.until.filter(|_| next != *ejection && next.is_out(at));
    // It is marked in any case: a success has something to clear.
    let marked = began.map_or(1, milliseconds);
    state.failed_until.fetch_max(marked, Relaxed);
    if began.is_some() && !eject::may_eject(total, ejected, DEFAULTS.max_ejected_percent) {
        return None;
    }
    *ejection = next;
    let until = began?;
    state.ejected_until.store(milliseconds(until), Relaxed);
    Some(EjectionChange::Ejected(until.saturating_sub(at)))
}

/// Records a success: what was held against the endpoint is forgotten.
pub(super) fn succeed(state: &EndpointState) -> Option<EjectionChange> {
    if state.failed_until.load(Relaxed) == 0 {
        return None;
    }
    let mut ejection = state
        .ejection
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    *ejection = ejection.on_success();
    state.failed_until.store(0, Relaxed);
    let until = state.ejected_until.swap(0, Relaxed);
    (until > 0).then_some(EjectionChange::Returned)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
