//! How long a request and each of its tries may take, and what the next hop is told of it.
//!
//! A deadline begins where a caller gives one, or where a policy's timeout is to be told. It travels
//! as time left, shortened at each hop, so that no two clocks need agree: by `grpc-timeout` in calls of
//! gRPC, whose libraries pass it on, and by [`FIELD`] in other requests. What an app takes in between is
//! not lost, because its own proxy writes [`FIELD`] as a point in time for it, and reads it again where
//! the app passed it on: there the clock is the same.

use std::time::Duration;

use crate::decide::Random;
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

/// The field of requests that are no calls of gRPC: time left as `grpc-timeout` writes it, or milliseconds
/// since the epoch, by the clock of the app's own host. Apps pass it on as they got it.
pub const FIELD: &str = "mesh-deadline";

/// What ends an exchange, and what the next hop is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// When it must be over, from its first byte on, and by which limit.
    pub until: Option<(Duration, Ending)>,
    /// When all that it is upgraded to must be over as well.
    pub stream: Option<Duration>,
    /// The deadline that the next hop is told of.
    pub told: Option<Duration>,
}

/// The limit that ends an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The policy's time for a request, or its caller's deadline.
    Request,
    /// The caller's deadline, which had passed before anything began.
    Passed,
    /// The policy's longest stream.
    Stream,
}

/// The bounds of an exchange whose caller waits no longer than `asked`.
pub fn bounds(timeouts: &ExchangeTimeouts, asked: Option<Duration>) -> Bounds {
    let request = request(timeouts, asked);
    let stream = timeouts.max_stream_duration.value;
    let ending = if asked.is_some_and(|asked| asked.is_zero()) {
        Ending::Passed
    } else {
        Ending::Request
    };
    let until = match (request, stream) {
        (Some(request), Some(stream)) if stream < request => Some((stream, Ending::Stream)),
        (None, Some(stream)) => Some((stream, Ending::Stream)),
        (request, _) => request.map(|request| (request, ending)),
    };
    let tells = asked.is_some() || timeouts.propagate_deadline.value;
    Bounds {
        until,
        stream,
        told: request.filter(|_| tells),
    }
}

/// How the next hop is told of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// By `grpc-timeout`.
    Grpc,
    /// By [`FIELD`], as time left, to another hop.
    Left,
    /// By [`FIELD`], as a point in time, to the app of this host.
    Stamp,
}

/// What a request says of the time its caller waits.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'r> {
    /// Whether it is a call of gRPC. Others that use its field (gRPC-Web) would not understand the answer:
    /// they are left to the app.
    pub is_call: bool,
    /// Its `grpc-timeout`.
    pub grpc_timeout: Option<&'r [u8]>,
    /// Its [`FIELD`].
    pub field: Option<&'r [u8]>,
}

/// The time that the caller gives, by whichever of its fields is nearer, and how the next hop is told of it:
/// the app of this host if `to_app`. `now` is asked only where it counts: the time since the epoch.
pub fn heard(
    said: Said<'_>,
    to_app: bool,
    now: impl FnOnce() -> Duration,
) -> (Option<Duration>, Telling) {
    let call = said.grpc_timeout.filter(|_| said.is_call).and_then(asked);
    let field = said.field.and_then(|value| given(value, now()));
    let nearer = call.into_iter().chain(field).min();
    let telling = match (said.is_call, to_app) {
        (true, _) => Telling::Grpc,
        (false, true) => Telling::Stamp,
        (false, false) => Telling::Left,
    };
    (nearer, telling)
}

/// How long a connection may last whose longest age is `limit`: up to a tenth less, so that connections
/// made together do not end together.
pub fn age(limit: Duration, random: &mut dyn Random) -> Duration {
    let tenth = u64::try_from((limit / 10).as_nanos()).unwrap_or(u64::MAX);
    limit.saturating_sub(Duration::from_nanos(random.below(tenth)))
}

