//! How long a request and each of its tries may take, and what the next hop is told of it.

use std::time::Duration;

use crate::model::policy::ExchangeTimeouts;

/// Time left for a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Until then; `None` is no limit, zero is none left.
    pub left: Option<Duration>,
    /// What ends it.
    pub limit: Limit,
}

/// The timeout that ends a try first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// That of the whole request, by policy or by the caller: no further try.
    Request,
    /// That of one try: another may follow.
    PerTry,
}

/// What a try that starts `elapsed` after the request's first byte may take.
pub fn allowance(timeouts: &ExchangeTimeouts, elapsed: Duration) -> Allowance {
    allowance_within(timeouts, None, elapsed)
}

/// As [`allowance`], of a request whose caller waits no longer than `asked` in all: see [`asked`].
pub fn allowance_within(
    timeouts: &ExchangeTimeouts,
    asked: Option<Duration>,
    elapsed: Duration,
) -> Allowance {
    let request = request(timeouts, asked).map(|limit| limit.saturating_sub(elapsed));
    match (request, timeouts.per_try.value) {
        (Some(request), Some(per_try)) if per_try < request => Allowance {
            left: Some(per_try),
            limit: Limit::PerTry,
        },
        (None, Some(per_try)) => Allowance {
            left: Some(per_try),
            limit: Limit::PerTry,
        },
        (request, _) => Allowance {
            left: request,
            limit: Limit::Request,
        },
    }
}

/// The time that the whole request may take: what the policy allows or the caller asked for, whichever
/// is less.
pub fn request(timeouts: &ExchangeTimeouts, asked: Option<Duration>) -> Option<Duration> {
    match (timeouts.request.value, asked) {
        (Some(policy), Some(asked)) => Some(policy.min(asked)),
        (policy, asked) => policy.or(asked),
    }
}

/// The time that a caller gives by `grpc-timeout`: one to eight digits and a unit of `H`, `M`, `S`,
/// `m`, `u` or `n` (gRPC over HTTP/2, "Timeout").
///
/// A value that breaks the grammar is `None`: it limits nothing here, and the app judges it.
pub fn asked(grpc_timeout: &[u8]) -> Option<Duration> {
    let (unit, digits) = grpc_timeout.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
    let (_, nanos) = UNITS
        .into_iter()
        .find(|(name, _)| name.as_bytes() == [*unit])?;
    let seconds = nanos / NANOS_PER_SECOND;
    Some(if seconds > 0 {
        Duration::from_secs(number.saturating_mul(seconds))
    } else {
        Duration::from_nanos(number.saturating_mul(nanos))
    })
}

/// The value of `grpc-timeout` for the next hop, which has `left`: never more than that, in the finest
/// unit whose number has eight digits.
pub fn sent_on(left: Duration) -> String {
    let nanos = left.as_nanos();
    let fits = |unit: &(&str, u64)| nanos / u128::from(unit.1) <= MAX_NUMBER;
    match UNITS.iter().find(|unit| fits(unit)) {
        Some((name, unit)) => format!("{}{name}", nanos / u128::from(*unit)),
        None => format!("{MAX_NUMBER}H"),
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const MAX_NUMBER: u128 = 99_999_999;
/// Units by name with their nanoseconds, the finest first.
const UNITS: [(&str, u64); 6] = [
    ("n", 1),
    ("u", 1000),
    ("m", 1_000_000),
    ("S", NANOS_PER_SECOND),
    ("M", 60 * NANOS_PER_SECOND),
    ("H", 3600 * NANOS_PER_SECOND),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::origin::Sourced;

    fn timeouts(request: Option<u64>, per_try: Option<u64>) -> ExchangeTimeouts {
        ExchangeTimeouts {
            request: Sourced::default_value(request.map(Duration::from_millis)),
            per_try: Sourced::default_value(per_try.map(Duration::from_millis)),
        }
    }

    #[test]
    fn the_nearer_limit_ends_a_try() {
        let millis = Duration::from_millis;
        for (request, per_try, asked, elapsed, left, limit) in [
            (None, None, None, 5, None, Limit::Request),
            (Some(100), None, None, 30, Some(70), Limit::Request),
            (Some(100), None, None, 130, Some(0), Limit::Request),
            (Some(100), Some(20), None, 30, Some(20), Limit::PerTry),
            (Some(100), Some(20), None, 90, Some(10), Limit::Request),
            (None, Some(20), None, 90, Some(20), Limit::PerTry),
            (Some(100), None, Some(50), 30, Some(20), Limit::Request),
            (Some(100), None, Some(500), 30, Some(70), Limit::Request),
            (None, None, Some(50), 80, Some(0), Limit::Request),
            (None, Some(20), Some(50), 10, Some(20), Limit::PerTry),
            (None, Some(20), Some(50), 40, Some(10), Limit::Request),
        ] {
            let timeouts = timeouts(request, per_try);
            let expected = Allowance {
                left: left.map(millis),
                limit,
            };
            let got = allowance_within(&timeouts, asked.map(millis), millis(elapsed));
            assert_eq!(got, expected);
            if asked.is_none() {
                assert_eq!(allowance(&timeouts, millis(elapsed)), expected);
            }
        }
    }

    #[test]
    fn a_callers_time_is_read() {
        for (text, nanos) in [
            ("1n", 1),
            ("5u", 5000),
            ("250m", 250_000_000),
            ("00000001S", 1_000_000_000),
            ("2M", 120_000_000_000),
            ("99999999H", 99_999_999 * 3_600_000_000_000),
            ("0S", 0),
        ] {
            let read = asked(text.as_bytes()).map(|time| time.as_nanos());
            assert_eq!(read, Some(nanos), "{text}");
        }
        for bad in [
            "",
            "S",
            "1",
            "1s",
            "1h",
            "123456789S",
            "-1S",
            "+1S",
            "1.5S",
            " 1S",
            "1S ",
            "1 S",
            "1SS",
            "\u{661}S",
            "0x1S",
        ] {
            assert_eq!(asked(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_next_hop_is_told_in_the_finest_unit() {
        for (left, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_001), "100000u"),
            (Duration::from_millis(2500), "2500000u"),
            (Duration::from_mins(5), "300000m"),
            (Duration::from_hours(48), "172800S"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(sent_on(left), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_on_is_never_more(nanos in any::<u64>(), more in any::<u32>()) {
            for left in [Duration::from_nanos(nanos), Duration::new(more.into(), 5)] {
                let read = asked(sent_on(left).as_bytes()).unwrap();
                prop_assert!(read <= left);
                prop_assert!(left.saturating_sub(read) <= left / 90_000);
            }
        }
    }
}
