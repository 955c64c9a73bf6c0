//! Which injected faults a request meets, and what is drawn of them.
//!
//! Every fault that the request meets is drawn by itself, in the order written, and so is each part of
//! it: waits add up, the first abort answers, and the smallest bandwidth holds.

use std::time::Duration;

use crate::decide::retry::Failure;
use crate::decide::{Random, Request, grpc, route};
use crate::model::fault::{AbortAnswer, DelayTime, Fault, FaultMatch};
use crate::model::origin::Origin;
use crate::model::share::Share;
use crate::snapshot::FaultTable;

/// What was drawn for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// A wait, before anything else.
    pub delay: Option<Duration>,
    /// An answer instead of an app's, and whether the proxy may try again instead of giving it.
    pub abort: Option<(AbortAnswer, bool)>,
    /// Bytes of the response's content per second.
    pub bandwidth: Option<u64>,
}

impl Drawn {
    /// True if nothing was.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Draws for `request`.
pub fn draw(table: &FaultTable, request: &Request<'_>, random: &mut dyn Random) -> Drawn {
    let mut drawn = Drawn::default();
    for fault in applying(table, request) {
        if let Some(delay) = fault.delay
            && hits(delay.share, random)
        {
            let sum = drawn.delay.unwrap_or_default() + time(delay.time, random);
            drawn.delay = Some(sum.min(Fault::MAX_DELAY));
        }
        if let Some(abort) = fault.abort
            && (abort_fits(abort.answer, request) && hits(abort.share, random))
            && drawn.abort.is_none()
        {
            drawn.abort = Some((abort.answer, fault.retry));
        }
        if let Some(slow) = fault.bandwidth
            && hits(slow.share, random)
        {
            let least = drawn.bandwidth.unwrap_or(u64::MAX);
            drawn.bandwidth = Some(least.min(slow.bytes_per_second));
        }
    }
    drawn
}

/// The faults that `request` meets, in the order written.
pub fn applying<'t>(
    table: &'t FaultTable,
    request: &Request<'_>,
) -> impl Iterator<Item = &'t Fault> {
    let faults = table.faults.value.iter().enumerate();
    let meets = move |(at, fault): &(usize, &Fault)| {
        let mut matches = fault.matches.iter().enumerate();
        fault.matches.is_empty()
            || matches.any(|(place, one)| {
                let FaultMatch {
                    conditions,
                    sources,
                } = one;
                let expressions = table.expressions.get(*at).and_then(|all| all.get(place));
                expressions.is_some_and(|known| route::meets(conditions, known, request))
                    && sources.takes_namespace(request.caller.namespace)
                    && sources.takes_labels(request.caller.labels)
            })
    };
    faults.filter(meets).map(|(_, fault)| fault)
}

/// The failure that an abort stands for, where it may be tried again.
pub fn failure(answer: AbortAnswer) -> Failure {
    match answer {
        AbortAnswer::Status(status) => Failure::Status(status),
        AbortAnswer::Grpc(code) => Failure::Grpc(code),
        AbortAnswer::Reset => Failure::Reset,
    }
}

/// The `reason` of `mesh-error`, metrics and logs.
pub const REASON: &str = "fault";

/// The status that an abort answers; `None` for a reset, which is no answer.
pub fn status(answer: AbortAnswer) -> Option<u16> {
    match answer {
        AbortAnswer::Status(status) => Some(status),
        // The code is in fields of the response (gRPC over HTTP/2, "Responses").
        AbortAnswer::Grpc(_) => Some(200),
        AbortAnswer::Reset => None,
    }
}

/// The `policy` of `mesh-error`: the object that lists the fault.
pub fn policy(origin: &Origin) -> Option<String> {
    match origin {
        Origin::Field { object, .. } => Some(object.to_string()),
        Origin::Default => None,
    }
}

/// True for the given share of requests.
pub fn hits(share: Share, random: &mut dyn Random) -> bool {
    random.below(share.denominator().into()) < share.numerator().into()
}

/// A gRPC code can be told to gRPC calls only.
fn abort_fits(answer: AbortAnswer, request: &Request<'_>) -> bool {
    if !matches!(answer, AbortAnswer::Grpc(_)) {
        return true;
    }
    let mut is_call = false;
    request
        .headers
        .each("content-type", &mut |value| is_call |= grpc::is_grpc(value));
    is_call
}

