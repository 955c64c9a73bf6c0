//! Samples that are read from what workers share.

use std::sync::Arc;

use crate::context::Shared;
use crate::telemetry::Reading;
use crate::telemetry::names::metric;
use crate::upstream::Refused;

/// Lets metrics show what is in flight.
pub(super) fn show(shared: &Arc<Shared>) {
    // Weak: the recorder is held by what it reads.
    let held = Arc::downgrade(shared);
    shared.telemetry().read_from(move || {
        let shared = held.upgrade();
        shared.map_or_else(Vec::new, |shared| {
            let mut all = of_limits(&shared);
            all.extend(of_outliers(&shared));
            all.extend(of_rates(&shared));
            all.extend(of_localities(&shared));
            all
        })
    });
}

fn of_localities(shared: &Shared) -> impl Iterator<Item = Reading> {
    let counted = shared.endpoints.near().filter(|(_, count)| *count > 0);
    counted.map(|(near, count)| {
        (
            metric::LOCALITY_PICKS,
            vec![near.as_str().to_owned()],
            count,
        )
    })
}

fn of_outliers(shared: &Shared) -> Vec<Reading> {
    let mut all = Vec::new();
    for (backend, outliers) in shared.endpoints.registry().all() {
        let (out, picks) = (outliers.out() as u64, outliers.panic_picks());
        all.push((metric::ENDPOINTS_OUT, vec![backend.clone()], out));
        let unhealthy = outliers.unhealthy() as u64;
        all.push((
            metric::ENDPOINTS_UNHEALTHY,
            vec![backend.clone()],
            unhealthy,
        ));
        if picks > 0 {
            all.push((metric::PANIC_PICKS, vec![backend], picks));
        }
    }
    all
}

fn of_limits(shared: &Shared) -> Vec<Reading> {
    let mut all = Vec::new();
    for (backend, limits) in shared.in_flight() {
        for (name, limit) in [
            ("connections", &limits.connections),
            ("requests", &limits.requests),
            ("retries", &limits.retries),
            ("pending", &limits.pending),
        ] {
            let labels = vec![backend.clone(), name.to_owned()];
            all.push((metric::LIMIT_IN_USE, labels, u64::from(limit.taken())));
        }
        for refused in Refused::ALL {
            let labels = vec![backend.clone(), refused.reason().to_owned()];
            let count = limits.refused(refused);
            if count > 0 {
                all.push((metric::LIMIT_REFUSED, labels, count));
            }
        }
    }
    all
}

fn of_rates(shared: &Shared) -> Vec<Reading> {
    let mut all = Vec::new();
    for (policy, limit, buckets) in shared.rate_limits() {
        let labels = vec![policy, limit];
        all.push((metric::RATE_LIMITED, labels.clone(), buckets.refused()));
        if buckets.overflowed() > 0 {
            let overflowed = buckets.overflowed();
            all.push((metric::RATE_LIMIT_OVERFLOWED, labels, overflowed));
        }
    }
    all
}
