//! Lists of injected faults.

use std::time::Duration;

use crate::error::Faults;
use crate::model::fault::{Abort, AbortAnswer, Bandwidth, Delay, DelayTime, Fault, FaultMatch};
use crate::model::grpc::GrpcCode;
use crate::model::origin::Sourced;
use crate::model::path::{PathMatch, TextMatch};
use crate::model::share::Share;
use crate::wire::generated as wire;
use crate::wire::generated::{abort_fault, delay_fault};
use crate::wire::{conditions, extension, read};

pub(super) fn write(from: &Sourced<Vec<Fault>>) -> wire::FaultList {
    wire::FaultList {
        faults: from.value.iter().map(write_fault).collect(),
        origin: read::write_origin(&from.origin),
    }
}

pub(super) fn read(from: &wire::FaultList, faults: &mut Faults) -> Option<Sourced<Vec<Fault>>> {
    let list = read::list(
        "faults",
        &from.faults,
        Fault::MAX_LISTED,
        faults,
        read_fault,
    );
    read::sourced(list, "origin", from.origin.as_ref(), faults)
}

/// How many regular expressions the matches of a list hold.
pub(super) fn expressions(list: &Sourced<Vec<Fault>>) -> usize {
    expressions_of(list.value.iter().flat_map(|fault| &fault.matches))
}

/// How many regular expressions `matches` hold.
pub(super) fn expressions_of<'m>(matches: impl Iterator<Item = &'m FaultMatch>) -> usize {
    let expression = |value: &TextMatch| matches!(value, TextMatch::RegularExpression(_));
    let each = matches.map(|FaultMatch { conditions, .. }| {
        let path = matches!(conditions.path, PathMatch::RegularExpression(_));
        let headers = conditions.headers.iter().filter(|h| expression(&h.value));
        let query = conditions.query.iter().filter(|q| expression(&q.value));
        usize::from(path) + headers.count() + query.count()
    });
    each.sum()
}

fn write_fault(from: &Fault) -> wire::InjectedFault {
    wire::InjectedFault {
        place: from.place,
        matches: from.matches.iter().map(write_match).collect(),
        delay: from.delay.map(write_delay),
        abort: from.abort.map(write_abort),
        bandwidth: from.bandwidth.map(|slow| wire::BandwidthFault {
            share: Some(write_share(slow.share)),
            bytes_per_second: slow.bytes_per_second,
        }),
        retry: from.retry,
    }
}

fn read_fault(from: &wire::InjectedFault, faults: &mut Faults) -> Option<Fault> {
    let matches = read::list(
        "matches",
        &from.matches,
        Fault::MAX_MATCHES,
        faults,
        read_match,
    );
    let delay = match &from.delay {
        None => Some(None),
        Some(delay) => faults.field("delay", |f| read_delay(delay, f).map(Some)),
    };
    let abort = match &from.abort {
        None => Some(None),
        Some(abort) => faults.field("abort", |f| read_abort(abort, f).map(Some)),
    };
    let bandwidth = match &from.bandwidth {
        None => Some(None),
        Some(slow) => faults.field("bandwidth", |f| read_bandwidth(slow, f).map(Some)),
    };
    Some(Fault {
        place: from.place,
        matches: matches?,
        delay: delay?,
        abort: abort?,
        bandwidth: bandwidth?,
        retry: from.retry,
    })
}

pub(super) fn write_match(from: &FaultMatch) -> wire::FaultMatch {
    wire::FaultMatch {
        conditions: Some(conditions::write(&from.conditions)),
        sources: extension::write_sources(&from.sources),
    }
}

pub(super) fn read_match(from: &wire::FaultMatch, faults: &mut Faults) -> Option<FaultMatch> {
    let conditions = read::required("conditions", from.conditions.as_ref(), faults)?;
    let conditions = faults.field("conditions", |f| conditions::read(conditions, f));
    let sources = extension::read_sources(from.sources.as_ref(), faults);
    Some(FaultMatch {
        conditions: conditions?,
        sources: sources?,
    })
}

