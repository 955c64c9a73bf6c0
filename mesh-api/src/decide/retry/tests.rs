//! Verdicts and waits, by tables and fixed seeds.

use super::*;
use crate::decide::tests::Seeded;
use crate::model::policy::{Conditions, StatusRange};

/// What follows when a try of `method` failed so, after `tries`: `Ok(charge)` or why it stops.
fn ask(
    policy: &RetryPolicy,
    method: &str,
    failure: Failure,
    tries: u32,
    tweak: &str,
) -> Result<bool, StopReason> {
    let question = Question {
        policy,
        method,
        has_idempotency_key: tweak == "key",
        tries,
        failure,
        endpoint_left: tweak == "left",
        body_replayable: tweak != "body",
        budget_left: tweak != "budget",
        waited: Duration::ZERO,
        pushback: Pushback::Silent,
        time_left: None,
    };
    match verdict(&question, &mut Seeded(1)) {
        Verdict::Again { charge, wait } => {
            let at_once = failure.is_unsent() && (tries == 1 || tweak == "left");
            assert!(!at_once || wait.is_zero());
            Ok(charge)
        }
        Verdict::Stop(reason) => Err(reason),
    }
}

#[test]
fn verdicts() {
    use Failure::{Grpc, PerTryTimeout, RefusedStream, Reset, Status, Unsent};
    use StopReason::{Attempts, Body, Budget, Condition, Method};
    let default = RetryPolicy::default();
    for (method, failure, tries, tweak, expected) in [
        ("GET", Reset, 1, "", Ok(true)),
        ("GET", Reset, 2, "", Ok(true)),
        ("GET", Reset, 3, "", Err(Attempts)),
        ("GET", Reset, 1, "budget", Err(Budget)),
        ("GET", Reset, 1, "body", Err(Body)),
        ("POST", Reset, 1, "", Err(Method)),
        ("POST", Reset, 1, "key", Err(Method)),
        ("POST", Unsent, 1, "", Ok(false)),
        ("POST", Unsent, 1, "budget", Ok(false)),
        ("POST", Unsent, 3, "", Err(Attempts)),
        ("POST", Unsent, 3, "left", Ok(false)),
        ("POST", Unsent, 9, "left", Ok(false)),
        ("POST", Unsent, 10, "left", Err(Attempts)),
        ("GET", Reset, 3, "left", Err(Attempts)),
        ("POST", RefusedStream, 1, "budget", Ok(false)),
        ("POST", RefusedStream, 3, "", Err(Attempts)),
        ("POST", RefusedStream, 1, "body", Err(Body)),
        ("POST", Grpc(GrpcCode::Unavailable), 1, "", Err(Condition)),
        ("GET", PerTryTimeout, 1, "", Err(Condition)),
        ("GET", Status(503), 1, "", Err(Condition)),
    ] {
        let got = ask(&default, method, failure, tries, tweak);
        assert_eq!(got, expected, "{method} {failure:?} {tries} {tweak}");
    }
    let none = RetryPolicy {
        attempts: 0,
        ..RetryPolicy::default()
    };
    assert_eq!(ask(&none, "GET", Unsent, 1, "left"), Err(Attempts));
    let wide = RetryPolicy {
        statuses: vec![StatusRange { from: 502, to: 504 }],
        methods: RetryMethods::Idempotent,
        grpc_codes: vec![GrpcCode::Unavailable],
        conditions: Conditions {
            reset: true,
            ..Conditions::default()
        },
        ..default
    };
    for (method, failure, tweak, expected) in [
        ("GET", Status(503), "", Ok(true)),
        ("GET", Status(500), "", Err(Condition)),
        ("PUT", Reset, "", Ok(true)),
        ("POST", Reset, "", Err(Method)),
        ("POST", Reset, "key", Ok(true)),
        ("POST", Grpc(GrpcCode::Unavailable), "", Ok(true)),
        ("POST", Grpc(GrpcCode::Unavailable), "budget", Err(Budget)),
        ("POST", Grpc(GrpcCode::Internal), "", Err(Condition)),
        ("POST", RefusedStream, "", Err(Condition)),
        ("POST", Unsent, "", Err(Condition)),
    ] {
        let got = ask(&wide, method, failure, 1, tweak);
        assert_eq!(got, expected, "{method} {failure:?} {tweak}");
    }
}

#[test]
fn an_app_asks_for_another_try() {
    let asked = RetryPolicy {
        response_header: Some("x-retry-me".parse().unwrap()),
        ..RetryPolicy::default()
    };
    for (policy, tweak, expected) in [
        (&RetryPolicy::default(), "", Err(StopReason::Condition)),
        (&asked, "", Ok(true)),
        (&asked, "budget", Err(StopReason::Budget)),
        (&asked, "body", Err(StopReason::Body)),
    ] {
        assert_eq!(ask(policy, "POST", Failure::Asked, 1, tweak), expected);
    }
}

