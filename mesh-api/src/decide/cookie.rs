//! Cookies of requests, and those that a proxy makes (RFC 6265).

use crate::decide::{HeaderFields, Random};
use crate::model::affinity::CookieTerms;
use crate::name::CookieName;

/// The value of the first cookie called `name`, which is exact.
///
/// HTTP/2 may send the pairs in several fields (RFC 9113 section 8.2.3); quotes belong to the value.
pub fn value<'a>(headers: &'a dyn HeaderFields, name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    headers.each("cookie", &mut |field| {
        found = found.or_else(|| pairs(field).find_map(|pair| of_pair(pair.trim_ascii(), name)));
    });
    found
}

fn pairs(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(field);
    std::iter::from_fn(move || {
        let field = rest.take()?;
        let (pair, after) = match memchr::memchr(b';', field) {
            Some(at) => (field.get(..at)?, field.get(at + 1..)),
            None => (field, None),
        };
        rest = after;
        Some(pair)
    })
}

fn of_pair<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let rest = pair.strip_prefix(name.as_bytes())?.trim_ascii_start();
    rest.strip_prefix(b"=").map(<[u8]>::trim_ascii_start)
}

/// A new value: 128 random bits as text. It says nothing of who has it, and need not be secret: it opens nothing.
pub fn new_value(random: &mut dyn Random) -> String {
    let mut half = || random.below(u64::MAX);
    format!("{:016x}{:016x}", half(), half())
}

/// The value of the field `Set-Cookie` that gives a client the cookie.
pub fn set(name: &CookieName, value: &str, terms: &CookieTerms) -> String {
    let age = terms.ttl.map(|ttl| format!("; Max-Age={}", ttl.as_secs()));
    let age = age.unwrap_or_default();
    let secure = if terms.secure { "; Secure" } else { "" };
    let (path, same_site) = (&terms.path, terms.same_site.as_str());
    format!("{name}={value}; Path={path}{age}; HttpOnly{secure}; SameSite={same_site}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::decide::explanation::Fields;
    use crate::decide::tests::Seeded;
    use crate::model::affinity::SameSite;

    #[test]
    fn the_first_of_a_name_counts() {
        for (fields, wanted) in [
            (&[("Cookie", "a=1; b=2")][..], Some("2")),
            (&[("cookie", "bb=1;b=2;b=3")], Some("2")),
            (&[("cookie", "a=1"), ("cookie", "b=x=y")], Some("x=y")),
            (&[("cookie", "B=1")], None),
            (&[("cookie", "b = \"2\" ; c=1")], Some("\"2\"")),
            (&[("cookie", "b=")], Some("")),
            (&[("cookie", "b")], None),
            (&[], None),
        ] {
            let fields = Fields(fields);
            let found = value(&fields, "b").map(|value| std::str::from_utf8(value).unwrap());
            assert_eq!(found, wanted, "{fields:?}");
        }
    }

    #[test]
    fn a_new_one_says_its_terms() {
        let mut terms = CookieTerms {
            ttl: Some(Duration::from_hours(1)),
            path: "/shop".parse().unwrap(),
            same_site: SameSite::Lax,
            secure: false,
        };
        let name: CookieName = "canary".parse().unwrap();
        let text = set(&name, "17", &terms);
        assert_eq!(
            text,
            "canary=17; Path=/shop; Max-Age=3600; HttpOnly; SameSite=Lax"
        );
        (terms.ttl, terms.secure, terms.same_site) = (None, true, SameSite::None);
        let text = set(&name, "17", &terms);
        assert_eq!(
            text,
            "canary=17; Path=/shop; HttpOnly; Secure; SameSite=None"
        );
        let mut random = Seeded(1);
        let (one, two) = (new_value(&mut random), new_value(&mut random));
        assert!(one != two && one.len() == 32 && one.bytes().all(|b| b.is_ascii_hexdigit()));
    }
}
