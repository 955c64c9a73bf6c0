//! Parts of rules that our filters and CORS make, told by a number so that some have them and some not.

use crate::decide::tests::conditions;
use crate::model::cors::{Allowed, Cors};
use crate::model::fault::{Abort, AbortAnswer, Bandwidth, Delay, DelayTime, Fault, FaultMatch};
use crate::model::grpc::GrpcCode;
use crate::model::mirror::{Mirror, Mirroring};
use crate::model::narrowing::{CookieMatch, Narrowing, Sources};
use crate::model::origin::Sourced;
use crate::model::path::{Pattern, TextMatch};
use crate::model::route::{Action, DirectResponse, Redirect, Rewrite, Target};
use crate::model::share::Share;
use crate::name::Port;

pub(super) fn narrowings(number: u32) -> Vec<Narrowing> {
    let value = match number % 3 {
        0 => None,
        1 => Some(TextMatch::Exact(format!("v{number}"))),
        _ => Some(TextMatch::RegularExpression(Pattern::new("a|b").unwrap())),
    };
    let one = |at: u32| Narrowing {
        name: format!("demo/n{at}").parse().unwrap(),
        cookie: at.is_multiple_of(2).then(|| CookieMatch {
            name: "beta".into(),
            value: value.clone(),
        }),
        sources: Sources {
            namespaces: (0..at).map(|n| format!("ns{n}").parse().unwrap()).collect(),
            labels: (0..at).map(|n| (format!("l{n}"), String::new())).collect(),
        },
        port: u16::try_from(number % 5).ok().and_then(Port::new),
    };
    (0..number % 4).map(one).collect()
}

pub(super) fn cors(number: u32) -> Option<Cors> {
    let names = |count: u32| match count {
        0 => Allowed::All,
        count => Allowed::Listed(
            (0..count)
                .map(|n| format!("x-{n}").parse().unwrap())
                .collect(),
        ),
    };
    let origins = ["*", "https://*.example:8443", "http://a"];
    number.is_multiple_of(2).then(|| Cors {
        origins: origins.map(|text| text.parse().unwrap()).into(),
        credentials: number.is_multiple_of(3),
        methods: Allowed::Listed(vec!["PUT".into()]),
        headers: names(number % 4),
        expose: names(number % 3),
        max_age: number,
    })
}

pub(super) fn answer(number: u32) -> Action {
    if number.is_multiple_of(2) {
        let reason = format!("RouteMatch demo/r{number} not found");
        return Action::Broken { reason };
    }
    Action::Respond(DirectResponse {
        name: "demo/closed".parse().unwrap(),
        status: 503,
        body: "closed".into(),
        content_type: "text/plain".parse().unwrap(),
    })
}

pub(super) fn faults(number: u32) -> Sourced<Vec<Fault>> {
    let milli = std::time::Duration::from_millis;
    let share = Share::new(number, 7).unwrap();
    let times = [
        DelayTime::Fixed(milli(5)),
        DelayTime::Range {
            min: milli(1),
            max: milli(2),
        },
        DelayTime::Exponential {
            mean: milli(1),
            max: milli(9),
        },
    ];
    let answers = [
        AbortAnswer::Status(503),
        AbortAnswer::Grpc(GrpcCode::Unavailable),
        AbortAnswer::Reset,
    ];
    let both = times.into_iter().zip(answers);
    let faults = (0..).zip(both).map(|(place, (time, answer))| Fault {
        place,
        matches: vec![FaultMatch {
            conditions: conditions("prefix /a, header x-a=~a|b"),
            sources: Sources {
                namespaces: vec!["demo".parse().unwrap()],
                labels: [("app".to_owned(), "shop".to_owned())].into(),
            },
        }],
        delay: Some(Delay { share, time }),
        abort: Some(Abort { share, answer }),
        bandwidth: (place == 1).then_some(Bandwidth {
            share,
            bytes_per_second: 10,
        }),
        retry: place == 2,
    });
    Sourced::default_value(faults.collect())
}

pub(super) fn rewrite(number: u32) -> Option<Rewrite> {
    number.is_multiple_of(2).then(|| Rewrite {
        hostname: Some("own.example".parse().unwrap()),
        path: None,
    })
}

pub(super) fn redirect(number: u32) -> Option<Redirect> {
    number.is_multiple_of(3).then(|| Redirect {
        scheme: None,
        hostname: Some("else.example".parse().unwrap()),
        path: None,
        port: None,
        status: 307,
    })
}

pub(super) fn mirrors(number: u32) -> Vec<Mirror> {
    let target = if number.is_multiple_of(2) {
        Target::Backend(number % 3)
    } else {
        let reason = "Service demo/x not found".into();
        Target::Broken { reason }
    };
    let mirror = Mirror {
        target,
        share: Share::new(1, 1 + number % 9).unwrap(),
    };
    vec![mirror; (number % 3) as usize]
}

pub(super) fn mirroring(number: u32) -> Sourced<Mirroring> {
    Sourced::default_value(Mirroring {
        status: number.is_multiple_of(2),
        body_hash: number.is_multiple_of(3),
        max_concurrent: 1 + number % 100,
        ..Mirroring::default()
    })
}
