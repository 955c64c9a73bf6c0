//! One possible outcome of a request, with every value in force and the field that set it.

use serde::Serialize;

use crate::decide::change::Changed;
use crate::decide::explanation::endpoint::{Endpoint, endpoints, percent};
use crate::decide::explanation::near::View;
use crate::decide::explanation::setting::{Setting, debug, duration, retry_text, setting};
use crate::decide::explanation::{Fields, breaker, bytes, health, kept, outlier};
use crate::decide::refusal::{OUTBOUND, mesh_error_value};
use crate::decide::{
    Abort, CorsField, Decision, Refusal, Request, Respond, backend_name, change, deadline, fault,
    grpc,
};
use crate::model::origin::Sourced;
use crate::model::route::{Action, HeaderChanges};
use crate::snapshot::{DestinationTable, FaultTable, RuleTable};

/// A possible outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// How often, in percent by the rule's weights.
    pub percent: f64,
    /// The place of the backend in the rule's `backendRefs`, where one is chosen.
    pub backend_ref: Option<usize>,
    /// What happens.
    #[serde(flatten)]
    pub result: Result,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Result {
    /// It goes to a backend.
    Forward(Box<Forward>),
    /// It is redirected, as a rule says.
    #[serde(rename_all = "camelCase")]
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// The Location.
        location: String,
        /// Changes to the response's head, in order.
        response_headers: Vec<Change>,
    },
    /// It is answered, as a rule says.
    #[serde(rename_all = "camelCase")]
    Answer {
        /// The status.
        status: u16,
        /// `DirectResponse demo/closed`, or `CORS preflight`.
        by: String,
        /// Fields of the answer that its rule gives it.
        fields: Vec<(String, String)>,
        /// Changes to the response's head, in order.
        response_headers: Vec<Change>,
        /// Its content, cut after 1024 characters.
        body: String,
    },
    /// The mesh refuses it.
    #[serde(rename_all = "camelCase")]
    Refuse {
        /// The status.
        status: u16,
        /// The gRPC code instead of it, where the request is a gRPC call.
        grpc: Option<&'static str>,
        /// Why, as metrics and logs name it.
        reason: &'static str,
        /// Why, in words.
        detail: String,
        /// The value of the field `mesh-error`.
        mesh_error: String,
    },
}

/// How a request is forwarded.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forward {
    /// The Service and port.
    pub backend: String,
    /// The head that goes out.
    pub request: Head,
    /// Changes to the response's head, in order.
    pub response_headers: Vec<Change>,
    /// What the response says to pages of other origins; none without a CORS filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Vec<(String, String)>>,
    /// From the request's first byte to the response's last.
    pub request_timeout: Setting,
    /// For one try, to the response's head.
    pub per_try_timeout: Setting,
    /// Between two bytes.
    pub stream_idle: Setting,
    /// For all of it, what it is upgraded to included.
    pub max_stream_duration: Setting,
    /// Whether the next hop is told of the request's timeout.
    pub propagate_deadline: Setting,
    /// Retries.
    pub retry: Setting,
    /// Time to connect.
    pub connect_timeout: Setting,
    /// How an endpoint is chosen.
    pub algorithm: Setting,
    /// What keeps a user on a backend or an endpoint, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stickiness: Option<Setting>,
    /// What of a request picks the endpoint, of algorithms that go by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<Setting>,
    /// How long an endpoint that is new gets less than its share, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Setting>,
    /// Which endpoints are preferred by where they are, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality: Option<Setting>,
    /// What of this request keeps it together with others: the source that was present, or what is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<String>,
    /// Idle time after which a pooled connection is closed.
    pub pool_idle: Setting,
    /// What may be in flight at a time.
    pub limits: Setting,
    /// When endpoints are taken out for what they answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<Setting>,
    /// How endpoints are asked whether they work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Setting>,
    /// Age from which on a pooled connection carries no further exchange.
    pub max_connection_age: Setting,
    /// Where it may go.
    pub endpoints: Vec<Endpoint>,
}

/// A request's head. Fields that frame or address the message (Host, Content-Length, Connection ...)
/// are not among `fields`: the proxy writes them itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The Host.
    pub host: String,
    /// The fields, in order.
    pub fields: Vec<(String, String)>,
}

/// One change to a head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `set`, `add` or `remove`.
    pub kind: &'static str,
    /// The field.
    pub name: String,
    /// Its value; none for `remove`.
    pub value: Option<String>,
}

