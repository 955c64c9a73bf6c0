//! The way back: the app's response, or an answer of the mesh's own.

use std::future::poll_fn;
use std::rc::Rc;

use ::h2::Reason;
use mesh_api::decide::ratelimit::{RATE_LIMIT, RATE_LIMIT_POLICY, RateFields};
use mesh_api::decide::{CorsField, Respond, change, cors, grpc, refusal};
use mesh_api::model::grpc::GrpcCode;
use mesh_api::model::route::HeaderChanges;
use tokio::io::AsyncWrite;

use super::{Next, Outcome, Scope};
use crate::attempt::{Answer, Plan};
use crate::buffer::Fill;
use crate::context::{Context, Reached};
use crate::copy::Carried;
use crate::error::{Error, Kind, Side};
use crate::filter::{self, ResponseChanges};
use crate::h1::{Body, Connection, Framing, RequestHead, ResponseHead, Version};
use crate::h2;
use crate::leg::Downstream;
use crate::relay::{self, RequestBody};

const PLAIN_TEXT: (&str, &str) = ("content-type", "text/plain; charset=utf-8");
const CLOSE: (&str, &str) = ("connection", "close");

/// The value of `mesh-error` for `kind`, made at `origin` (`outbound` or `inbound`).
///
/// `unsent` tells the peer's proxy that the app saw nothing.
pub fn mesh_error(origin: &str, kind: Kind) -> String {
    let unsent = kind.is_unsent() || kind.is_limit() || kind == Kind::NotHere;
    let unsent = if unsent { "; unsent" } else { "" };
    format!("origin={origin}; reason={}{unsent}", kind.reason())
}

/// Passes an app's response down.
pub(super) async fn relay(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    request: (&RequestHead, &mut RequestBody),
    answer: Answer,
    plan: &Plan<'_>,
    outcome: &mut Outcome,
) -> Result<Next, Error> {
    let (head, body) = request;
    let Answer {
        mut reached,
        head: response,
        ..
    } = answer;
    outcome.status = response.status();
    if response.status() == 101 {
        outcome.upgraded = Some(Box::new(reached));
        return Box::pin(switch(downstream, &response, plan)).await;
    }
    if reached.tunnelled && response.field("mesh-error").is_some() {
        outcome.reason = Some("refused");
    }
    let close = !head.keep_alive() || outcome.is_last(context) || !body.is_read();
    let framing = framing_down(head, response.framing());
    // An app cannot speak for the mesh; a peer's proxy can, over its tunnel.
    let strip: &[&str] = if reached.tunnelled {
        &[]
    } else {
        &["mesh-error"]
    };
    let close = close || framing == Framing::UntilClose;
    let append = connection_field(head, close);
    let given = given(append, plan);
    let changes = ResponseChanges {
        changes: plan.response_headers,
        framing,
        append: given.as_deref().unwrap_or(append),
        strip,
    };
    match &plan.cors {
        None => downstream.queue_response(&response, &changes),
        Some(cors) => queue_shared(downstream, &response, &changes, cors),
    }
    let mut told = None;
    let told_late = reached.is_judged_late().then_some(&mut told);
    let bodies = (Body::new(response.framing()), framing, told_late);
    let relayed = relay::exchange_bodies(
        downstream,
        &mut reached.leg,
        body,
        bodies,
        &mut outcome.bytes_out,
        plan.stream_idle,
    )
    .await?;
    if let Some(judgement) = told {
        context.judge_late(&reached, judgement);
    }
    let reuse = relayed.upstream_complete && response.keep_alive();
    context.give_back(reached, reuse);
    Ok(if close || !body.is_read() {
        Next::Close
    } else {
        Next::KeepAlive
    })
}

/// Queues a response's head with what it says to pages of other origins.
fn queue_shared(
    downstream: &mut impl Downstream,
    response: &ResponseHead,
    changes: &ResponseChanges<'_>,
    cors: &[CorsField],
) {
    let mut append = changes.append.to_vec();
    append.extend(cors.iter().map(|(name, value)| (*name, value.as_str())));
    let strip = [changes.strip, &cors::OF_APPS].concat();
    let changes = ResponseChanges {
        append: &append,
        strip: &strip,
        ..*changes
    };
    downstream.queue_response(response, &changes);
}

