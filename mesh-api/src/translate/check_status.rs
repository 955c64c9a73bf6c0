//! Checks of statuses and ranges of them.

use std::ops::RangeInclusive;

use crate::error::Faults;
use crate::model::policy::StatusRange;

/// What retries may name.
pub(super) const FAILURES: (RangeInclusive<u16>, &str) = (400..=599, "503 or 502-504");
/// What health checks may name.
pub(super) const FINAL: (RangeInclusive<u16>, &str) = (100..=599, "204 or 200-299");

/// A status `among` these, or a range of them, such as those of `example`.
pub(super) fn status_range(
    text: &str,
    (among, example): (RangeInclusive<u16>, &str),
    faults: &mut Faults,
) -> Option<StatusRange> {
    let number = |text: &str| {
        let status = text.parse::<u16>().ok();
        status.filter(|status| among.contains(status))
    };
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (number(from), number(to)) {
        (Some(from), Some(to)) if from <= to => Some(StatusRange { from, to }),
        _ => {
            let text: String = text.chars().take(80).collect();
            let (first, last) = (among.start(), among.end());
            faults.refuse(format!(
                "{text:?} is not a status or range between {first} and {last} (such as {example})"
            ));
            None
        }
    }
}
