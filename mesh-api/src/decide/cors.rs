//! Cross-origin requests (Fetch standard, "CORS protocol"; Gateway API 1.6 `HTTPCORSFilter`).
//!
//! A preflight is answered here and never reaches an app. Other responses get fields that say who may
//! read them, and lose those of the app: where a rule has the filter, it alone decides. Wildcards for
//! methods and fields are answered by what was asked for, which serves requests with credentials too.

use crate::decide::{HeaderFields, Request};
use crate::model::cors::{Allowed, Cors, OriginPattern};
use crate::name::HeaderName;

/// A field of an answer.
pub type CorsField = (&'static str, String);

/// Fields of an app that a rule with the filter does not pass on.
pub const OF_APPS: [&str; 6] = [
    ALLOW_ORIGIN,
    ALLOW_CREDENTIALS,
    ALLOW_METHODS,
    ALLOW_HEADERS,
    EXPOSE_HEADERS,
    MAX_AGE,
];

const ALLOW_ORIGIN: &str = "access-control-allow-origin";
const ALLOW_CREDENTIALS: &str = "access-control-allow-credentials";
const ALLOW_METHODS: &str = "access-control-allow-methods";
const ALLOW_HEADERS: &str = "access-control-allow-headers";
const EXPOSE_HEADERS: &str = "access-control-expose-headers";
const MAX_AGE: &str = "access-control-max-age";
const ASKED_METHOD: &str = "access-control-request-method";
const ASKED_HEADERS: &str = "access-control-request-headers";

/// The method that a preflight asks about; `None` for any other request.
pub fn asked_method<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    let is_preflight = request.method == "OPTIONS" && one(request.headers, "origin").is_some();
    is_preflight
        .then(|| one(request.headers, ASKED_METHOD))
        .flatten()
}

/// The fields of the answer to a preflight, which is 200 whether or not the origin is allowed; `None` if
/// it is none.
pub fn preflight(cors: &Cors, request: &Request<'_>) -> Option<Vec<CorsField>> {
    let method = asked_method(request)?;
    let vary = format!("Origin, {ASKED_METHOD}, {ASKED_HEADERS}");
    let mut fields = vec![("vary", vary)];
    if !shared(cors, request, &mut fields) {
        return Some(fields);
    }
    let methods = match &cors.methods {
        Allowed::All => token(method).map(str::to_owned),
        Allowed::Listed(listed) => joined(listed),
    };
    let asked = one(request.headers, ASKED_HEADERS);
    let headers = match &cors.headers {
        Allowed::All => asked.and_then(names),
        Allowed::Listed(listed) => joined(listed),
    };
    fields.extend(methods.map(|methods| (ALLOW_METHODS, methods)));
    fields.extend(headers.map(|headers| (ALLOW_HEADERS, headers)));
    fields.push((MAX_AGE, cors.max_age.to_string()));
    Some(fields)
}

/// The fields of any other response to `request`.
pub fn actual(cors: &Cors, request: &Request<'_>) -> Vec<CorsField> {
    let mut fields = Vec::new();
    if !is_open(cors) {
        fields.push(("vary", "Origin".to_owned()));
    }
    shared(cors, request, &mut fields);
    fields
}

/// Adds what every response to an allowed origin says; false if the origin is not allowed.
fn shared(cors: &Cors, request: &Request<'_>, fields: &mut Vec<CorsField>) -> bool {
    let origin = one(request.headers, "origin").and_then(text);
    let allowed = origin.filter(|origin| cors.origins.iter().any(|one| one.takes_in(origin)));
    let Some(origin) = allowed else {
        return false;
    };
    let origin = if is_open(cors) { "*" } else { origin };
    fields.push((ALLOW_ORIGIN, origin.to_owned()));
    if cors.credentials {
        fields.push((ALLOW_CREDENTIALS, "true".to_owned()));
    }
    let expose = match &cors.expose {
        Allowed::All => Some("*".to_owned()),
        Allowed::Listed(listed) => joined(listed),
    };
    fields.extend(expose.map(|expose| (EXPOSE_HEADERS, expose)));
    true
}

/// True if the answer is the same whatever the origin.
fn is_open(cors: &Cors) -> bool {
    !cors.credentials && cors.origins.contains(&OriginPattern::All)
}

fn joined(names: &[impl ToString]) -> Option<String> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The value of a field that comes once.
fn one<'a>(headers: &'a dyn HeaderFields, name: &str) -> Option<&'a [u8]> {
    let (mut value, mut count) = (None, 0);
    headers.each(name, &mut |next| {
        value = Some(next);
        count += 1;
    });
    value.filter(|_| count == 1)
}

/// What can be sent back as it came.
fn text(value: &[u8]) -> Option<&str> {
    let plain = value.len() <= 1024 && value.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(value).ok().filter(|_| plain)
}

