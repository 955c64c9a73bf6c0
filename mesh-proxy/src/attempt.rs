//! Tries upstream: pick an endpoint, reach it, send, take the response's head; again where the
//! retry rules of `mesh_api::decide::retry` say so.
//!
//! May use everything above it in the crate's list; knows nothing of who asked.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_api::decide::retry::{self, Failure, Verdict};
use mesh_api::decide::{CorsField, Injected, Mirrors, deadline, grpc};
use mesh_api::model::backend::Backend;
use mesh_api::model::grpc::GrpcCode;
use mesh_api::model::policy::RetryPolicy;
use mesh_api::model::route::HeaderChanges;
use mesh_api::snapshot::RuleTable;

use crate::context::{Context, Reached};
use crate::error::{Error, Kind, Side};
use crate::filter::RequestChanges;
use crate::h1::{RequestHead, ResponseHead, Version};
use crate::leg::Downstream;
use crate::relay::{self, RequestBody};
use crate::tunnel::Hint;
use crate::upstream::{AttemptOutcome, Group, Place};

/// A decision, ready to be carried out.
pub struct Plan<'s> {
    /// The rule that matched, if the destination has routes.
    pub rule: Option<&'s Arc<RuleTable>>,
    /// Where to.
    pub group: Rc<Group>,
    /// Path and query to send.
    pub target: Cow<'s, str>,
    /// Host to send.
    pub host: Cow<'s, str>,
    /// Changes to the request's head.
    pub request_headers: [&'s HeaderChanges; 2],
    /// Changes to the response's head.
    pub response_headers: [&'s HeaderChanges; 2],
    /// What the response says to pages of other origins, where the rule has a CORS filter.
    pub cors: Option<Vec<CorsField>>,
    /// When the exchange began.
    pub started: Instant,
    /// When the whole exchange must be over.
    pub deadline: Option<Instant>,
    /// Time allowed to one try.
    pub per_try: Option<Duration>,
    /// When a gRPC caller stops waiting, if it said so.
    pub grpc_deadline: Option<Instant>,
    /// When to try again.
    pub retry: &'s RetryPolicy,
    /// What is spoken to the endpoint.
    pub version: Version,
    /// What a policy injects.
    pub injected: Injected,
    /// Copies to make.
    pub mirrors: Mirrors<'s>,
}

impl Plan<'_> {
    /// To be over `limit` after it began; an endpoint of gRPC is told so where the caller `asked`.
    #[must_use]
    pub fn within(mut self, limit: Option<Duration>, asked: Option<Duration>) -> Self {
        self.deadline = limit.and_then(|limit| self.started.checked_add(limit));
        self.grpc_deadline = asked.and(self.deadline);
        self
    }
}

/// A response whose head came.
pub struct Answer {
    /// The connection its body follows on.
    pub reached: Reached,
    /// Its head.
    pub head: ResponseHead,
    /// What the peer's proxy says went wrong.
    said: Option<Failure>,
}

/// What was tried, whatever came of it.
#[derive(Default)]
pub struct Tries {
    /// How many.
    pub count: u32,
    /// True once a try before the last may have reached the app.
    pub may_have_arrived: bool,
    /// Endpoints, in order.
    pub endpoints: Vec<SocketAddr>,
    /// Of the retry that is under way.
    place: Option<Place>,
}

