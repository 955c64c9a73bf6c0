//! Copies of a rule's requests.

use std::time::Duration;

use crate::error::Faults;
use crate::model::mirror::{Mirror, Mirroring};
use crate::model::origin::Sourced;
use crate::wire::fault::{read_share, write_share};
use crate::wire::generated as wire;
use crate::wire::generated::mirror;
use crate::wire::{read, route};

pub(super) fn write(from: &Mirror) -> wire::Mirror {
    let target = match route::write_target(&from.target) {
        Ok(index) => mirror::Target::Backend(index),
        Err(reason) => mirror::Target::Broken(reason),
    };
    wire::Mirror {
        target: Some(target),
        share: Some(write_share(from.share)),
    }
}

pub(super) fn read(from: &wire::Mirror, backends: usize, faults: &mut Faults) -> Option<Mirror> {
    let target = match read::required("target", from.target.as_ref(), faults) {
        Some(mirror::Target::Backend(index)) => route::read_index(*index, backends, faults),
        Some(mirror::Target::Broken(reason)) => route::read_broken(reason, faults),
        None => None,
    };
    let share = read_share(from.share.as_ref(), faults);
    Some(Mirror {
        target: target?,
        share: share?,
    })
}

pub(super) fn write_settings(from: &Sourced<Mirroring>) -> Option<wire::Mirroring> {
    let settings = &from.value;
    (*from != Sourced::default()).then(|| wire::Mirroring {
        status: settings.status,
        latency: settings.latency,
        body_hash: settings.body_hash,
        max_concurrent: settings.max_concurrent,
        max_body_bytes: settings.max_body_bytes,
        timeout_nanos: read::nanos(settings.timeout),
        origin: read::write_origin(&from.origin),
    })
}

pub(super) fn read_settings(
    from: Option<&wire::Mirroring>,
    faults: &mut Faults,
) -> Option<Sourced<Mirroring>> {
    let Some(from) = from else {
        return Some(Sourced::default());
    };
    faults.field("mirroring", |f| {
        let most = Mirroring::MOST_CONCURRENT;
        let max_concurrent = read::number("maxConcurrent", from.max_concurrent, 1..=most, f);
        if from.max_body_bytes > Mirroring::MOST_BYTES {
            f.field("maxBodyBytes", |f| {
                f.refuse(format!("is over {}", Mirroring::MOST_BYTES));
            });
        }
        let settings = max_concurrent.map(|max_concurrent| Mirroring {
            status: from.status,
            latency: from.latency,
            body_hash: from.body_hash,
            max_concurrent,
            max_body_bytes: from.max_body_bytes.min(Mirroring::MOST_BYTES),
            timeout: Duration::from_nanos(from.timeout_nanos),
        });
        read::sourced(settings, "origin", from.origin.as_ref(), f)
    })
}
