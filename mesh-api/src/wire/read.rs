//! Reading checked values out of messages: each fault is recorded at its field.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Faults;
use crate::model::origin::{Origin, Sourced};
use crate::wire::generated as wire;

/// Parses the text of `field`.
pub(super) fn text<T: FromStr>(field: &str, text: &str, faults: &mut Faults) -> Option<T>
where
    T::Err: Display,
{
    faults.field(field, |f| f.take(text.parse()))
}

/// Parses the text of `field`, which may be empty.
#[expect(
    clippy::option_option,
    reason = "the outer is a fault, the inner a value left out"
)]
pub(super) fn optional<T: FromStr>(
    field: &str,
    from: &str,
    faults: &mut Faults,
) -> Option<Option<T>>
where
    T::Err: Display,
{
    if from.is_empty() {
        return Some(None);
    }
    text(field, from, faults).map(Some)
}

/// Reads each element of a repeated `field`, at most `max` of them. All are read even after a fault.
pub(super) fn list<M, T>(
    field: &str,
    from: &[M],
    max: usize,
    faults: &mut Faults,
    read: impl Fn(&M, &mut Faults) -> Option<T>,
) -> Option<Vec<T>> {
    faults.field(field, |f| {
        if from.len() > max {
            f.refuse(format!("has {} elements, more than {max}", from.len()));
            return None;
        }
        let read: Vec<_> = from
            .iter()
            .enumerate()
            .map(|(at, m)| f.index(at, |f| read(m, f)))
            .collect();
        read.into_iter().collect()
    })
}

/// The value of `field`, which must be set.
pub(super) fn required<'m, M>(
    field: &str,
    from: Option<&'m M>,
    faults: &mut Faults,
) -> Option<&'m M> {
    if from.is_none() {
        faults.field(field, |f| {
            f.refuse("is not set, or of a kind this build does not know");
        });
    }
    from
}

/// An enumeration's value, which must be known and not the unspecified one.
pub(super) fn choice<W, T>(
    field: &str,
    from: i32,
    faults: &mut Faults,
    map: impl Fn(W) -> Option<T>,
) -> Option<T>
where
    W: TryFrom<i32>,
{
    let value = W::try_from(from).ok().and_then(map);
    if value.is_none() {
        faults.field(field, |f| {
            f.refuse(format!("{from} is not a value this build knows"));
        });
    }
    value
}

/// A number of `field` within `range`.
pub(super) fn number<T>(
    field: &str,
    from: u32,
    range: std::ops::RangeInclusive<T>,
    faults: &mut Faults,
) -> Option<T>
where
    T: TryFrom<u32> + PartialOrd + Display,
{
    let value = T::try_from(from).ok().filter(|value| range.contains(value));
    if value.is_none() {
        faults.field(field, |f| {
            f.refuse(format!(
                "{from} is not within {} to {}",
                range.start(),
                range.end()
            ));
        });
    }
    value
}

/// The origin of a value.
pub(super) fn origin(
    field: &str,
    from: Option<&wire::Origin>,
    faults: &mut Faults,
) -> Option<Origin> {
    let Some(from) = from else {
        return Some(Origin::Default);
    };
    faults.field(field, |f| {
        let plain = |text: &str| {
            (1..=1024).contains(&text.len()) && text.bytes().all(|b| matches!(b, 0x20..=0x7e))
        };
        if !plain(&from.kind) || !plain(&from.path) {
            f.refuse("has a kind or path that is not plain text of at most 1024 bytes");
            return None;
        }
        Some(Origin::Field {
            kind: from.kind.clone(),
            object: text("object", &from.object, f)?,
            path: from.path.clone(),
        })
    })
}

/// A value with its origin.
pub(super) fn sourced<T>(
    value: Option<T>,
    origin_field: &str,
    from: Option<&wire::Origin>,
    faults: &mut Faults,
) -> Option<Sourced<T>> {
    let origin = origin(origin_field, from, faults);
    Some(Sourced::new(value?, origin?))
}

/// The message of an origin.
pub(super) fn write_origin(origin: &Origin) -> Option<wire::Origin> {
    match origin {
        Origin::Default => None,
        Origin::Field { kind, object, path } => Some(wire::Origin {
            kind: kind.clone(),
            object: object.to_string(),
            path: path.clone(),
        }),
    }
}

/// A duration as it travels; over 584 years it is cut.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// True for a method: a token (RFC 9110 section 9.1) of at most 64 bytes.
pub(super) fn is_method(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (1..=64).contains(&text.len()) && text.bytes().all(token)
}