/// The time that a caller gives by [`FIELD`], to which it is `now` since the epoch; zero if that is past.
///
/// A value that is neither form is `None`: it limits nothing here, and the app judges it.
pub fn given(value: &[u8], now: Duration) -> Option<Duration> {
    if !value.iter().all(u8::is_ascii_digit) {
        return asked(value);
    }
    let good = (1..=MAX_STAMP).contains(&value.len());
    let text = std::str::from_utf8(value).ok().filter(|_| good)?;
    let at = Duration::from_millis(text.parse().ok()?);
    Some(at.saturating_sub(now))
}

/// The value of [`FIELD`] for the app of this host, which has `left` while it is `now` since the epoch:
/// never later than that. The far future is cut.
pub fn stamp(left: Duration, now: Duration) -> Text {
    let at = now.saturating_add(left).as_millis();
    Text::new(at.min(LATEST_STAMP), "")
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
pub fn sent_on(left: Duration) -> Text {
    let nanos = left.as_nanos();
    let fits = |unit: &(&str, u64)| nanos / u128::from(unit.1) <= MAX_NUMBER;
    match UNITS.iter().find(|unit| fits(unit)) {
        Some((name, unit)) => Text::new(nanos / u128::from(*unit), name),
        None => Text::new(MAX_NUMBER, "H"),
    }
}

/// A number and its unit, without allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    bytes: [u8; MAX_TEXT],
    start: usize,
}

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(self.start..).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Decimal digits before `unit`, which is at most one character.
    fn new(mut number: u128, unit: &str) -> Self {
        let mut text = Self {
            bytes: [b'0'; MAX_TEXT],
            start: MAX_TEXT,
        };
        unit.bytes().for_each(|byte| text.prepend(byte));
        loop {
            text.prepend(b'0' + u8::try_from(number % 10).unwrap_or_default());
            number /= 10;
            if number == 0 {
                return text;
            }
        }
    }

    fn prepend(&mut self, byte: u8) {
        self.start = self.start.saturating_sub(1);
        if let Some(place) = self.bytes.get_mut(self.start) {
            *place = byte;
        }
    }
}