fn time(time: DelayTime, random: &mut dyn Random) -> Duration {
    match time {
        DelayTime::Fixed(time) => time,
        DelayTime::Range { min, max } => {
            let width = max.saturating_sub(min).as_nanos();
            let width = u64::try_from(width).unwrap_or(u64::MAX);
            min + Duration::from_nanos(random.below(width.saturating_add(1)))
        }
        DelayTime::Exponential { mean, max } => {
            // By inversion, of a number above 0 and up to 1.
            const STEPS: u32 = 1 << 30;
            let step = random.below(STEPS.into()) + 1;
            let uniform = f64::from(u32::try_from(step).unwrap_or(STEPS)) / f64::from(STEPS);
            mean.mul_f64(-uniform.ln()).min(max)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::{Seeded, conditions, with_request};
    use crate::error::Faults;
    use crate::model::fault::{Abort, Bandwidth, Delay};
    use crate::model::grpc::GrpcCode;
    use crate::model::narrowing::Sources;
    use crate::model::origin::Sourced;

    const MILLI: Duration = Duration::from_millis(1);

    fn nothing() -> Fault {
        Fault {
            place: 0,
            matches: Vec::new(),
            delay: None,
            abort: None,
            bandwidth: None,
            retry: false,
        }
    }

    fn share(percent: f64) -> Share {
        Share::percent(percent).unwrap()
    }

    fn abort(percent: f64, answer: AbortAnswer) -> Fault {
        Fault {
            abort: Some(Abort {
                share: share(percent),
                answer,
            }),
            ..nothing()
        }
    }

    fn delay(percent: f64, time: DelayTime) -> Fault {
        Fault {
            delay: Some(Delay {
                share: share(percent),
                time,
            }),
            ..nothing()
        }
    }

    fn table(faults: Vec<Fault>) -> FaultTable {
        FaultTable::compile(Sourced::default_value(faults), &mut Faults::default())
    }

    fn times(table: &FaultTable, line: &str, count: u32) -> Vec<Drawn> {
        let mut random = Seeded(7);
        with_request(line, &[("x-a", "1")], |request, _| {
            (0..count)
                .map(|_| draw(table, request, &mut random))
                .collect()
        })
    }

    #[test]
    fn shares_are_exact_to_four_decimals() {
        let status = AbortAnswer::Status(503);
        for (percent, least, most) in [
            (0.0, 0, 0),
            (100.0, 1_000_000, 1_000_000),
            // 10^6 draws: n p plus or minus five standard deviations.
            (10.0, 98_500, 101_500),
            (0.01, 50, 150),
        ] {
            let drawn = times(&table(vec![abort(percent, status)]), "GET /", 1_000_000);
            let hit = drawn.iter().filter(|one| one.abort.is_some()).count();
            assert!((least..=most).contains(&hit), "{percent} %: {hit}");
        }
    }

    #[test]
    fn parts_are_drawn_by_themselves_and_combine() {
        let slow = |bytes_per_second| Fault {
            bandwidth: Some(Bandwidth {
                share: Share::ALL,
                bytes_per_second,
            }),
            ..nothing()
        };
        let table = table(vec![
            delay(100.0, DelayTime::Fixed(2 * MILLI)),
            delay(100.0, DelayTime::Fixed(3 * MILLI)),
            abort(0.0, AbortAnswer::Reset),
            Fault {
                retry: true,
                ..abort(100.0, AbortAnswer::Status(500))
            },
            abort(100.0, AbortAnswer::Status(503)),
            slow(100),
            slow(10),
            slow(50),
        ]);
        let expected = Drawn {
            delay: Some(5 * MILLI),
            abort: Some((AbortAnswer::Status(500), true)),
            bandwidth: Some(10),
        };
        assert_eq!(times(&table, "GET /", 1), [expected]);
    }

    #[test]
    fn only_requests_that_meet_a_match_are_concerned() {
        let one = |text: &str, namespace: &str| FaultMatch {
            conditions: conditions(text),
            sources: Sources {
                namespaces: vec![namespace.parse().unwrap()],
                ..Sources::default()
            },
        };
        let fault = Fault {
            matches: vec![
                one("prefix /a, method POST", "demo"),
                one("header x-a=~[0-9]", "other"),
                one("exact /b, header x-a=~[0-9]", "demo"),
            ],
            ..abort(100.0, AbortAnswer::Reset)
        };
        let table = table(vec![fault]);
        for (line, expected) in [
            ("POST /a/x", true),
            ("GET /a/x", false),
            ("GET /b", true),
            ("GET /b/c", false),
        ] {
            assert_eq!(!times(&table, line, 1)[0].is_nothing(), expected, "{line}");
        }
    }

    #[test]
    fn a_code_is_for_calls_alone() {
        let table = table(vec![abort(100.0, AbortAnswer::Grpc(GrpcCode::Unavailable))]);
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/json", false),
        ] {
            let fields = [("content-type", content_type)];
            let drawn = with_request("POST /a.B/C", &fields, |request, _| {
                draw(&table, request, &mut Seeded(1))
            });
            assert_eq!(drawn.abort.is_some(), expected, "{content_type}");
        }
    }

    #[test]
    fn waits_follow_their_distribution() {
        let mean = |time: DelayTime| {
            let drawn = times(&table(vec![delay(100.0, time)]), "GET /", 100_000);
            let waits: Vec<Duration> = drawn.iter().filter_map(|one| one.delay).collect();
            let sum: Duration = waits.iter().sum();
            let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            (sum / 100_000, *least, *most)
        };
        let (range, least, most) = mean(DelayTime::Range {
            min: 10 * MILLI,
            max: 30 * MILLI,
        });
        assert!(least >= 10 * MILLI && most <= 30 * MILLI);
        // A mean of 10^5: five standard deviations are 0.092 ms.
        assert!(range.abs_diff(20 * MILLI) < MILLI / 10, "{range:?}");
        let (exponential, least, most) = mean(DelayTime::Exponential {
            mean: 10 * MILLI,
            max: 100 * MILLI,
        });
        assert!(least < MILLI / 10 && most <= 100 * MILLI);
        assert!(
            exponential.abs_diff(10 * MILLI) < MILLI / 4,
            "{exponential:?}"
        );
        let (fixed, ..) = mean(DelayTime::Fixed(MILLI));
        assert_eq!(fixed, MILLI);
    }
}
