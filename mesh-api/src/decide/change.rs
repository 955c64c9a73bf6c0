//! What header changes do to a message's fields: the one meaning, for the proxy and for `explain`.
//!
//! Lists apply one after another, and each in the order set, add, remove (Gateway API
//! `HTTPHeaderFilter`). *Set* gives the first field of the name its new value in place, drops the
//! others, and appends where there is none. *Add* appends a field and leaves those there. *Remove*
//! drops every field of the name. Names compare without case; untouched fields keep their bytes.

use smallvec::SmallVec;

use crate::model::route::HeaderChanges;
use crate::name::{HeaderName, HeaderValue};

/// True if `changes` change nothing, so that a head can be passed on as it is.
pub fn is_noop(changes: &[&HeaderChanges]) -> bool {
    changes.iter().all(|changes| changes.is_empty())
}

/// A field of a changed head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Its place among the original fields, if it is one of those as it was.
    pub original: Option<usize>,
}

impl<'a> Changed<'a> {
    fn new(name: &'a HeaderName, value: &'a HeaderValue) -> Self {
        Self {
            name: name.as_str().as_bytes(),
            value: value.as_str().as_bytes(),
            original: None,
        }
    }
}

/// Fields that fit where they are made: most heads have fewer.
const FEW: usize = 24;

/// The fields `original`, each with a place of its own, changed.
pub fn fields<'a>(
    changes: &[&'a HeaderChanges],
    original: impl Iterator<Item = (usize, &'a [u8], &'a [u8])>,
) -> SmallVec<[Changed<'a>; FEW]> {
    let received = |(place, name, value)| Changed {
        name,
        value,
        original: Some(place),
    };
    let mut fields: SmallVec<[Changed<'a>; FEW]> = original.map(received).collect();
    for changes in changes {
        for (name, value) in &changes.set {
            set(&mut fields, Changed::new(name, value));
        }
        let added = changes.add.iter();
        fields.extend(added.map(|(name, value)| Changed::new(name, value)));
        for name in &changes.remove {
            let name = name.as_str().as_bytes();
            if fields.iter().any(|field| is_named(field, name)) {
                fields.retain(|field| !is_named(field, name));
            }
        }
    }
    fields
}

/// Gives the first field of the name the new value, and drops the others.
fn set<'a>(fields: &mut SmallVec<[Changed<'a>; FEW]>, new: Changed<'a>) {
    let mut places = (0..fields.len()).filter(|at| {
        let field = fields.get(*at);
        field.is_some_and(|field| is_named(field, new.name))
    });
    let (first, has_more) = (places.next(), places.next().is_some());
    let Some(first) = first else {
        return fields.push(new);
    };
    if let Some(field) = fields.get_mut(first) {
        field.value = new.value;
        field.original = None;
    }
    if has_more {
        let mut at = 0;
        fields.retain(|field| {
            at += 1;
            at - 1 == first || !is_named(field, new.name)
        });
    }
}

#[inline]
fn is_named(field: &Changed<'_>, name: &[u8]) -> bool {
    field.name.len() == name.len() && field.name.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> HeaderChanges {
        let pairs = |list: &[(&str, &str)]| {
            list.iter()
                .map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()))
                .collect()
        };
        HeaderChanges {
            set: pairs(set),
            add: pairs(add),
            remove: remove.iter().map(|name| name.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn lists_apply_in_order() {
        let original: [(&[u8], &[u8]); 4] = [
            (b"X-A", b"1"),
            (b"x-b", b"2"),
            (b"x-a", b"3"),
            (b"x-c", b"4"),
        ];
        let first = changes(
            &[("x-a", "new"), ("x-d", "set")],
            &[("x-b", "more")],
            &["x-c"],
        );
        let second = changes(&[], &[("x-c", "back")], &["x-d"]);
        let original = original.into_iter().enumerate();
        let original = original.map(|(at, (name, value))| (at, name, value));
        let after = fields(&[&first, &second], original);
        let after: Vec<_> = after
            .iter()
            .map(|field| (field.name, field.value, field.original))
            .collect();
        let expected: [(&[u8], &[u8], Option<usize>); 4] = [
            (b"X-A", b"new", None),
            (b"x-b", b"2", Some(1)),
            (b"x-b", b"more", None),
            (b"x-c", b"back", None),
        ];
        assert_eq!(after, expected);
        assert!(!is_noop(&[&first]) && is_noop(&[&changes(&[], &[], &[])]));
    }
}