#[test]
fn answers_say_when() {
    use Pushback::{Never, Silent, Wait};
    use StopReason::{Pushback as Pushed, Time};
    let millis = Duration::from_millis;
    let none = Backoff {
        jitter: Jitter::None,
        ..Backoff::default()
    };
    let respect = RetryPolicy {
        statuses: vec![StatusRange { from: 503, to: 503 }],
        backoff: none,
        ..RetryPolicy::default()
    };
    let ignore = RetryPolicy {
        retry_after: RetryAfter::Ignore,
        ..respect.clone()
    };
    let status = Failure::Status(503);
    for (policy, failure, pushback, left, expected) in [
        (&respect, status, Silent, None, Ok(25)),
        (&respect, status, Wait(millis(0)), None, Ok(0)),
        (&respect, status, Wait(millis(250)), None, Ok(250)),
        (&respect, status, Wait(millis(251)), None, Err(Pushed)),
        (&respect, status, Wait(Duration::MAX), None, Err(Pushed)),
        (&respect, status, Never, None, Err(Pushed)),
        (&respect, status, Wait(millis(200)), Some(201), Ok(200)),
        (&respect, status, Wait(millis(200)), Some(200), Err(Time)),
        (&respect, status, Silent, Some(20), Err(Time)),
        (&respect, status, Silent, Some(0), Err(Time)),
        (&ignore, status, Never, None, Ok(25)),
        (&ignore, status, Wait(millis(200)), None, Ok(25)),
        // What no app answered says nothing.
        (&respect, Failure::Reset, Never, None, Ok(25)),
        (&respect, Failure::Unsent, Never, Some(0), Err(Time)),
    ] {
        let question = Question {
            failure,
            pushback,
            method: "GET",
            time_left: left.map(millis),
            ..Question::connect(policy, 1, false)
        };
        let got = match verdict(&question, &mut Seeded(1)) {
            Verdict::Again { wait, .. } => Ok(wait.as_millis()),
            Verdict::Stop(reason) => Err(reason),
        };
        assert_eq!(got, expected, "{failure:?} {pushback:?} {left:?}");
    }
}

#[test]
fn waits_double_up_to_the_maximum() {
    let none = Backoff {
        jitter: Jitter::None,
        ..Backoff::default()
    };
    let waits: Vec<_> = [0, 1, 2, 3, 4, 40, u32::MAX]
        .map(|retry| wait(&none, retry, Duration::ZERO, &mut Seeded(1)).as_millis())
        .into();
    assert_eq!(waits, [25, 50, 100, 200, 250, 250, 250]);
}

/// Counts of `draws` waits in ten equal parts of `from..=to`; panics outside.
fn tenths(backoff: &Backoff, waited: u64, (from, to): (u64, u64), draws: u32) -> [u32; 10] {
    let mut random = Seeded(7);
    let mut counts = [0; 10];
    for _ in 0..draws {
        let wait = wait(backoff, 0, Duration::from_millis(waited), &mut random);
        let wait = u64::try_from(wait.as_nanos()).unwrap();
        let (from, to) = (from * 1_000_000, to * 1_000_000);
        assert!((from..=to).contains(&wait), "{wait} of {from} to {to}");
        let tenth = (wait - from) * 10 / (to - from);
        counts[usize::try_from(tenth.min(9)).unwrap()] += 1;
    }
    counts
}

#[test]
fn jitter_is_uniform_within_its_bounds() {
    let millis = Duration::from_millis;
    let backoff = |base, max, jitter, least| Backoff {
        base: millis(base),
        max: millis(max),
        jitter,
        jitter_min: millis(least),
    };
    // 100,000 draws in tenths: each is binomial with p = 0.1, sigma = 95; 5 sigma are 475.
    for (backoff, waited, bounds) in [
        (backoff(100, 1000, Jitter::Full, 0), 0, (0, 100)),
        (backoff(100, 1000, Jitter::Full, 40), 0, (40, 100)),
        (backoff(100, 1000, Jitter::Equal, 0), 0, (50, 100)),
        (backoff(100, 1000, Jitter::Equal, 80), 0, (80, 100)),
        (backoff(100, 1000, Jitter::Decorrelated, 0), 0, (100, 300)),
        (backoff(100, 1000, Jitter::Decorrelated, 0), 200, (100, 600)),
    ] {
        for count in tenths(&backoff, waited, bounds, 100_000) {
            assert!((9_525..=10_475).contains(&count), "{backoff:?}: {count}");
        }
    }
    // What is drawn beyond the longest wait is the longest wait: of 100 to 900 ms, five eighths.
    let cut = backoff(100, 400, Jitter::Decorrelated, 0);
    let mut random = Seeded(9);
    let draws = (0..80_000).filter(|_| wait(&cut, 0, millis(300), &mut random) == cut.max);
    let at_most = draws.count();
    // sigma = 137.
    assert!((49_315..=50_685).contains(&at_most), "{at_most}");
}

#[test]
fn decorrelated_waits_stay_within_bounds_whatever_came_before() {
    let backoff = Backoff {
        jitter: Jitter::Decorrelated,
        ..Backoff::default()
    };
    let mut random = Seeded(3);
    let mut waited = Duration::ZERO;
    for retry in 0..1000 {
        let next = wait(&backoff, retry, waited, &mut random);
        assert!(next >= backoff.base && next <= backoff.max, "{next:?}");
        assert!(next <= waited.max(backoff.base) * 3);
        waited = next;
    }
    assert_eq!(wait(&backoff, 0, Duration::MAX, &mut random), backoff.max);
}
