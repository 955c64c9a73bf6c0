//! Cookies of a request (RFC 6265 section 5.4): pairs in one field or, over HTTP/2, in several.

use crate::decide::HeaderFields;

/// The value of the first cookie named `name`, byte for byte as it was sent.
pub fn value<'a>(headers: &'a dyn HeaderFields, name: &str) -> Option<&'a [u8]> {
    let mut found = None;
    headers.each("cookie", &mut |field| {
        if found.is_none() {
            found = of_field(field, name.as_bytes());
        }
    });
    found
}

fn of_field<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut pairs = field.split(|byte| *byte == b';');
    pairs.find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (own, value) = pair.split_at_checked(at)?;
        (own.trim_ascii() == name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::explanation::Fields;

    #[test]
    fn the_first_of_a_name_counts() {
        let fields = [
            ("Cookie", "a=1; beta = x=y ;c"),
            ("cookie", "beta=2; d=\"q\"; e="),
            ("x-cookie", "f=1"),
        ];
        let fields = Fields(&fields);
        for (name, expected) in [
            ("a", Some("1")),
            ("beta", Some("x=y")),
            ("c", None),
            ("d", Some("\"q\"")),
            ("e", Some("")),
            ("f", None),
            ("A", None),
        ] {
            let got = value(&fields, name).map(|value| std::str::from_utf8(value).unwrap());
            assert_eq!(got, expected, "{name}");
        }
    }
}
