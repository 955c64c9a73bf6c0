//! Checks of the section `fault` of a `TrafficPolicy`.

use std::time::Duration;

use crate::error::Faults;
use crate::model::fault::{Abort, AbortAnswer, Bandwidth, Delay, DelayTime, Fault, FaultMatch};
use crate::model::grpc::GrpcCode;
use crate::model::share::Share;
use crate::resource::duration::Duration as DurationField;
use crate::resource::fault::{
    AbortField, BandwidthField, DelayField, FaultField, FaultMatchField, FaultRetry,
};
use crate::resource::httproute::HTTPRouteMatch;
use crate::translate::check_extension::sources;
use crate::translate::check_match;
use crate::translate::check_reference::at_most;
use crate::translate::check_workload::whole;

/// Most regular expressions of a policy: a proxy holds at most 512 for one destination.
pub(super) const MAX_EXPRESSIONS: usize = 32;
/// Fastest that a response is slowed down to, in bytes per second.
const MAX_BANDWIDTH: u32 = 1 << 30;
/// Where an exponential wait is cut that does not say, in means.
const CUT: u32 = 10;

/// Checks the list.
pub(super) fn faults_of(given: &[FaultField], faults: &mut Faults) -> Vec<Fault> {
    at_most(given.len(), Fault::MAX_LISTED, "faults", faults);
    let matches = given.iter().flat_map(|fault| &fault.r#match);
    let expressions = matches.map(|one| check_match::expressions(&of_route(one)));
    let what = "regular expressions in all faults together";
    at_most(expressions.sum(), MAX_EXPRESSIONS, what, faults);
    let mut checked = Vec::new();
    for (place, one) in (0..).zip(given).take(Fault::MAX_LISTED) {
        checked.push(faults.index(place as usize, |faults| fault(place, one, faults)));
    }
    checked
}

fn fault(place: u32, given: &FaultField, faults: &mut Faults) -> Fault {
    let FaultField {
        r#match,
        delay,
        abort,
        bandwidth,
        retry,
    } = given;
    if delay.is_none() && abort.is_none() && bandwidth.is_none() {
        faults.refuse("has none of delay, abort and bandwidth");
    }
    let mut matches = Vec::new();
    faults.field("match", |faults| {
        at_most(r#match.len(), Fault::MAX_MATCHES, "matches", faults);
        for (index, one) in r#match.iter().enumerate().take(Fault::MAX_MATCHES) {
            matches.extend(faults.index(index, |faults| match_of(one, faults)));
        }
    });
    if retry.is_some() && abort.is_none() {
        faults.field("retry", |faults| {
            faults.refuse("is about an abort, which is not there");
        });
    }
    Fault {
        place,
        matches,
        delay: delay
            .as_ref()
            .and_then(|given| faults.field("delay", |faults| delay_of(given, faults))),
        abort: abort
            .as_ref()
            .and_then(|given| faults.field("abort", |faults| abort_of(given, faults))),
        bandwidth: bandwidth
            .as_ref()
            .and_then(|given| faults.field("bandwidth", |faults| bandwidth_of(given, faults))),
        retry: *retry == Some(FaultRetry::Allow),
    }
}

/// The part of a match that a route has too.
pub(super) fn of_route(given: &FaultMatchField) -> HTTPRouteMatch {
    HTTPRouteMatch {
        path: given.path.clone(),
        headers: given.headers.clone(),
        query_params: given.query_params.clone(),
        method: given.method,
    }
}

/// Checks one match.
pub(super) fn match_of(given: &FaultMatchField, faults: &mut Faults) -> Option<FaultMatch> {
    let conditions = check_match::one(&of_route(given), faults);
    let sources = sources(
        given.source_workloads.as_ref(),
        &given.source_namespaces,
        faults,
    );
    Some(FaultMatch {
        conditions: conditions?,
        sources,
    })
}

fn share(percent: Option<f64>, faults: &mut Faults) -> Option<Share> {
    faults.field("percent", |faults| match percent {
        None => Some(Share::ALL),
        Some(percent) => faults.take(Share::percent(percent)),
    })
}

fn delay_of(given: &DelayField, faults: &mut Faults) -> Option<Delay> {
    let share = share(given.percent, faults);
    let DelayField {
        fixed,
        range,
        exponential,
        ..
    } = given;
    let set = usize::from(fixed.is_some())
        + usize::from(range.is_some())
        + usize::from(exponential.is_some());
    if set != 1 {
        faults.refuse("sets one of fixed, range and exponential");
        return None;
    }
    let fixed = fixed
        .as_ref()
        .and_then(|given| time("fixed", given, faults).map(DelayTime::Fixed));
    let range = range.as_ref().and_then(|given| {
        faults.field("range", |faults| {
            let (min, max) = (
                time("min", &given.min, faults),
                time("max", &given.max, faults),
            );
            let (min, max) = (min?, max?);
            if max < min {
                faults.field("max", |faults| faults.refuse("is shorter than min"));
            }
            Some(DelayTime::Range { min, max })
        })
    });
    let exponential = exponential.as_ref().and_then(|given| {
        faults.field("exponential", |faults| {
            let mean = time("mean", &given.mean, faults)?;
            let max = match &given.max {
                None => mean.saturating_mul(CUT).min(Fault::MAX_DELAY),
                Some(max) => time("max", max, faults)?,
            };
            if max < mean {
                faults.field("max", |faults| faults.refuse("is shorter than the mean"));
            }
            Some(DelayTime::Exponential { mean, max })
        })
    });
    Some(Delay {
        share: share?,
        time: fixed.or(range).or(exponential)?,
    })
}

fn time(field: &str, given: &DurationField, faults: &mut Faults) -> Option<Duration> {
    faults.field(field, |faults| {
        let time = faults.take(given.parse())?;
        if time > Fault::MAX_DELAY {
            faults.refuse("is longer than 1h");
        }
        Some(time)
    })
}

fn abort_of(given: &AbortField, faults: &mut Faults) -> Option<Abort> {
    let share = share(given.percent, faults);
    let AbortField {
        status,
        grpc,
        reset,
        ..
    } = given;
    let set = usize::from(status.is_some()) + usize::from(grpc.is_some()) + usize::from(*reset);
    if set != 1 {
        faults.refuse("sets one of status, grpc and reset");
        return None;
    }
    let status = faults.field("status", |faults| {
        let status = status.and_then(|status| whole(status, 400, 599, faults));
        status.and_then(|status| u16::try_from(status).ok())
    });
    let grpc = faults.field("grpc", |faults| {
        let name = grpc.as_deref()?;
        let code = GrpcCode::of_name(name).filter(|code| *code != GrpcCode::Ok);
        if code.is_none() {
            let name: String = name.chars().take(80).collect();
            faults.refuse(format!(
                "{name:?} is not a gRPC code that means failure (such as UNAVAILABLE)"
            ));
        }
        code
    });
    let answer = match (status, grpc) {
        (Some(status), _) => AbortAnswer::Status(status),
        (None, Some(code)) => AbortAnswer::Grpc(code),
        (None, None) => reset.then_some(AbortAnswer::Reset)?,
    };
    Some(Abort {
        share: share?,
        answer,
    })
}

fn bandwidth_of(given: &BandwidthField, faults: &mut Faults) -> Option<Bandwidth> {
    let share = share(given.percent, faults);
    let bytes = faults.field("bytesPerSecond", |faults| {
        whole(given.bytes_per_second, 1, MAX_BANDWIDTH, faults)
    });
    Some(Bandwidth {
        share: share?,
        bytes_per_second: bytes?.into(),
    })
}
