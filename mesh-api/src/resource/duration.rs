//! Durations as the Gateway API writes them (GEP-2257).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `250ms`, `10s`, `1h30m`: one to four parts of up to five digits and a unit of `h`, `m`, `s`, `ms`.
///
/// Held as written, so that a bad one is reported with every other fault of its resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(pub String);

impl Duration {
    /// What it stands for.
    ///
    /// # Errors
    /// The text breaks the grammar.
    pub fn parse(&self) -> Result<std::time::Duration, BadDuration> {
        parse(&self.0).ok_or_else(|| BadDuration(self.0.chars().take(80).collect()))
    }
}

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration (such as 250ms, 10s or 1h30m)")]
pub struct BadDuration(String);

fn parse(text: &str) -> Option<std::time::Duration> {
    let mut rest = text;
    let mut total = 0u64;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (number, tail) = rest.split_at_checked(digits)?;
        let (unit, tail) = unit(tail)?;
        total += number.parse::<u64>().ok()? * unit;
        rest = tail;
        if rest.is_empty() {
            return Some(std::time::Duration::from_millis(total));
        }
    }
    None
}

/// The milliseconds of the unit that `text` starts with, and what follows it.
fn unit(text: &str) -> Option<(u64, &str)> {
    [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
        .into_iter()
        .find_map(|(unit, millis)| Some((millis, text.strip_prefix(unit)?)))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_gep_2257() {
        let millis = |text: &str| {
            Duration(text.to_owned())
                .parse()
                .ok()
                .map(|d| d.as_millis())
        };
        for (text, expected) in [
            ("0s", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1m1ms", 60_001),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for bad in [
            "",
            "1",
            "s",
            "1d",
            "-1s",
            "1.5s",
            "100000s",
            "1h1m1s1ms1s",
            "1s ",
            "١s",
        ] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }
}
