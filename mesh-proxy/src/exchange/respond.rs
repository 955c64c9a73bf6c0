//! The way back: the app's response, or an answer of the mesh's own.

use std::rc::Rc;

use bytes::BytesMut;
use mesh_api::decide::Respond;
use mesh_api::model::route::HeaderChanges;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Next, Outcome, Receiving, Scope};
use crate::attempt::{Answer, Plan};
use crate::context::Context;
use crate::error::{Error, Kind, Side};
use crate::filter::{self, ResponseChanges};
use crate::h1::{Connection, Framing, RequestHead};
use crate::relay::{self, RequestBody};

/// The value of `mesh-error` for `kind`, made at `origin` (`outbound` or `inbound`).
///
/// `unsent` tells the peer's proxy that the app saw nothing.
pub fn mesh_error(origin: &str, kind: Kind) -> String {
    let unsent = if kind.is_unsent() || matches!(kind, Kind::OverLimit | Kind::NotHere) {
        "; unsent"
    } else {
        ""
    };
    format!("origin={origin}; reason={}{unsent}", kind.reason())
}

/// Passes an app's response down.
pub(super) async fn relay<T>(
    context: &Rc<Context>,
    downstream: &mut Connection<T>,
    request: (&RequestHead, &mut RequestBody),
    answer: Answer,
    plan: &Plan<'_>,
    outcome: &mut Outcome,
) -> Result<Next, Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (head, body) = request;
    let Answer { mut reached, head: response } = answer;
    outcome.status = response.status();
    if reached.is_tunnelled() {
        outcome.reason = reached.reason_of_peer(&response);
    }
    let close = !head.keep_alive() || context.shared.drain.is_draining() || !body.is_read();
    let framing = framing_down(head, response.framing());
    // An app cannot speak for the mesh; a peer's proxy can, over its tunnel.
    let strip: &[&str] = if reached.is_tunnelled() { &[] } else { &["mesh-error"] };
    let close = close || framing == Framing::UntilClose;
    let changes = ResponseChanges {
        changes: plan.response_headers,
        framing,
        close,
        append: &[],
        strip,
        version_minor: head.minor_version(),
    };
    downstream.queue_head(|out: &mut BytesMut| filter::write_response(&response, &changes, out));
    let bodies = (response.body(), framing);
    let relayed = relay::exchange_bodies(
        downstream,
        &mut reached.connection,
        body,
        bodies,
        &mut outcome.bytes_out,
    )
    .await?;
    let reuse = relayed.upstream_complete && response.keep_alive();
    context.give_back(reached, reuse);
    Ok(if close || !body.is_read() { Next::Close } else { Next::KeepAlive })
}

/// How the response is framed downstream: a body of unknown length needs chunks or the end of the
/// connection, which is all that HTTP/1.0 knows.
fn framing_down(head: &RequestHead, framing: Framing) -> Framing {
    match framing {
        Framing::Chunked | Framing::UntilClose if head.minor_version() == 0 => Framing::UntilClose,
        Framing::UntilClose => Framing::Chunked,
        Framing::Empty | Framing::Length(_) | Framing::Chunked => framing,
    }
}

/// Answers for a failed exchange.
pub(super) async fn refuse<T>(
    context: &Rc<Context>,
    downstream: &mut Connection<T>,
    head: &RequestHead,
    scope: &Scope,
    error: &Error,
    outcome: &mut Outcome,
) -> Next
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    tracing::debug!(%error, source = error.source.as_deref().map(tracing::field::display), "exchange refused");
    outcome.status = error.kind.status();
    outcome.reason = Some(error.kind.reason());
    if error.kind == Kind::DownstreamGone || error.kind == Kind::Cut {
        // Nobody to answer, or a response begun that cannot be finished: end it visibly.
        return Next::Close;
    }
    let value = mesh_error(scope.origin(), error.kind);
    let text = match (&error.source, error.side) {
        (Some(source), Side::Internal | Side::Downstream) => format!("{}: {source}\n", error.kind.reason()),
        _ => format!("{}\n", error.kind.reason()),
    };
    let fields = [("content-type", "text/plain; charset=utf-8"), ("mesh-error", &value)];
    let close = !may_keep(context, head) || matches!(error.kind, Kind::BadMessage(_));
    send_reply(downstream, head, (error.kind.status(), &fields, text.as_bytes()), close).await
}

/// Answers as a rule says: a redirect, or a refusal that the rules imply.
pub(super) async fn respond<T>(
    context: &Rc<Context>,
    downstream: &mut Connection<T>,
    head: &RequestHead,
    scope: &Scope,
    respond: &Respond<'_>,
    outcome: &mut Outcome,
) -> Next
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    outcome.status = respond.status;
    outcome.rule = respond.rule.map(|rule| (rule.route.clone(), rule.rule.index));
    let mut fields: Vec<(&str, &str)> = Vec::new();
    let (value, text);
    if let Some(refusal) = &respond.refusal {
        outcome.reason = Some(refusal.reason());
        value = format!("origin={}; reason={}", scope.origin(), refusal.reason());
        text = refusal.to_string() + "\n";
        fields.push(("content-type", "text/plain; charset=utf-8"));
        fields.push(("mesh-error", &value));
    } else {
        text = String::new();
    }
    if let Some(location) = &respond.location {
        fields.push(("location", location));
    }
    let changed = changed_fields(respond.response_headers, &fields);
    let fields: Vec<(&str, &str)> = changed.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let close = !may_keep(context, head);
    send_reply(downstream, head, (respond.status, &fields, text.as_bytes()), close).await
}

/// The reply's fields after the rule's response header changes.
fn changed_fields(changes: Option<&HeaderChanges>, fields: &[(&str, &str)]) -> Vec<(String, String)> {
    filter::change_text(changes, fields)
}

/// True if the connection can carry another request after a reply that read none of this one's body.
fn may_keep(context: &Context, head: &RequestHead) -> bool {
    head.keep_alive() && head.framing() == Framing::Empty && !context.shared.drain.is_draining()
}

async fn send_reply<T>(
    downstream: &mut Connection<T>,
    head: &RequestHead,
    reply: (u16, &[(&str, &str)], &[u8]),
    close: bool,
) -> Next
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (status, fields, body) = reply;
    let is_head = head.method() == "HEAD";
    downstream.queue_head(|out: &mut BytesMut| {
        filter::write_reply(&filter::Reply { status, fields, body, close, is_head }, out);
    });
    match downstream.flush().await {
        Ok(()) if !close => Next::KeepAlive,
        _ => Next::Close,
    }
}

/// Refuses a plaintext peer, in words if it speaks HTTP/1.
pub async fn refuse_plaintext<T>(
    context: &Rc<Context>,
    stream: T,
    speaks_http: bool,
    receiving: &Receiving,
) where
    T: AsyncRead + AsyncWrite + Unpin,
{
    context.count_plaintext_refused(&receiving.entry.workload);
    if !speaks_http {
        return;
    }
    let mut downstream = Connection::new(stream);
    let value = mesh_error("inbound", Kind::TlsRequired);
    let fields = [("content-type", "text/plain; charset=utf-8"), ("mesh-error", &value)];
    let body = b"tls-required: this port takes mutual TLS only\n";
    downstream.queue_head(|out: &mut BytesMut| {
        let status = Kind::TlsRequired.status();
        filter::write_reply(&filter::Reply { status, fields: &fields, body, close: true, is_head: false }, out);
    });
    // The peer may be gone; a refusal owes it nothing more.
    downstream.flush().await.unwrap_or_default();
    downstream.shutdown().await.unwrap_or_default();
}