fn token(value: &[u8]) -> Option<&str> {
    text(value).filter(|text| {
        !text
            .bytes()
            .any(|byte| b",;:()<>@/[]?={}\"\\".contains(&byte))
    })
}

/// Names of fields, separated by commas, as they were asked for.
fn names(value: &[u8]) -> Option<String> {
    let value = std::str::from_utf8(value)
        .ok()
        .filter(|text| text.len() <= 4096)?;
    let names = value.split(',').map(|name| name.trim_matches([' ', '\t']));
    let names: Option<Vec<HeaderName>> = names
        .filter(|name| !name.is_empty())
        .map(|name| name.to_ascii_lowercase().parse().ok())
        .collect();
    joined(&names?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::with_request;

    fn rules(origins: &[&str], credentials: bool, methods: &[&str], headers: &[&str]) -> Cors {
        let methods = methods.iter().map(|name| (*name).to_owned()).collect();
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        Cors {
            origins: origins.iter().map(|text| text.parse().unwrap()).collect(),
            credentials,
            methods: if methods == ["*"] {
                Allowed::All
            } else {
                Allowed::Listed(methods)
            },
            headers: if headers == ["*"] {
                Allowed::All
            } else {
                Allowed::Listed(names(headers))
            },
            expose: Allowed::Listed(names(&["x-seen"])),
            max_age: 5,
        }
    }

    fn told(fields: Option<Vec<CorsField>>) -> String {
        let Some(fields) = fields else {
            return "-".into();
        };
        let short = |(name, value): &CorsField| {
            let name = name.trim_start_matches("access-control-");
            format!("{name}={value}")
        };
        let fields = fields.iter().filter(|(name, _)| *name != "vary");
        fields.map(short).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_preflight_is_told_what_the_rule_allows() {
        let listed = rules(
            &["https://*.a.b"],
            true,
            &["PUT", "GET"],
            &["x-one", "x-two"],
        );
        let all = rules(&["*"], true, &["*"], &["*"]);
        let open = rules(&["*"], false, &[], &[]);
        let (origin, method, headers) = (
            "origin",
            "access-control-request-method",
            "access-control-request-headers",
        );
        for (cors, line, fields, expected) in [
            (
                &listed,
                "OPTIONS /",
                &[
                    (origin, "https://x.a.b"),
                    (method, "DELETE"),
                    (headers, "x-three"),
                ][..],
                "allow-origin=https://x.a.b; allow-credentials=true; expose-headers=x-seen; \
                 allow-methods=PUT, GET; allow-headers=x-one, x-two; max-age=5",
            ),
            (
                &listed,
                "OPTIONS /",
                &[(origin, "https://a.b"), (method, "PUT")],
                "",
            ),
            (&listed, "OPTIONS /", &[(origin, "https://x.a.b")], "-"),
            (
                &listed,
                "GET /",
                &[(origin, "https://x.a.b"), (method, "PUT")],
                "-",
            ),
            (&listed, "OPTIONS /", &[(method, "PUT")], "-"),
            (
                &all,
                "OPTIONS /",
                &[
                    (origin, "http://q:81"),
                    (method, "PATCH"),
                    (headers, "X-A,x-b"),
                ],
                "allow-origin=http://q:81; allow-credentials=true; expose-headers=x-seen; \
                 allow-methods=PATCH; allow-headers=x-a, x-b; max-age=5",
            ),
            (
                &all,
                "OPTIONS /",
                &[(origin, "null"), (method, "A, B"), (headers, "x a")],
                "allow-origin=null; allow-credentials=true; expose-headers=x-seen; max-age=5",
            ),
            (
                &open,
                "OPTIONS /",
                &[(origin, "http://q"), (method, "PUT")],
                "allow-origin=*; expose-headers=x-seen; max-age=5",
            ),
        ] {
            let got = with_request(line, fields, |request, _| preflight(cors, request));
            assert_eq!(told(got), expected, "{line} {fields:?}");
        }
    }

    #[test]
    fn other_responses_say_who_may_read_them() {
        let listed = rules(&["https://a.b"], false, &[], &[]);
        let open = rules(&["*"], false, &[], &[]);
        for (cors, fields, expected, varies) in [
            (
                &listed,
                &[("origin", "https://a.b")][..],
                "allow-origin=https://a.b; expose-headers=x-seen",
                true,
            ),
            (&listed, &[("origin", "https://evil")], "", true),
            (&listed, &[], "", true),
            (
                &listed,
                &[("origin", "https://a.b"), ("origin", "https://a.b")],
                "",
                true,
            ),
            (
                &open,
                &[("origin", "https://evil")],
                "allow-origin=*; expose-headers=x-seen",
                false,
            ),
        ] {
            let got = with_request("GET /", fields, |request, _| actual(cors, request));
            let has_vary = got.contains(&("vary", "Origin".to_owned()));
            assert_eq!((told(Some(got)).as_str(), has_vary), (expected, varies));
        }
    }
}