/// Describes one of the `outcomes` of a request.
pub(super) fn describe(
    (at, outcomes): (Option<usize>, usize),
    decision: &Decision<'_>,
    request: &Request<'_>,
    fields: Fields<'_>,
) -> Outcome {
    let (rule, result) = match decision {
        Decision::Abort(abort) => (abort.rule, aborted(abort)),
        Decision::Forward(forward) => (forward.rule, forwarded(forward, request, fields)),
        Decision::Respond(respond) => (respond.rule, responded(respond, fields)),
    };
    // A key may leave no choice.
    let weight = at
        .filter(|_| outcomes > 1)
        .zip(rule)
        .and_then(|(at, rule)| match &rule.rule.action {
            Action::Forward { backends, .. } => {
                let weight = u64::from(backends.get(at)?.weight);
                Some(percent(weight, rule.total_weight))
            }
            Action::Redirect(_) | Action::Respond(_) | Action::Broken { .. } => None,
        });
    Outcome {
        percent: weight.unwrap_or(100.0),
        backend_ref: at,
        result,
    }
}

/// A head as text; `target` and `host` replace those of the request.
pub(super) fn head(
    request: &Request<'_>,
    target: Option<&str>,
    host: Option<&str>,
    fields: &[Changed<'_>],
) -> Head {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let passed = |name: &str| {
        name.parse()
            .is_ok_and(|name| HeaderChanges::may_change(&name))
    };
    let fields = fields
        .iter()
        .map(|field| (text(field.name), text(field.value)));
    let as_received = || match request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.to_owned(),
    };
    Head {
        method: request.method.to_owned(),
        target: target.map_or_else(as_received, str::to_owned),
        host: host.unwrap_or(request.authority).to_owned(),
        fields: fields
            .filter(|(name, _)| passed(&name.to_ascii_lowercase()))
            .collect(),
    }
}

fn forwarded(
    forward: &crate::decide::Forward<'_>,
    request: &Request<'_>,
    fields: Fields<'_>,
) -> Result {
    let settings = &forward.backend.settings;
    let changed = change::fields(&forward.request_headers, bytes(fields));
    let view = View::new(forward.backend, request.caller.labels);
    let host = forward.host.map(crate::name::Hostname::as_str);
    Result::Forward(Box::new(Forward {
        backend: forward.backend.name.to_string(),
        request: head(request, forward.target.as_deref(), host, &changed),
        response_headers: forward
            .response_headers
            .into_iter()
            .flat_map(changes)
            .collect(),
        cors: forward.cors.as_deref().map(owned),
        request_timeout: request_timeout(forward, fields)
            .unwrap_or_else(|| setting(&forward.timeouts.request, duration)),
        per_try_timeout: setting(&forward.timeouts.per_try, duration),
        stream_idle: setting(&forward.timeouts.stream_idle, duration),
        max_stream_duration: setting(&forward.timeouts.max_stream_duration, duration),
        propagate_deadline: setting(&forward.timeouts.propagate_deadline, debug),
        retry: setting(forward.retry, retry_text),
        connect_timeout: setting(&settings.connect_timeout, debug),
        algorithm: setting(&settings.algorithm, |algorithm| {
            algorithm.as_str().to_owned()
        }),
        stickiness: forward.stickiness.map(kept::stickiness),
        hash_on: kept::hash_on(settings),
        slow_start: kept::slow_start(settings),
        locality: view.setting(),
        kept_by: kept::by(forward, request),
        pool_idle: setting(&settings.pool_idle, debug),
        limits: setting(&settings.limits, breaker::limits_text),
        outlier_detection: outlier::told(settings),
        health_check: health::told(settings),
        max_connection_age: setting(&settings.max_connection_age, duration),
        endpoints: endpoints(&view, forward.affinity.endpoint),
    }))
}

/// The caller's own limit, where it is less than the policy's. One that is a point in time is not told:
/// here is no clock.
fn request_timeout(forward: &crate::decide::Forward<'_>, fields: Fields<'_>) -> Option<Setting> {
    let mut own = ["grpc-timeout", deadline::FIELD].into_iter();
    let (name, given) = own.find_map(|own| {
        let mut given = fields.0.iter();
        let given = given.find(|(name, _)| name.eq_ignore_ascii_case(own));
        given.map(|given| (own, given))
    })?;
    let asked = deadline::asked(given.1.as_bytes())?;
    let least = deadline::request(forward.timeouts, Some(asked))?;
    (forward.timeouts.request.value != Some(least)).then(|| Setting {
        value: debug(&least),
        origin: format!("{name} of the request"),
    })
}

