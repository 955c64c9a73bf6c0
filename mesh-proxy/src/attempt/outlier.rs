//! Tries of endpoints that a policy took out, and what answers say of those that gave them.

use std::rc::Rc;
use std::time::Instant;

use mesh_api::decide::eject::judgement;
use mesh_api::decide::eject::probe::Asking;

use super::{Answer, Plan, Tries};
use crate::context::Context;
use crate::error::{Error, Kind, Side};
use crate::h1::{RequestHead, ResponseHead};
use crate::relay::RequestBody;
use crate::upstream::{AttemptOutcome, Probe};

/// Whether a request that tried an endpoint is to be sent to another: it was the mesh that chose to try, so the
/// request sees nothing of a failure.
pub(super) fn goes_elsewhere(
    tried: &Result<Answer, Error>,
    body: &mut RequestBody,
    tries: &mut Tries,
) -> bool {
    if !has_failed(tried) || !body.is_replayable() {
        return false;
    }
    let error = tried.as_ref().err();
    let unsent = error.is_some_and(|error| error.kind.is_unsent());
    tries.arrived += u32::from(!unsent);
    body.rewind();
    true
}

/// Whether the endpoint failed; what ended the whole exchange is not asked.
fn has_failed(tried: &Result<Answer, Error>) -> bool {
    match tried {
        Ok(answer) => {
            let judged = judge(&answer.head);
            let failed = matches!(judged, AttemptOutcome::Error | AttemptOutcome::Gateway);
            answer.said.is_some() || failed
        }
        Err(error) => error.side == Side::Upstream && error.kind != Kind::NoEndpoint,
    }
}

/// What an answer says of the endpoint.
pub(super) fn judge(head: &ResponseHead) -> AttemptOutcome {
    let [kind, code] = ["content-type", "grpc-status"].map(|name| head.field(name));
    judgement::judge(head.status(), kind, code).map_or(AttemptOutcome::Begun, Into::into)
}

/// The endpoint of the next try. Where an ejection ran out, the first try of a request may be to see whether
/// that endpoint is well.
pub(super) fn pick(
    context: &Rc<Context>,
    plan: &Plan<'_>,
    (head, body): (&RequestHead, &RequestBody),
    tries: &mut Tries,
    now: Instant,
) -> (Option<usize>, Option<Probe>) {
    if plan.group.takes_outliers_out() && tries.count == 0 {
        let asking = Asking {
            method: head.method(),
            replayable: body.is_replayable(),
            other_left: true,
        };
        let avoiding = (plan.affinity.endpoint, &*tries.endpoints);
        if let Some((index, probe)) = context.probe(&plan.group, &asking, avoiding, now) {
            let endpoint = plan.group.backend().endpoints.get(index);
            let tried: Vec<_> = endpoint.map(|one| one.address).into_iter().collect();
            let other_left = context.has_untried(&plan.group, &tried);
            let asking = Asking {
                other_left,
                ..asking
            };
            tries.probed = asking.can_go_elsewhere();
            return (Some(index), Some(probe));
        }
    }
    let key = plan.affinity.endpoint;
    (context.pick(&plan.group, key, &tries.endpoints, now), None)
}

/// When the time of a try that began at `now` is up.
pub(super) fn ends_at(plan: &Plan<'_>, now: Instant) -> Option<Instant> {
    let own = plan.per_try.and_then(|limit| now.checked_add(limit));
    let whole = plan.deadline.map(|(end, _)| end);
    own.into_iter().chain(whole).min()
}
