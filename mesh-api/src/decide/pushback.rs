//! What a failed answer says of another try: when, or never.
//!
//! HTTP says it by `Retry-After`, seconds or a date (RFC 9110 section 10.2.3); gRPC by
//! `grpc-retry-pushback-ms` (gRFC A6), where a negative or unreadable number means never.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;

/// The field of HTTP.
pub const RETRY_AFTER: &str = "retry-after";
/// The field of gRPC.
pub const GRPC_PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Longest value that is looked at.
const MAX_LENGTH: usize = 64;
/// What RFC 9110 section 5.6.7 has every recipient read besides the date of mail.
const OBSOLETE_DATES: [&str; 2] = ["%d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// What an answer says of another try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pushback {
    /// Nothing.
    #[default]
    Silent,
    /// Not before so long.
    Wait(Duration),
    /// None.
    Never,
}

/// Reads the values of [`RETRY_AFTER`] and [`GRPC_PUSHBACK`] of an answer that came `now`, a time since
/// the epoch. gRPC's word goes before that of HTTP. A `Retry-After` that is none says nothing.
pub fn read(retry_after: Option<&[u8]>, grpc: Option<&[u8]>, now: Duration) -> Pushback {
    if let Some(value) = grpc {
        let millis = text(value).and_then(|text| digits(text, 10));
        return millis.map_or(Pushback::Never, |millis| {
            Pushback::Wait(Duration::from_millis(millis))
        });
    }
    let wait = retry_after.and_then(text).and_then(|text| {
        let seconds = digits(text, 18).map(Duration::from_secs);
        seconds.or_else(|| Some(date(text)?.saturating_sub(now)))
    });
    wait.map_or(Pushback::Silent, Pushback::Wait)
}

fn text(value: &[u8]) -> Option<&str> {
    let value = value.trim_ascii();
    let text = std::str::from_utf8(value).ok()?;
    (text.len() <= MAX_LENGTH).then_some(text)
}

fn digits(text: &str, most: usize) -> Option<u64> {
    let good = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    good.then(|| text.parse().ok()).flatten()
}

/// An HTTP-date since the epoch; what is before it is the epoch. Which day of the week it was is not asked.
fn date(text: &str) -> Option<Duration> {
    let text = text.split_once(", ").map_or(text, |(_, date)| date);
    let parsed = rfc2822::parse(text).map(|zoned| zoned.timestamp());
    let timestamp = parsed.ok().or_else(|| {
        let mut dates = OBSOLETE_DATES.iter();
        let date = dates.find_map(|format| DateTime::strptime(format, text).ok())?;
        Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })?;
    Some(since_epoch(timestamp))
}

fn since_epoch(timestamp: Timestamp) -> Duration {
    Duration::try_from(timestamp.as_duration()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_say_when_or_never() {
        use Pushback::{Never, Silent, Wait};
        let now = Duration::from_secs(784_111_777);
        let seconds = |seconds| Wait(Duration::from_secs(seconds));
        for (http, grpc, expected) in [
            (None, None, Silent),
            (Some("0"), None, seconds(0)),
            (Some(" 120 "), None, seconds(120)),
            (
                Some("999999999999999999"),
                None,
                seconds(999_999_999_999_999_999),
            ),
            (Some("Sun, 06 Nov 1994 08:49:37 GMT"), None, seconds(0)),
            (Some("Sun, 06 Nov 1994 08:50:07 GMT"), None, seconds(30)),
            (Some("Sunday, 06-Nov-94 08:50:07 GMT"), None, seconds(30)),
            (Some("Sun Nov  6 08:50:07 1994"), None, seconds(30)),
            (Some("Mon, 06 Nov 1994 08:50:07 GMT"), None, seconds(30)),
            (Some("Sun, 06 Nov 1904 08:49:37 GMT"), None, seconds(0)),
            (Some(""), None, Silent),
            (Some("-1"), None, Silent),
            (Some("1.5"), None, Silent),
            (Some("soon"), None, Silent),
            (Some("9999999999999999999"), None, Silent),
            (Some("1"), Some("250"), Wait(Duration::from_millis(250))),
            (None, Some("0"), seconds(0)),
            (None, Some("-1"), Never),
            (Some("1"), Some(""), Never),
            (None, Some("soon"), Never),
            (None, Some("99999999999"), Never),
        ] {
            let [http, grpc] = [http, grpc].map(|value: Option<&str>| value.map(str::as_bytes));
            assert_eq!(read(http, grpc, now), expected, "{http:?} {grpc:?}");
        }
        assert_eq!(read(Some(&[b'1'; 65]), None, now), Silent);
        assert_eq!(read(Some(b"\xff"), None, now), Silent);
    }
}
