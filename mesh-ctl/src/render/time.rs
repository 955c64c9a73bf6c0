//! Times as people read them.

/// Seconds as one or two units: `42s`, `5m30s`, `3h20m`, `12d4h`.
pub(crate) fn age(seconds: u64) -> String {
    const UNITS: [(u64, char); 4] = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let largest = UNITS.iter().position(|(length, _)| seconds >= *length);
    let Some(largest) = largest else {
        return "0s".to_owned();
    };
    let mut rest = seconds;
    let mut text = String::new();
    for (length, unit) in UNITS.iter().skip(largest).take(2) {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            text.push_str(&count.to_string());
            text.push(*unit);
        }
    }
    text
}

/// What is left until `end`, or how long ago it was; both in seconds since the epoch.
pub(crate) fn until(end: i64, now: i64) -> String {
    let distance = age(end.abs_diff(now));
    if end >= now {
        format!("in {distance}")
    } else {
        format!("{distance} ago")
    }
}

/// Seconds since the epoch as a date and time in UTC, to the second.
pub(crate) fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Now, in seconds since the epoch.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_in_two_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (330, "5m30s"),
            (3_600, "1h"),
            (12_000, "3h20m"),
            (86_400 * 12 + 4 * 3_600 + 59, "12d4h"),
        ] {
            assert_eq!(age(seconds), expected);
        }
        assert_eq!(until(10, 70), "1m ago");
        assert_eq!(until(70, 10), "in 1m");
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
    }
}
