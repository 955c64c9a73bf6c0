//! Checks of copies: the filter `RequestMirror` and the section `mirror` of a `TrafficPolicy`.

use crate::error::Faults;
use crate::model::mirror::Mirroring;
use crate::model::share::Share;
use crate::name::Namespace;
use crate::resource::fault::{MirrorCompare, MirrorField};
use crate::resource::httproute::{HTTPRequestMirrorFilter, HTTPRouteFilter, HTTPRouteFilterType};
use crate::translate::check_reference::backend;
use crate::translate::check_section::positive;
use crate::translate::check_workload::whole;
use crate::translate::checked::MirrorRef;

/// Checks the section.
pub(super) fn section(given: &MirrorField, faults: &mut Faults) -> Mirroring {
    let default = Mirroring::DEFAULT;
    let compares = |what| given.compare.contains(&what);
    let number = |field: &str, given: Option<i64>, most: u32, faults: &mut Faults| {
        faults.field(field, |faults| whole(given?, 1, most, faults))
    };
    let most_bytes = u32::try_from(Mirroring::MOST_BYTES).unwrap_or(u32::MAX);
    let bytes = number("maxBodyBytes", given.max_body_bytes, most_bytes, faults);
    Mirroring {
        status: compares(MirrorCompare::Status),
        latency: compares(MirrorCompare::Latency),
        body_hash: compares(MirrorCompare::BodyHash),
        max_concurrent: number(
            "maxConcurrent",
            given.max_concurrent,
            Mirroring::MOST_CONCURRENT,
            faults,
        )
        .unwrap_or(default.max_concurrent),
        max_body_bytes: bytes.map_or(default.max_body_bytes, u64::from),
        timeout: positive("timeout", given.timeout.as_ref(), faults).unwrap_or(default.timeout),
    }
}

/// Checks the filters `RequestMirror` of a rule; others are checked elsewhere.
pub(super) fn filters(
    given: &[HTTPRouteFilter],
    own: &Namespace,
    faults: &mut Faults,
) -> Vec<MirrorRef> {
    let mut checked = Vec::new();
    faults.field("filters", |faults| {
        for (index, filter) in given.iter().enumerate() {
            let mirror = filter.request_mirror.as_ref();
            let mirror = mirror.filter(|_| filter.r#type == HTTPRouteFilterType::RequestMirror);
            let Some(mirror) = mirror else { continue };
            checked.extend(faults.index(index, |faults| {
                faults.field("requestMirror", |faults| one(mirror, own, faults))
            }));
        }
    });
    checked
}

fn one(given: &HTTPRequestMirrorFilter, own: &Namespace, faults: &mut Faults) -> Option<MirrorRef> {
    let reference = faults.field("backendRef", |faults| {
        backend(&given.backend_ref.backend(), own, faults)
    });
    let share = match (given.percent, &given.fraction) {
        (Some(_), Some(_)) => {
            faults.refuse("sets one of percent and fraction");
            None
        }
        (None, None) => Some(Share::ALL),
        (Some(percent), None) => faults.field("percent", |faults| {
            let percent = whole(percent, 0, 100, faults)?;
            Share::new(percent, 100)
        }),
        (None, Some(fraction)) => faults.field("fraction", |faults| {
            let most = u32::try_from(i32::MAX).unwrap_or(u32::MAX);
            let denominator = fraction.denominator.unwrap_or(100);
            let numerator = faults.field("numerator", |faults| {
                whole(fraction.numerator, 0, most, faults)
            });
            let denominator =
                faults.field("denominator", |faults| whole(denominator, 1, most, faults));
            let share = Share::new(numerator?, denominator?);
            if share.is_none() {
                faults.refuse("is more than the whole");
            }
            share
        }),
    };
    Some(MirrorRef {
        reference: reference?,
        share: share?,
    })
}
