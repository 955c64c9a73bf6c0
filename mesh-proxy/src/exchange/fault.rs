//! Carries injected faults out: a wait, a failure instead of an app's answer. What is injected was
//! decided before (`mesh_api::decide::fault`).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use ::h2::Reason;
use mesh_api::decide::retry::{self, Verdict};
use mesh_api::decide::{Abort, deadline, fault};
use mesh_api::model::fault::AbortAnswer;

use super::{Next, Outcome, Scope, plan, respond};
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::h1::RequestHead;
use crate::leg::Downstream;

/// Waits, unless the caller goes away meanwhile.
pub(super) async fn wait(downstream: &mut impl Downstream, delay: Duration) -> Result<(), Error> {
    let mut waiting = pin!(tokio::time::sleep(delay));
    poll_fn(|task| {
        if waiting.as_mut().poll(task).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let broken = downstream.poll_broken(task);
        broken.map(|()| Err(Error::downstream(Kind::DownstreamGone)))
    })
    .await
}

/// Fails the request as injected; `None` where it is to be decided on anew instead.
///
/// # Errors
/// The caller went away, or its time passed, before that.
pub(super) async fn abort(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    (scope, started): (&Scope, Instant),
    abort: &Abort<'_>,
    outcome: &mut Outcome,
) -> Result<Option<Next>, Error> {
    let rule = abort.rule;
    outcome.rule = rule.map(|rule| (rule.route.clone(), rule.rule.index));
    outcome.note_fault(context, [abort.delay.is_some(), true, false]);
    let limit = deadline::request(abort.timeouts, plan::asked(head, scope, started).0);
    let end = limit.and_then(|limit| started.checked_add(limit));
    let waiting = async {
        if let Some(delay) = abort.delay {
            wait(downstream, delay).await?;
        }
        let Some(backoff) = again(context, head, abort, outcome.tries.count + 1) else {
            return Ok(false);
        };
        wait(downstream, backoff).await?;
        Ok(true)
    };
    let is_again = match end {
        None => waiting.await,
        Some(end) => tokio::time::timeout_at(end.into(), waiting)
            .await
            .unwrap_or_else(|_| Err(Error::internal(Kind::RequestTimeout))),
    };
    if is_again? {
        outcome.tries.count += 1;
        return Ok(None);
    }
    let next = answer(context, downstream, head, scope, abort, outcome).await;
    Ok(Some(next))
}

/// How long to wait before the request is decided on anew, where its policy retries such a failure. No
/// budget is asked: nothing reached a backend.
fn again(context: &Context, head: &RequestHead, abort: &Abort<'_>, tries: u32) -> Option<Duration> {
    let asked = (head.method(), head.field("idempotency-key").is_some());
    let failure = fault::failure(abort.answer);
    let question = retry::Question::injected(abort.retry?, asked, failure, tries);
    match context.with_random(|random| retry::verdict(&question, random)) {
        Verdict::Again { wait, .. } => Some(wait),
        Verdict::Stop(_) => None,
    }
}

async fn answer(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    scope: &Scope,
    abort: &Abort<'_>,
    outcome: &mut Outcome,
) -> Next {
    outcome.reason = Some(Kind::Fault.reason());
    let Some(status) = fault::status(abort.answer) else {
        return Next::Abort(Reason::INTERNAL_ERROR);
    };
    outcome.status = status;
    let code = match abort.answer {
        AbortAnswer::Grpc(code) => Some(code),
        AbortAnswer::Status(_) | AbortAnswer::Reset => None,
    };
    let policy = fault::policy(abort.origin);
    let value = respond::mesh_error_by(scope, Kind::Fault.reason(), policy.as_deref());
    let close = respond::is_closing(context, head, outcome);
    respond::send_refusal(downstream, head, (status, code, &value), &[], close).await
}
