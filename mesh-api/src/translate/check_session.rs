//! Checks of `sessionPersistence` of HTTP and gRPC rules (GEP-1619): a cookie that the mesh makes keeps a client on
//! a backend and an endpoint of it.
//!
//! Proxies keep nothing of a session: what only a memory of it could keep is refused.

use std::time::Duration;

use crate::error::Faults;
use crate::model::affinity::{Cookie, CookieTerms, KeySource, SameSite, Scope, Stickiness};
use crate::resource::session::{LifetimeType, SessionPersistence, SessionType};
use crate::translate::check_section::positive;

/// The cookie where a rule gives no name. One for all rules is enough: it holds a random key.
const COOKIE: &str = "mesh-session";

/// Checks the field of a rule.
pub(super) fn session(
    given: Option<&SessionPersistence>,
    faults: &mut Faults,
) -> Option<Stickiness> {
    let given = given?;
    faults.field("sessionPersistence", |faults| {
        unsupported(given, faults);
        let name = given.session_name.as_deref().unwrap_or(COOKIE);
        let name = faults.field("sessionName", |faults| faults.take(name.parse()));
        let terms = CookieTerms {
            ttl: lifetime(given, faults),
            path: faults.take("/".parse())?,
            same_site: SameSite::Lax,
            secure: false,
        };
        let cookie = Cookie {
            name: name?,
            issue: Some(terms),
        };
        Some(Stickiness {
            by: KeySource::Cookie(cookie),
            scope: Scope::Endpoint,
        })
    })
}

fn unsupported(given: &SessionPersistence, faults: &mut Faults) {
    if given.kind == Some(SessionType::Header) {
        faults.field("type", |faults| {
            faults.refuse(
                "Header is not supported: the mesh makes cookies; for a header that clients send, use \
                 stickiness.by.header of a TrafficPolicy",
            );
        });
    }
    if given.idle_timeout.is_some() {
        faults.field("idleTimeout", |faults| {
            faults.refuse(
                "is not supported: proxies keep no sessions, so none can be idle; use absoluteTimeout",
            );
        });
    }
}

/// How long clients keep the cookie; `None`: for their session.
fn lifetime(given: &SessionPersistence, faults: &mut Faults) -> Option<Duration> {
    let config = given.cookie_config.as_ref();
    let kind = config.and_then(|config| config.lifetime_type);
    let is_permanent = kind == Some(LifetimeType::Permanent);
    let absolute = positive("absoluteTimeout", given.absolute_timeout.as_ref(), faults);
    let fault = if is_permanent && given.absolute_timeout.is_none() {
        "is needed with lifetimeType Permanent"
    } else if !is_permanent && given.absolute_timeout.is_some() {
        "needs cookieConfig.lifetimeType Permanent: nothing but the cookie's Max-Age ends a session"
    } else if absolute.is_some_and(|time| time.subsec_nanos() != 0) {
        "is not in whole seconds"
    } else {
        return absolute;
    };
    faults.field("absoluteTimeout", |faults| faults.refuse(fault));
    None
}