pub(super) fn write_share(from: Share) -> wire::Share {
    wire::Share {
        numerator: from.numerator(),
        denominator: from.denominator(),
    }
}

pub(super) fn read_share(from: Option<&wire::Share>, faults: &mut Faults) -> Option<Share> {
    let from = read::required("share", from, faults)?;
    let share = Share::new(from.numerator, from.denominator);
    if share.is_none() {
        faults.field("share", |f| {
            f.refuse(format!(
                "{} of {} is no share",
                from.numerator, from.denominator
            ));
        });
    }
    share
}

fn write_delay(from: Delay) -> wire::DelayFault {
    let time = match from.time {
        DelayTime::Fixed(time) => delay_fault::Time::FixedNanos(read::nanos(time)),
        DelayTime::Range { min, max } => delay_fault::Time::Range(wire::RangeDelay {
            min_nanos: read::nanos(min),
            max_nanos: read::nanos(max),
        }),
        DelayTime::Exponential { mean, max } => {
            delay_fault::Time::Exponential(wire::ExponentialDelay {
                mean_nanos: read::nanos(mean),
                max_nanos: read::nanos(max),
            })
        }
    };
    wire::DelayFault {
        share: Some(write_share(from.share)),
        time: Some(time),
    }
}

fn read_delay(from: &wire::DelayFault, faults: &mut Faults) -> Option<Delay> {
    let share = read_share(from.share.as_ref(), faults);
    let nanos = Duration::from_nanos;
    let time = match read::required("time", from.time.as_ref(), faults)? {
        delay_fault::Time::FixedNanos(fixed) => DelayTime::Fixed(nanos(*fixed)),
        delay_fault::Time::Range(range) => DelayTime::Range {
            min: nanos(range.min_nanos),
            max: nanos(range.max_nanos),
        },
        delay_fault::Time::Exponential(exponential) => DelayTime::Exponential {
            mean: nanos(exponential.mean_nanos),
            max: nanos(exponential.max_nanos),
        },
    };
    let least = match time {
        DelayTime::Fixed(time) => time,
        DelayTime::Range { min, .. } => min,
        DelayTime::Exponential { mean, .. } => mean,
    };
    if least > time.longest() || time.longest() > Fault::MAX_DELAY {
        faults.field("time", |f| {
            f.refuse("is longer than 1h, or its least above its most");
        });
        return None;
    }
    Some(Delay {
        share: share?,
        time,
    })
}

fn write_abort(from: Abort) -> wire::AbortFault {
    let answer = match from.answer {
        AbortAnswer::Status(status) => abort_fault::Answer::Status(status.into()),
        AbortAnswer::Grpc(code) => abort_fault::Answer::Grpc(code.number().into()),
        AbortAnswer::Reset => abort_fault::Answer::Reset(true),
    };
    wire::AbortFault {
        share: Some(write_share(from.share)),
        answer: Some(answer),
    }
}

fn read_abort(from: &wire::AbortFault, faults: &mut Faults) -> Option<Abort> {
    let share = read_share(from.share.as_ref(), faults);
    let answer = match read::required("answer", from.answer.as_ref(), faults)? {
        abort_fault::Answer::Status(status) => {
            read::number("status", *status, 400..=599u16, faults).map(AbortAnswer::Status)
        }
        abort_fault::Answer::Grpc(number) => {
            let code = GrpcCode::of_number(*number);
            if code.is_none() {
                faults.field("grpc", |f| f.refuse(format!("{number} is not a gRPC code")));
            }
            code.map(AbortAnswer::Grpc)
        }
        abort_fault::Answer::Reset(_) => Some(AbortAnswer::Reset),
    };
    Some(Abort {
        share: share?,
        answer: answer?,
    })
}

fn read_bandwidth(from: &wire::BandwidthFault, faults: &mut Faults) -> Option<Bandwidth> {
    let share = read_share(from.share.as_ref(), faults);
    if from.bytes_per_second == 0 {
        faults.field("bytesPerSecond", |f| f.refuse("is 0"));
        return None;
    }
    Some(Bandwidth {
        share: share?,
        bytes_per_second: from.bytes_per_second,
    })
}