/// Passes a 101 down: what follows is no HTTP any more.
async fn switch(
    downstream: &mut impl Downstream,
    response: &ResponseHead,
    plan: &Plan<'_>,
) -> Result<Next, Error> {
    let protocol = response.upgrade().unwrap_or_default();
    let protocol = String::from_utf8_lossy(protocol);
    let changes = ResponseChanges {
        changes: plan.response_headers,
        framing: Framing::UntilClose,
        append: &[("connection", "upgrade"), ("upgrade", &protocol)],
        strip: &["mesh-error"],
    };
    downstream.queue_response(response, &changes);
    let gone = |error| Error::downstream(Kind::DownstreamGone).because(error);
    flush(downstream).await.map_err(gone)?;
    Ok(Next::Close)
}

/// Carries bytes both ways after a 101, for as long as both ends want and the plan lets them.
pub(super) async fn carry(
    downstream: &mut impl Downstream,
    mut reached: Reached,
    plan: &Plan<'_>,
    outcome: &mut Outcome,
) -> Result<Next, Error> {
    let mut carried = Carried::default();
    let leg = &mut reached.leg;
    let copying = relay::exchange_bytes(downstream, leg, &mut carried, plan.stream_idle);
    let copied = match plan.stream_end {
        None => copying.await,
        Some(end) => Box::pin(tokio::time::timeout_at(end.into(), copying))
            .await
            .unwrap_or_else(|_| Err(Error::upstream(Kind::MaxStreamDuration))),
    };
    outcome.bytes_in += carried.sent;
    outcome.bytes_out += carried.received;
    if copied.is_err() {
        reached.leg.reset();
    }
    copied.map(|()| Next::Close)
}

/// The fields `append`, what is told of limits, and the cookies that were made for the client, where there
/// are any.
fn given<'p>(
    append: &[(&'static str, &'static str)],
    plan: &'p Plan<'_>,
) -> Option<Vec<(&'p str, &'p str)>> {
    let cookies = &plan.affinity.cookies;
    let set = || {
        cookies
            .iter()
            .map(|cookie| ("set-cookie", cookie.set.as_str()))
    };
    let limits = plan.limits.as_deref();
    let told = || {
        let each = |fields: &'p RateFields| {
            let (limit, policy) = (fields.limit.as_str(), fields.policy.as_str());
            [(RATE_LIMIT, limit), (RATE_LIMIT_POLICY, policy)]
        };
        limits.map(each).into_iter().flatten()
    };
    let any = !cookies.is_empty() || limits.is_some();
    any.then(|| append.iter().copied().chain(told()).chain(set()).collect())
}

/// What an HTTP/1.0 or an ending connection is told.
fn connection_field(head: &RequestHead, close: bool) -> &'static [(&'static str, &'static str)] {
    match (close, head.version()) {
        (true, _) => &[CLOSE],
        (false, Version::Http10) => &[("connection", "keep-alive")],
        (false, Version::Http11 | Version::Http2) => &[],
    }
}

/// How the response is framed downstream: a body of unknown length needs chunks or the end of the
/// connection, which is all that HTTP/1.0 knows.
pub(super) fn framing_down(head: &RequestHead, framing: Framing) -> Framing {
    match framing {
        Framing::Chunked | Framing::UntilClose if head.version() == Version::Http10 => {
            Framing::UntilClose
        }
        Framing::UntilClose => Framing::Chunked,
        Framing::Empty | Framing::Length(_) | Framing::Chunked => framing,
    }
}