/// Only a proxy draws one; told all the same.
fn aborted(abort: &Abort<'_>) -> Result {
    Result::Refuse {
        status: fault::status(abort.answer).unwrap_or_default(),
        grpc: None,
        reason: fault::REASON,
        detail: format!("abort {} [{}]", abort.answer, abort.origin),
        mesh_error: mesh_error_value(
            OUTBOUND,
            fault::REASON,
            fault::policy(abort.origin).as_deref(),
        ),
    }
}

/// The copies that a rule asks for, each with the field that says how they are made.
pub(super) fn mirrors(destination: &DestinationTable, rule: &RuleTable) -> Vec<Setting> {
    let Sourced { value, origin } = &rule.rule.mirroring;
    let compared = [
        (value.status, "status"),
        (value.latency, "latency"),
        (value.body_hash, "body"),
    ];
    let compared: Vec<&str> = compared
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect();
    let compared = match compared.as_slice() {
        [] => String::new(),
        names => format!(", compares {}", names.join(" and ")),
    };
    let each = rule.rule.mirrors.iter().map(|mirror| Setting {
        value: format!(
            "{} of {}, at most {} at a time{compared}",
            backend_name(destination, &mirror.target),
            mirror.share,
            value.max_concurrent
        ),
        origin: origin.to_string(),
    });
    each.collect()
}

/// The faults of `table` that a request meets, each with its field.
pub(super) fn faults(table: &FaultTable, request: &Request<'_>) -> Vec<Setting> {
    let applying = fault::applying(table, request);
    applying
        .map(|fault| Setting {
            value: fault.to_string(),
            origin: format!("{}[{}]", table.faults.origin, fault.place),
        })
        .collect()
}

fn responded(respond: &Respond<'_>, fields: Fields<'_>) -> Result {
    let Some(refusal) = &respond.refusal else {
        return asked_for(respond);
    };
    let content_type = fields.0.iter();
    let content_type = content_type.filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let is_grpc = content_type
        .into_iter()
        .any(|(_, value)| grpc::is_grpc(value.as_bytes()));
    Result::Refuse {
        status: respond.status,
        grpc: is_grpc.then(|| refusal.grpc_code().as_str()),
        reason: refusal.reason(),
        detail: refusal_text(refusal),
        mesh_error: mesh_error_value(OUTBOUND, refusal.reason(), None),
    }
}

/// An answer that a rule asks for.
fn asked_for(respond: &Respond<'_>) -> Result {
    let response_headers = respond.response_headers;
    let response_headers = response_headers.into_iter().flat_map(changes).collect();
    if let Some(location) = &respond.location {
        return Result::Redirect {
            status: respond.status,
            location: location.clone(),
            response_headers,
        };
    }
    let mut fields = owned(&respond.cors);
    let (by, body) = match respond.content {
        Some(content) => {
            let given = ("content-type".to_owned(), content.content_type.to_string());
            fields.extend((!content.body.is_empty()).then_some(given));
            let body = content.body.chars().take(1024).collect();
            (format!("DirectResponse {}", content.name), body)
        }
        None => ("CORS preflight".to_owned(), String::new()),
    };
    Result::Answer {
        status: respond.status,
        by,
        fields,
        response_headers,
        body,
    }
}

fn owned(fields: &[CorsField]) -> Vec<(String, String)> {
    let fields = fields.iter();
    fields
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

/// Why, in words.
pub(super) fn refusal_text(refusal: &Refusal<'_>) -> String {
    match refusal {
        Refusal::NoRoute => "the destination has routes and none of their rules matches".to_owned(),
        Refusal::NoBackend => "the rule has no backend with a weight".to_owned(),
        Refusal::BrokenBackend(reason) | Refusal::BrokenFilter(reason) => {
            reason.clone().into_owned()
        }
    }
}

fn changes(from: &HeaderChanges) -> Vec<Change> {
    let change =
        |kind, name: &crate::name::HeaderName, value: Option<&crate::name::HeaderValue>| Change {
            kind,
            name: name.to_string(),
            value: value.map(ToString::to_string),
        };
    let set = from
        .set
        .iter()
        .map(|(name, value)| change("set", name, Some(value)));
    let add = from
        .add
        .iter()
        .map(|(name, value)| change("add", name, Some(value)));
    let remove = from.remove.iter().map(|name| change("remove", name, None));
    set.chain(add).chain(remove).collect()
}