/// Sends the request until a response's head comes that is not to be retried.
///
/// # Errors
/// The last try's, once no further one is allowed.
pub async fn send(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    body: &mut RequestBody,
    plan: &Plan<'_>,
    tries: &mut Tries,
) -> Result<Answer, Error> {
    let budget = context.budget(&plan.group, plan.retry.budget);
    budget.exchange(plan.started);
    loop {
        let tried = try_once(context, downstream, head, body, plan, tries).await;
        let failure = match &tried {
            Ok(answer) => Some(failure_of_answer(answer)),
            Err(error) => failure_of_error(error),
        };
        let Some(failure) = failure else { return tried };
        let question = retry::Question {
            policy: plan.retry,
            method: head.method(),
            has_idempotency_key: head.field("idempotency-key").is_some(),
            tries: tries.count,
            failure,
            // Asked only where it matters: it looks at every endpoint.
            endpoint_left: failure == Failure::Unsent
                && context.has_untried(&plan.group, &tries.endpoints),
            body_replayable: body.is_replayable(),
            budget_left: true,
        };
        match context.with_random(|random| retry::verdict(&question, random)) {
            Verdict::Stop(_) => return tried,
            // The budget is asked last: asking takes from it.
            Verdict::Again { charge: true, .. } if !budget.retry(Instant::now()) => {
                return tried;
            }
            Verdict::Again { wait, charge } => {
                tries.place = if charge {
                    let Some(place) = context.enter_retry(&plan.group) else {
                        return tried;
                    };
                    Some(place)
                } else {
                    None
                };
                drop(tried);
                tries.may_have_arrived |= !failure.is_unsent();
                body.rewind();
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// What a retry rule may care about in a response.
fn failure_of_answer(answer: &Answer) -> Failure {
    let status = || Failure::Status(answer.head.status());
    let code = answer.head.field("grpc-status").map(grpc::code);
    answer.said.unwrap_or_else(|| match code {
        Some(code) if code != GrpcCode::Ok && answer.head.status() == 200 => Failure::Grpc(code),
        _ => status(),
    })
}

/// What the peer's proxy says of its app: that it saw nothing, or broke before it answered. Counts
/// only over an authenticated tunnel.
fn said_by_peer(reached: &Reached, head: &ResponseHead) -> Option<Failure> {
    let said = head.field("mesh-error").filter(|_| reached.tunnelled)?;
    let says = |word: &[u8]| {
        said.split(|byte| *byte == b';')
            .any(|part| part.trim_ascii() == word)
    };
    if says(b"unsent") {
        Some(Failure::Unsent)
    } else if says(b"reason=reset") {
        Some(Failure::Reset)
    } else {
        None
    }
}

fn failure_of_error(error: &Error) -> Option<Failure> {
    match error.kind {
        Kind::RefusedStream => Some(Failure::RefusedStream),
        kind if kind.is_unsent() => Some(Failure::Unsent),
        Kind::Reset => Some(Failure::Reset),
        Kind::PerTryTimeout => Some(Failure::PerTryTimeout),
        _ => None,
    }
}

/// One try.
async fn try_once(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    body: &mut RequestBody,
    plan: &Plan<'_>,
    tries: &mut Tries,
) -> Result<Answer, Error> {
    let now = Instant::now();
    let index = context.pick(&plan.group, &tries.endpoints, now);
    let endpoints = &plan.group.backend().endpoints;
    let endpoint = index.and_then(|index| Some((index, endpoints.get(index)?)));
    let (index, endpoint) = endpoint.ok_or_else(|| Error::upstream(Kind::NoEndpoint))?;
    // An endpoint tried before gets a new connection: what was pooled may be as dead as the last.
    let fresh = tries.endpoints.contains(&endpoint.address);
    tries.count += 1;
    tries.endpoints.push(endpoint.address);
    let attempt = async {
        let mut reached = context
            .reach(&plan.group, index, (plan.version, fresh), now)
            .await?;
        let left = plan.grpc_deadline.map(time_left);
        let (append, strip) = own_fields(head, left.as_deref());
        let changes = RequestChanges {
            target: &plan.target,
            host: &plan.host,
            changes: plan.request_headers,
            framing: body.framing(),
            append: &append,
            strip,
        };
        reached
            .leg
            .queue_request(head, &changes)
            .map_err(|error| Error::downstream(Kind::BadTarget).because(error))?;
        let watch = context.watch(&reached);
        let leg = &mut reached.leg;
        let answered = relay::exchange_heads(downstream, leg, body, head).await;
        let answered = answered.map(|head| (said_by_peer(&reached, &head), head));
        watch.settle(match &answered {
            Ok((None, _)) => Some(AttemptOutcome::Answered),
            Ok((Some(Failure::Unsent), _)) => Some(AttemptOutcome::ConnectFailed),
            // What a caller breaks or takes back says nothing of the endpoint.
            Err(error) if error.side == Side::Downstream => None,
            Ok((Some(_), _)) | Err(_) => Some(AttemptOutcome::Broken),
        });
        let (said, head) = answered?;
        Ok(Answer {
            reached,
            head,
            said,
        })
    };
    match plan.per_try {
        None => attempt.await,
        Some(limit) => Box::pin(tokio::time::timeout(limit, attempt))
            .await
            .unwrap_or_else(|_| Err(Error::upstream(Kind::PerTryTimeout))),
    }
}

/// What a gRPC endpoint is told of the time left.
fn time_left(deadline: Instant) -> String {
    deadline::sent_on(deadline.saturating_duration_since(Instant::now()))
}

/// Fields that the mesh adds, and those of the client's that they stand for.
fn own_fields<'h>(
    head: &'h RequestHead,
    left: Option<&'h str>,
) -> (Vec<(&'h str, &'h str)>, &'static [&'static str]) {
    let mut append = Vec::new();
    // The endpoint is asked to go on with another protocol where the client asks.
    if let Some(Ok(protocol)) = head.upgrade().map(std::str::from_utf8) {
        append.extend([("connection", "upgrade"), ("upgrade", protocol)]);
    }
    append.extend(left.map(|left| ("grpc-timeout", left)));
    let strip: &[&str] = match (head.version(), left) {
        (Version::Http10, _) => &["mesh-error", "expect"],
        (_, Some(_)) => &["mesh-error", "grpc-timeout"],
        (_, None) => &["mesh-error"],
    };
    (append, strip)
}

/// Reaches some endpoint of `backend` for opaque bytes; where connecting fails, another one as `policy`
/// has it, but none twice.
///
/// # Errors
/// The last try's.
pub async fn connect(
    context: &Rc<Context>,
    backend: &Arc<Backend>,
    hint: Hint,
    policy: Option<&RetryPolicy>,
    tries: &mut Tries,
) -> Result<Reached, Error> {
    let group = context.group(backend);
    loop {
        let index = context.pick(&group, &tries.endpoints, Instant::now());
        let endpoint = index.and_then(|index| Some((index, backend.endpoints.get(index)?)));
        let (index, endpoint) = endpoint.ok_or_else(|| Error::upstream(Kind::NoEndpoint))?;
        tries.count += 1;
        tries.endpoints.push(endpoint.address);
        let started = Instant::now();
        let error = match context.reach_opaque(&group, index, hint).await {
            Ok(reached) => {
                context.observe_connected(&reached, started.elapsed());
                return Ok(reached);
            }
            Err(error) => error,
        };
        let has_others = tries.endpoints.len() < backend.endpoints.len();
        let policy = policy.filter(|_| has_others && error.kind.is_unsent());
        let Some(policy) = policy else {
            return Err(error);
        };
        let endpoint_left = context.has_untried(&group, &tries.endpoints);
        let question = retry::Question::connect(policy, tries.count, endpoint_left);
        match context.with_random(|random| retry::verdict(&question, random)) {
            Verdict::Stop(_) => return Err(error),
            Verdict::Again { wait, .. } if wait.is_zero() => {}
            Verdict::Again { wait, .. } => tokio::time::sleep(wait).await,
        }
    }
}