/// Answers for a failed exchange.
pub(super) async fn refuse(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    scope: &Scope,
    error: &Error,
    outcome: &mut Outcome,
) -> Next {
    let source = error.source.as_ref().map(ToString::to_string);
    tracing::debug!(%error, source, "exchange failed");
    // What a try before the last may have done is not undone by the last one's failing to connect.
    let kind = match error.kind {
        kind if kind.is_unsent() && outcome.tries.arrived > 0 => Kind::Reset,
        kind => kind,
    };
    outcome.reason = Some(kind.reason());
    if outcome.responding || error.kind == Kind::DownstreamGone {
        // A response begun cannot be taken back: it ends visibly unfinished, and is never completed.
        outcome.status = if outcome.responding {
            outcome.status
        } else {
            error.kind.status()
        };
        return Next::Abort(code_of(error));
    }
    outcome.status = kind.status();
    let value = mesh_error(scope.origin(), kind);
    let text = match (&source, error.side) {
        (Some(source), Side::Internal | Side::Downstream) => {
            format!("{}: {source}\n", kind.reason())
        }
        _ => format!("{}\n", kind.reason()),
    };
    let fields = [PLAIN_TEXT, ("mesh-error", value.as_str())];
    let close = outcome.is_last(context) || !may_keep(head);
    send_reply(
        downstream,
        head,
        (kind.status(), &fields, text.as_bytes()),
        close,
    )
    .await
}

/// The code that a stream is reset with: what happened to the other leg's, or to the peer itself.
fn code_of(error: &Error) -> Reason {
    match error.kind {
        Kind::DownstreamGone
        | Kind::RequestTimeout
        | Kind::IdleTimeout
        | Kind::MaxStreamDuration => Reason::CANCEL,
        _ => h2::reason_of(error),
    }
}

/// Answers a message that breaks HTTP, and says no more.
pub(super) async fn refuse_message(
    downstream: &mut impl Downstream,
    scope: &Scope,
    status: u16,
    text: &str,
) {
    let value = mesh_error(scope.origin(), Kind::BadMessage(status));
    let fields = [PLAIN_TEXT, ("mesh-error", value.as_str()), CLOSE];
    downstream.queue_reply("GET", status, &fields, format!("{text}\n").as_bytes());
    // The peer may be gone; a refusal owes it nothing more.
    flush(downstream).await.unwrap_or_default();
}

async fn flush(downstream: &mut impl Downstream) -> std::io::Result<()> {
    poll_fn(|task| downstream.poll_flush(task)).await
}

/// Answers as a rule says: a redirect, or a refusal that the rules imply.
pub(super) async fn respond(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    scope: &Scope,
    respond: &Respond<'_>,
    outcome: &mut Outcome,
) -> Next {
    outcome.status = respond.status;
    outcome.rule = respond
        .rule
        .map(|rule| (rule.route.clone(), rule.rule.index));
    let mut fields: Vec<(&str, &str)> = Vec::new();
    let (value, text);
    let mut body = "";
    if let Some(refusal) = &respond.refusal {
        outcome.reason = Some(refusal.reason());
        value = format!("origin={}; reason={}", scope.origin(), refusal.reason());
        text = format!("{}\n", refusal.reason());
        body = &text;
        fields.push(PLAIN_TEXT);
        fields.push(("mesh-error", &value));
    }
    if let Some(content) = respond.content {
        body = &content.body;
        if !body.is_empty() {
            fields.push(("content-type", content.content_type.as_str()));
        }
    }
    if let Some(location) = &respond.location {
        fields.push(("location", location));
    }
    let changes: Vec<&HeaderChanges> = respond.response_headers.into_iter().collect();
    let bytes = fields.iter().enumerate();
    let bytes = bytes.map(|(at, (name, value))| (at, name.as_bytes(), value.as_bytes()));
    let changed = change::fields(&changes, bytes);
    let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let changed: Vec<_> = changed
        .iter()
        .map(|field| (text_of(field.name), text_of(field.value)))
        .collect();
    let changed = changed.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let cors = respond.cors.iter().map(|(n, v)| (*n, v.as_str()));
    let fields: Vec<_> = changed.chain(cors).collect();
    let close = outcome.is_last(context) || !may_keep(head);
    send_reply(
        downstream,
        head,
        (respond.status, &fields, body.as_bytes()),
        close,
    )
    .await
}

/// True if the connection ends after a reply that read none of the request's content.
pub(super) fn is_closing(context: &Context, head: &RequestHead, outcome: &Outcome) -> bool {
    outcome.is_last(context) || !may_keep(head)
}

/// The value of `mesh-error` for what a policy decided.
pub(super) fn mesh_error_by(scope: &Scope, reason: &str, policy: Option<&str>) -> String {
    refusal::mesh_error_value(scope.origin(), reason, policy)
}

