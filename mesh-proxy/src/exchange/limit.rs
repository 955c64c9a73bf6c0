//! Limits of the receiving side: asks them about a request, and answers for what has no room.

use std::rc::Rc;
use std::sync::Arc;

use mesh_api::decide::Caller;
use mesh_api::decide::grpc;
use mesh_api::decide::pushback::{GRPC_PUSHBACK, RETRY_AFTER};
use mesh_api::decide::ratelimit::{
    Outcome as Asked, RATE_LIMIT, RATE_LIMIT_POLICY, RateFields, RateRefusal, Received,
    caller_namespace, retry_after_ms, retry_after_secs,
};
use mesh_api::model::grpc::GrpcCode;
use mesh_api::snapshot::RateLimitTable;

use super::plan::Sources;
use super::{Next, Outcome, Receiving, Scope, respond};
use crate::context::Context;
use crate::error::Kind;
use crate::h1::RequestHead;
use crate::leg::Downstream;

/// Asks the limits of `table`: what the response tells of them, if any is about the request.
///
/// # Errors
/// One has no room.
pub(super) fn ask<'t>(
    context: &Context,
    head: &RequestHead,
    receiving: &Receiving,
    sources: &Sources<'_>,
    table: &'t Arc<RateLimitTable>,
) -> Result<Option<Box<RateFields>>, Box<RateRefusal<'t>>> {
    let peer = receiving.peer.as_ref();
    let caller = Caller {
        namespace: caller_namespace(peer),
        labels: None,
        service_account: peer.map(|peer| &peer.service_account),
        address: Some(receiving.address),
    };
    let received = Received {
        request: sources.request(head, caller),
        port: receiving.port,
        peer,
        address: receiving.address,
    };
    match context.limit(table, &received) {
        Asked::Unlimited => Ok(None),
        Asked::Pass(fields) => Ok(Some(Box::new(fields))),
        Asked::Refuse(refusal) => Err(refusal),
    }
}

/// Answers for a request over a limit.
pub(super) async fn refuse(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    scope: &Scope,
    refusal: &RateRefusal<'_>,
    outcome: &mut Outcome,
) -> Next {
    let reason = Kind::RateLimited.reason();
    outcome.reason = Some(reason);
    outcome.status = refusal.limit.status;
    let policy = refusal.policy.to_string();
    let value = respond::mesh_error_by(scope, reason, Some(&policy));
    let is_call = head.field("content-type").is_some_and(grpc::is_grpc);
    let wait = refusal.wait;
    let (status, code, wait) = if is_call {
        let wait = (GRPC_PUSHBACK, retry_after_ms(wait).to_string());
        (200, Some(GrpcCode::ResourceExhausted), wait)
    } else {
        let wait = (RETRY_AFTER, retry_after_secs(wait).to_string());
        (outcome.status, None, wait)
    };
    let fields = [
        (wait.0, wait.1.as_str()),
        (RATE_LIMIT, refusal.fields.limit.as_str()),
        (RATE_LIMIT_POLICY, refusal.fields.policy.as_str()),
    ];
    let close = respond::is_closing(context, head, outcome);
    let answer = (status, code, value.as_str());
    respond::send_refusal(downstream, head, answer, &fields, close).await
}
