//! What header changes do to a message's fields: the one meaning, for the proxy and for `explain`.
//!
//! Lists apply one after another, and each in the order set, add, remove (Gateway API
//! `HTTPHeaderFilter`). *Set* gives the first field of the name its new value in place, drops the
//! others, and appends where there is none. *Add* appends a field and leaves those there. *Remove*
//! drops every field of the name. Names compare without case; untouched fields keep their bytes.

use crate::model::route::HeaderChanges;

/// True if `changes` change nothing, so that a head can be passed on as it is.
pub fn is_noop(changes: &[&HeaderChanges]) -> bool {
    changes.iter().all(|changes| changes.is_empty())
}

/// The fields `original`, changed.
pub fn fields<'a>(
    changes: &[&'a HeaderChanges],
    original: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Vec<(&'a [u8], &'a [u8])> {
    let mut fields: Vec<_> = original.collect();
    for changes in changes {
        for (name, value) in &changes.set {
            set(
                &mut fields,
                name.as_str().as_bytes(),
                value.as_str().as_bytes(),
            );
        }
        let added = changes.add.iter();
        fields.extend(
            added.map(|(name, value)| (name.as_str().as_bytes(), value.as_str().as_bytes())),
        );
        for name in &changes.remove {
            fields.retain(|(found, _)| !found.eq_ignore_ascii_case(name.as_str().as_bytes()));
        }
    }
    fields
}

fn set<'a>(fields: &mut Vec<(&'a [u8], &'a [u8])>, name: &'a [u8], value: &'a [u8]) {
    let mut placed = false;
    fields.retain_mut(|field| {
        if !field.0.eq_ignore_ascii_case(name) {
            return true;
        }
        let first = !placed;
        placed = true;
        field.1 = value;
        first
    });
    if !placed {
        fields.push((name, value));
    }
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
        let after = fields(&[&first, &second], original.into_iter());
        let expected: [(&[u8], &[u8]); 4] = [
            (b"X-A", b"new"),
            (b"x-b", b"2"),
            (b"x-b", b"more"),
            (b"x-c", b"back"),
        ];
        assert_eq!(after, expected);
        assert!(!is_noop(&[&first]) && is_noop(&[&changes(&[], &[], &[])]));
    }
}