/// Refuses with a status; a gRPC call with `code`, or with the one that stands for the status. `more` are
/// fields of the answer.
pub(super) async fn send_refusal(
    downstream: &mut impl Downstream,
    head: &RequestHead,
    (status, code, mesh_error): (u16, Option<GrpcCode>, &str),
    more: &[(&str, &str)],
    close: bool,
) -> Next {
    let own = [PLAIN_TEXT, (refusal::MESH_ERROR, mesh_error)];
    let fields = [&own[..], more].concat();
    let Some(code) = code else {
        let text = format!("{}\n", reason_of(mesh_error));
        return send_reply(downstream, head, (status, &fields, text.as_bytes()), close).await;
    };
    let number = code.number().to_string();
    let mut fields = vec![
        ("content-type", "application/grpc"),
        ("grpc-status", number.as_str()),
        ("grpc-message", reason_of(mesh_error)),
        (refusal::MESH_ERROR, mesh_error),
    ];
    fields.extend_from_slice(more);
    fields.extend_from_slice(connection_field(head, close));
    downstream.queue_reply(head.method(), status, &fields, b"");
    match flush(downstream).await {
        Ok(()) if !close => Next::KeepAlive,
        _ => Next::Close,
    }
}

/// The reason within a value of `mesh-error`.
fn reason_of(mesh_error: &str) -> &str {
    let mut parts = mesh_error.split("; ");
    let found = parts.find_map(|part| part.strip_prefix("reason="));
    found.unwrap_or_default()
}

/// True if the connection can carry another request after a reply that read none of this one's body.
fn may_keep(head: &RequestHead) -> bool {
    head.keep_alive() && head.framing() == Framing::Empty
}

async fn send_reply(
    downstream: &mut impl Downstream,
    head: &RequestHead,
    reply: (u16, &[(&str, &str)], &[u8]),
    close: bool,
) -> Next {
    let (status, fields, body) = reply;
    let mut fields = fields.to_vec();
    // A caller of gRPC takes its answer from fields, in a response that has no content.
    let code = grpc::of_refusal(status).number().to_string();
    let told = grpc::message(body.trim_ascii_end());
    let is_call = head.field("content-type").is_some_and(grpc::is_grpc);
    let (status, body) = if is_call && status >= 400 {
        fields.retain(|(name, _)| *name != "content-type");
        fields.push(("content-type", "application/grpc"));
        fields.push(("grpc-status", &code));
        fields.push(("grpc-message", &told));
        (200, &b""[..])
    } else {
        (status, body)
    };
    fields.extend_from_slice(connection_field(head, close));
    downstream.queue_reply(head.method(), status, &fields, body);
    match flush(downstream).await {
        Ok(()) if !close => Next::KeepAlive,
        _ => Next::Close,
    }
}

/// Refuses a CONNECT.
pub async fn refuse_connect<T>(mut downstream: Connection<T>, kind: Kind)
where
    T: Fill + AsyncWrite,
{
    let value = mesh_error("outbound", kind);
    let fields = [PLAIN_TEXT, ("mesh-error", value.as_str()), CLOSE];
    let body = format!("{}\n", kind.reason());
    filter::write_reply(
        kind.status(),
        &fields,
        body.as_bytes(),
        downstream.queue_tail(),
    );
    // The peer may be gone; a refusal owes it nothing more.
    downstream.shutdown().await.unwrap_or_default();
}

/// Refuses a plaintext peer, in words if it speaks HTTP/1.
pub async fn refuse_plaintext<T>(stream: T, speaks_http: bool)
where
    T: Fill + AsyncWrite,
{
    if !speaks_http {
        return;
    }
    let mut downstream = Connection::new(stream);
    let value = mesh_error("inbound", Kind::TlsRequired);
    let fields = [PLAIN_TEXT, ("mesh-error", value.as_str()), CLOSE];
    let body = b"tls-required: this port takes mutual TLS only\n";
    filter::write_reply(
        Kind::TlsRequired.status(),
        &fields,
        body,
        downstream.queue_tail(),
    );
    // The peer may be gone; a refusal owes it nothing more.
    downstream.shutdown().await.unwrap_or_default();
}
