//! What keeps failing or full endpoints from being called.

use super::*;
use crate::model::breaker::{Limits, MAX_LIMIT};

pub(super) fn limits() -> impl Strategy<Value = Sourced<Limits>> {
    let count = || 0..=MAX_LIMIT;
    let any = (
        1..=MAX_LIMIT,
        count(),
        1..=MAX_LIMIT,
        count(),
        1..=60_000_000_000u64,
    );
    let any = any.prop_map(
        |(connections, pending_requests, requests, retries, wait)| Limits {
            connections,
            pending_requests,
            requests,
            retries,
            queue_timeout: Duration::from_nanos(wait),
        },
    );
    sourced(prop_oneof![Just(Limits::default()), any])
}

#[test]
fn absurd_limits_are_refused_where_they_are() {
    let sound = destination(Vec::new());
    let name = Entry::Destination(sound.clone()).name();
    let decoded = |limits: generated::Limits| {
        let mut message = destination::write(&sound);
        message.backends[1].limits = Some(limits);
        let kind = Some(generated::entry::Kind::Destination(message));
        let decoded = decode(&name, &generated::Entry { kind }.encode_to_vec());
        let faults = decoded.err().unwrap_or_default();
        faults
            .into_iter()
            .map(|fault| fault.path)
            .collect::<Vec<_>>()
    };
    let good = generated::Limits {
        connections: 1,
        requests: MAX_LIMIT,
        queue_timeout_nanos: 1,
        ..Default::default()
    };
    assert_eq!(decoded(good.clone()), [""; 0]);
    let bad = generated::Limits {
        connections: 0,
        requests: MAX_LIMIT + 1,
        pending_requests: u32::MAX,
        retries: u32::MAX,
        queue_timeout_nanos: u64::MAX,
        origin: None,
    };
    let fields = [
        "connections",
        "pendingRequests",
        "requests",
        "retries",
        "queueTimeout",
    ];
    let paths = fields.map(|field| format!("backends[1].limits.{field}"));
    assert_eq!(decoded(bad), paths);
}
