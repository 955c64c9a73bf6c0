//! Routes of requests as checked rules (Gateway API 1.6 `HTTPRoute` and `GRPCRoute`, Service parents).
//!
//! A gRPC call is a request for the path `/service/method`, so that one decision serves both.

use crate::model::affinity::Stickiness;
use crate::model::cors::Cors;
use crate::model::mirror::{Mirror, Mirroring};
use crate::model::narrowing::Narrowing;
use crate::model::origin::Sourced;
use crate::model::path::{PathMatch, TextMatch};
use crate::model::policy::{ExchangeTimeouts, RetryPolicy};
use crate::name::{HeaderName, HeaderValue, Hostname, Name, ObjectName, Port};

/// A route of a destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Which kind the user wrote.
    pub kind: RouteKind,
    /// The route.
    pub name: ObjectName,
    /// When it was created, seconds since the epoch: the older of two equal matches wins.
    pub created: i64,
    /// Its rules, in the order written.
    pub rules: Vec<Rule>,
}

/// The kind of a route of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum RouteKind {
    /// HTTP requests.
    #[default]
    Http,
    /// gRPC calls.
    Grpc,
}

impl RouteKind {
    /// As `kind` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
        }
    }
}

/// One rule of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// `spec.rules[].name`.
    pub name: Option<Name>,
    /// Its place in `spec.rules`, for the field path.
    pub index: u32,
    /// Any of these; never empty (a rule without matches matches every request).
    pub matches: Vec<RouteMatch>,
    /// What a request must meet beyond a match: all of these.
    pub narrowings: Vec<Narrowing>,
    /// Which pages of other origins may call it.
    pub cors: Option<Cors>,
    /// Changes to the request's head before it is forwarded.
    pub request_headers: HeaderChanges,
    /// Changes to the response's head before it is returned.
    pub response_headers: HeaderChanges,
    /// What happens to a request that matches.
    pub action: Action,
    /// Request and per-try timeouts in force.
    pub timeouts: ExchangeTimeouts,
    /// Retries in force.
    pub retry: Sourced<RetryPolicy>,
    /// Which of the destination's lists of faults is injected; `None` for nothing.
    pub faults: Option<u32>,
    /// Where copies of its requests go.
    pub mirrors: Vec<Mirror>,
    /// How copies are made, where there are any.
    pub mirroring: Sourced<Mirroring>,
    /// What keeps a user on one of the backends; `None`: nothing does.
    pub stickiness: Option<Sourced<Stickiness>>,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Forward to one of these by weight, after rewriting the target.
    Forward {
        /// Where to; all weights 0 or no backend at all answers 500.
        backends: Vec<WeightedBackend>,
        /// Changes to host and path.
        rewrite: Option<Rewrite>,
    },
    /// Answer with a redirect.
    Redirect(Redirect),
    /// Answer with this.
    Respond(DirectResponse),
    /// A filter does not resolve: answers 500 with this reason.
    Broken {
        /// Why, as the status condition says it: `DirectResponse demo/x not found`.
        reason: String,
    },
}

/// An answer as a user wrote it (our kind `DirectResponse`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// The object.
    pub name: ObjectName,
    /// 200 to 599.
    pub status: u16,
    /// Its content, at most [`MAX_BODY`](DirectResponse::MAX_BODY) bytes.
    pub body: String,
    /// What the content is.
    pub content_type: HeaderValue,
}

impl DirectResponse {
    /// Most bytes of content.
    pub const MAX_BODY: usize = 65_536;

    /// True if an answer of this status may have content (RFC 9110 section 6.4.1).
    pub fn may_have_body(status: u16) -> bool {
        !matches!(status, 204 | 205 | 304)
    }
}

/// A weighted target of a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightedBackend {
    /// Its share among the rule's weights (Gateway API: 0 to 1,000,000).
    pub weight: u32,
    /// Where the request goes.
    pub target: Target,
    /// Changes to the request's head for this backend, after the rule's.
    pub request_headers: HeaderChanges,
    /// Changes to the response's head for this backend, before the rule's.
    pub response_headers: HeaderChanges,
    /// Changes to host and path for this backend: each part that it names goes before the rule's.
    pub rewrite: Option<Rewrite>,
    /// A redirect instead of this backend.
    pub redirect: Option<Redirect>,
}

/// What a backendRef means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Index into the destination's backends.
    Backend(u32),
    /// A reference that does not resolve: answers 500 with this reason.
    Broken {
        /// Why, as the status condition says it: `Service demo/x not found`.
        reason: String,
    },
}

/// A condition on a request: all parts hold.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMatch {
    /// On the path.
    pub path: PathMatch,
    /// On the method, exact.
    pub method: Option<String>,
    /// On header fields; several values of one name are joined with `,`.
    pub headers: Vec<HeaderMatch>,
    /// On query parameters; the first value of a repeated name counts.
    pub query: Vec<QueryMatch>,
}

/// A condition on one header.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderMatch {
    /// The field's name.
    pub name: HeaderName,
    /// The condition on its value.
    pub value: TextMatch,
}

/// A condition on one query parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryMatch {
    /// The parameter's name, exact.
    pub name: String,
    /// The condition on its value.
    pub value: TextMatch,
}

/// Header changes in the order set, add, remove (Gateway API `HTTPHeaderFilter`).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct HeaderChanges {
    /// Replaces every field of the name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Appends a field.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Removes every field of the name.
    pub remove: Vec<HeaderName>,
}

/// What changes nothing.
pub static UNCHANGED: HeaderChanges = HeaderChanges {
    set: Vec::new(),
    add: Vec::new(),
    remove: Vec::new(),
};

impl HeaderChanges {
    /// True if it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// True unless the field belongs to one connection (RFC 9110 section 7.6.1), frames or addresses
    /// the message, or is the mesh's own: such fields no change may name.
    pub fn may_change(name: &HeaderName) -> bool {
        !matches!(
            name.as_str(),
            "connection"
                | "content-length"
                | "host"
                | "keep-alive"
                | "mesh-deadline"
                | "mesh-error"
                | "proxy-connection"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
        )
    }
}

/// Changes to a request's target (Gateway API `HTTPURLRewriteFilter`).
#[derive(Clone, Debug, PartialEq)]
pub struct Rewrite {
    /// The new Host.
    pub hostname: Option<Hostname>,
    /// The new path.
    pub path: Option<PathRewrite>,
}

/// How a path is replaced; the query stays (Gateway API `HTTPPathModifier`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// The whole path.
    Full(String),
    /// The prefix that the rule matched.
    Prefix(String),
}

/// A redirect (Gateway API `HTTPRequestRedirectFilter`).
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// `http` or `https`; empty keeps the request's.
    pub scheme: Option<String>,
    /// The host of the Location; empty keeps the request's.
    pub hostname: Option<Hostname>,
    /// The path of the Location; empty keeps the request's.
    pub path: Option<PathRewrite>,
    /// The port of the Location; empty: the scheme's default if `scheme` is set, else the request's.
    pub port: Option<Port>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}