/// Longest text: 39 digits are the most that a number can have.
const MAX_TEXT: usize = 40;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Longest point in time that is read, in digits.
const MAX_STAMP: usize = 15;
/// Latest that is written.
const LATEST_STAMP: u128 = 999_999_999_999_999;
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
            ..ExchangeTimeouts::default()
        }
    }

    #[test]
    fn the_nearer_bound_ends_an_exchange_and_a_deadline_is_told() {
        use Ending::{Passed, Request, Stream};
        let millis = Duration::from_millis;
        for (request, stream, propagate, asked, until, told) in [
            (None, None, true, None, None, None),
            (Some(100), None, false, None, Some((100, Request)), None),
            (Some(100), None, true, None, Some((100, Request)), Some(100)),
            (
                Some(100),
                Some(50),
                true,
                None,
                Some((50, Stream)),
                Some(100),
            ),
            (
                Some(100),
                Some(100),
                false,
                None,
                Some((100, Request)),
                None,
            ),
            (None, Some(50), true, None, Some((50, Stream)), None),
            (None, None, false, Some(70), Some((70, Request)), Some(70)),
            (
                Some(100),
                None,
                false,
                Some(70),
                Some((70, Request)),
                Some(70),
            ),
            (
                Some(100),
                None,
                false,
                Some(170),
                Some((100, Request)),
                Some(100),
            ),
            (Some(100), None, false, Some(0), Some((0, Passed)), Some(0)),
            (None, Some(50), false, Some(0), Some((0, Passed)), Some(0)),
        ] {
            let timeouts = ExchangeTimeouts {
                max_stream_duration: Sourced::default_value(stream.map(millis)),
                propagate_deadline: Sourced::default_value(propagate),
                ..timeouts(request, None)
            };
            let expected = Bounds {
                until: until.map(|(until, ending)| (millis(until), ending)),
                stream: stream.map(millis),
                told: told.map(millis),
            };
            assert_eq!(
                bounds(&timeouts, asked.map(millis)),
                expected,
                "{timeouts:?}"
            );
        }
    }

    #[test]
    fn a_deadline_is_time_left_or_a_point_in_time() {
        let now = Duration::from_millis(1_764_347_000_123);
        for (value, millis) in [
            ("250m", Some(250)),
            ("1S", Some(1000)),
            ("1764347000373", Some(250)),
            ("1764347000123", Some(0)),
            ("1", Some(0)),
            ("0", Some(0)),
            (
                "999999999999999",
                Some(999_999_999_999_999 - 1_764_347_000_123),
            ),
            ("1000000000000000", None),
            ("", None),
            ("-1", None),
            ("1764347000373 ", None),
            ("0x7f", None),
            ("1764347000373m", None),
            ("\u{661}", None),
        ] {
            let read = given(value.as_bytes(), now);
            assert_eq!(read, millis.map(Duration::from_millis), "{value}");
        }
        let stamp = stamp(Duration::from_micros(250_999), now);
        assert_eq!(stamp.as_str(), "1764347000373");
        assert_eq!(super::stamp(Duration::MAX, now).as_str(), "999999999999999");
    }

    #[test]
    fn the_nearer_of_two_fields_counts_and_calls_are_told_their_own_way() {
        let at = || Duration::from_secs(1_764_347_000);
        for (is_call, grpc, field, to_app, left, telling) in [
            (true, Some("250m"), None, true, Some(250), Telling::Grpc),
            (
                true,
                Some("250m"),
                Some("1S"),
                false,
                Some(250),
                Telling::Grpc,
            ),
            (
                true,
                Some("2S"),
                Some("1S"),
                false,
                Some(1000),
                Telling::Grpc,
            ),
            (true, None, None, true, None, Telling::Grpc),
            (false, Some("250m"), None, true, None, Telling::Stamp),
            (
                false,
                Some("250m"),
                Some("1S"),
                false,
                Some(1000),
                Telling::Left,
            ),
            (
                false,
                None,
                Some("1764347000040"),
                true,
                Some(40),
                Telling::Stamp,
            ),
            (false, None, None, false, None, Telling::Left),
        ] {
            let said = Said {
                is_call,
                grpc_timeout: grpc.map(str::as_bytes),
                field: field.map(str::as_bytes),
            };
            let expected = (left.map(Duration::from_millis), telling);
            assert_eq!(heard(said, to_app, at), expected, "{said:?}");
        }
        let unasked = heard(Said::default(), true, || unreachable!("no clock is read"));
        assert_eq!(unasked, (None, Telling::Stamp));
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
    fn connections_end_within_the_last_tenth_of_their_age() {
        let limit = Duration::from_secs(100);
        let mut random = crate::decide::tests::Seeded(5);
        let ages: Vec<_> = (0..1000).map(|_| age(limit, &mut random)).collect();
        assert!(ages.iter().all(|age| (90..=100).contains(&age.as_secs())));
        // 1000 draws in halves: sigma = 16, 5 sigma are 79.
        let late = ages.iter().filter(|age| age.as_secs() >= 95).count();
        assert!((421..=579).contains(&late), "{late}");
        assert_eq!(age(Duration::ZERO, &mut random), Duration::ZERO);
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
            assert_eq!(sent_on(left).as_str(), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_on_is_never_more(nanos in any::<u64>(), more in any::<u32>()) {
            for left in [Duration::from_nanos(nanos), Duration::new(more.into(), 5)] {
                let read = asked(sent_on(left).as_str().as_bytes()).unwrap();
                prop_assert!(read <= left);
                prop_assert!(left.saturating_sub(read) <= left / 90_000);
            }
        }
    }
}
