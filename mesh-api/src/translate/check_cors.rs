//! Checks of the CORS filter (Gateway API 1.6 `HTTPCORSFilter`).

use std::collections::BTreeSet;

use crate::error::Faults;
use crate::model::cors::{Allowed, Cors, OriginPattern};
use crate::name::HeaderName;
use crate::resource::httproute::HTTPCORSFilter;
use crate::translate::check_reference::at_most;
use crate::translate::check_workload::whole;

/// Most origins, and names of fields (Gateway API).
const MAX_LISTED: usize = 64;
/// Most methods (Gateway API).
const MAX_METHODS: usize = 9;
/// How long a preflight's answer is kept where the filter does not say (Gateway API), in seconds.
const MAX_AGE: u32 = 5;
/// Longest that it may be kept: a day, where browsers cut it anyway.
const LONGEST_AGE: u32 = 86_400;

/// Checks a filter.
pub(super) fn cors(filter: &HTTPCORSFilter, faults: &mut Faults) -> Cors {
    let mut origins = Vec::new();
    faults.field("allowOrigins", |faults| {
        at_most(filter.allow_origins.len(), MAX_LISTED, "origins", faults);
        for (index, text) in filter.allow_origins.iter().enumerate().take(MAX_LISTED) {
            origins
                .extend(faults.index(index, |faults| faults.take(text.parse::<OriginPattern>())));
        }
        if origins.len() > 1 && origins.contains(&OriginPattern::All) {
            faults.refuse("has * beside other origins");
        }
    });
    let credentials = filter.allow_credentials.unwrap_or_default();
    let expose = faults.field("exposeHeaders", |faults| {
        let expose = headers(&filter.expose_headers, faults);
        if credentials && expose == Allowed::All {
            faults
                .refuse("is *, which with allowCredentials would name a field *: list the fields");
        }
        expose
    });
    Cors {
        origins,
        credentials,
        methods: faults.field("allowMethods", |faults| {
            methods(&filter.allow_methods, faults)
        }),
        headers: faults.field("allowHeaders", |faults| {
            headers(&filter.allow_headers, faults)
        }),
        expose,
        max_age: faults.field("maxAge", |faults| {
            let given = filter.max_age.map(|age| whole(age, 1, LONGEST_AGE, faults));
            given.flatten().unwrap_or(MAX_AGE)
        }),
    }
}

fn methods(given: &[String], faults: &mut Faults) -> Allowed<String> {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    at_most(given.len(), MAX_METHODS, "methods", faults);
    listed(given, MAX_METHODS, faults, |text, faults| {
        let is_known = KNOWN.contains(&text);
        if !is_known {
            faults.refuse("is not * or a method of RFC 9110 or PATCH, in upper case");
        }
        is_known.then(|| text.to_owned())
    })
}

fn headers(given: &[String], faults: &mut Faults) -> Allowed<HeaderName> {
    at_most(given.len(), MAX_LISTED, "fields", faults);
    listed(given, MAX_LISTED, faults, |text, faults| {
        faults.take(text.to_ascii_lowercase().parse())
    })
}

fn listed<T: Clone + Ord>(
    given: &[String],
    most: usize,
    faults: &mut Faults,
    check: impl Fn(&str, &mut Faults) -> Option<T>,
) -> Allowed<T> {
    if given.iter().any(|text| text == "*") {
        if given.len() > 1 {
            faults.refuse("has * beside other names");
        }
        return Allowed::All;
    }
    let mut seen = BTreeSet::new();
    let mut checked = Vec::new();
    for (index, text) in given.iter().enumerate().take(most) {
        faults.index(index, |faults| {
            let Some(name) = check(text, faults) else {
                return;
            };
            if seen.insert(name.clone()) {
                checked.push(name);
            } else {
                faults.refuse("is there twice");
            }
        });
    }
    Allowed::Listed(checked)
}
