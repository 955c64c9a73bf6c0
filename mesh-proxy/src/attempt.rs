//! Tries upstream: pick an endpoint, reach it, send, take the response's head; again where the
//! retry rules of `mesh_api::decide::retry` say so.
//!
//! May use everything above it in the crate's list; knows nothing of who asked.

mod outlier;
mod own;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mesh_api::decide::deadline::{Bounds, Ending, Telling};
use mesh_api::decide::eject::probe::Asking;
use mesh_api::decide::pushback::{self, Pushback};
use mesh_api::decide::ratelimit::RateFields;
use mesh_api::decide::retry::{self, Failure, StopReason, Verdict};
use mesh_api::decide::{Affinity, CorsField, Injected, Mirrors, affinity, attempt_count, grpc};
use mesh_api::model::grpc::GrpcCode;
use mesh_api::model::policy::RetryPolicy;
use mesh_api::model::route::HeaderChanges;
use mesh_api::snapshot::{BackendTable, RuleTable};

use self::outlier::{ends_at, judge, pick};
use self::own::{Own, Words};
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
    /// What keeps its user on an endpoint, and what the client is given for that.
    pub affinity: Affinity,
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
    /// What the response says of the limits that it passed.
    pub limits: Option<Box<RateFields>>,
    /// When the exchange began.
    pub started: Instant,
    /// When the whole exchange must be over, and what it fails with then.
    pub deadline: Option<(Instant, Kind)>,
    /// When what it is upgraded to must be over as well.
    pub stream_end: Option<Instant>,
    /// Longest time between two bytes.
    pub stream_idle: Option<Duration>,
    /// Time allowed to one try.
    pub per_try: Option<Duration>,
    /// When the caller stops waiting, and how the next hop is told.
    pub told: Option<(Instant, Telling)>,
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
    /// To keep within `bounds`, which are told by `telling`. A limit beyond the end of time is none.
    #[must_use]
    pub fn within(mut self, bounds: &Bounds, telling: Telling) -> Self {
        let at = |limit: Duration| self.started.checked_add(limit);
        self.deadline = bounds.until.and_then(|(limit, ending)| {
            let kind = match ending {
                Ending::Request => Kind::RequestTimeout,
                Ending::Passed => Kind::DeadlinePassed,
                Ending::Stream => Kind::MaxStreamDuration,
            };
            Some((at(limit)?, kind))
        });
        self.stream_end = bounds.stream.and_then(at);
        self.told = bounds.told.and_then(at).map(|until| (until, telling));
        self
    }

    /// Nothing is begun after the end.
    fn check_time(&self, now: impl FnOnce() -> Instant) -> Result<(), Error> {
        match self.deadline {
            Some((end, kind)) if now() >= end => Err(Error::upstream(kind)),
            _ => Ok(()),
        }
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
    /// How many before the last may have reached the app.
    pub arrived: u32,
    /// How many before all of these the request says that it repeats; read once one failed.
    pub earlier: u32,
    /// Endpoints, in order.
    pub endpoints: Vec<SocketAddr>,
    /// Of the retry that is under way.
    place: Option<Place>,
    /// The last tried an endpoint whose ejection had run out, and the request can go elsewhere.
    probed: bool,
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
    let (mut failed, mut waited) = (false, Duration::ZERO);
    loop {
        let tried = try_once(context, downstream, head, body, plan, tries).await;
        if std::mem::take(&mut tries.probed) && outlier::goes_elsewhere(&tried, body, tries) {
            continue;
        }
        let failure = match &tried {
            Ok(answer) => failure_of_answer(answer, plan.retry),
            Err(error) => failure_of_error(error),
        };
        let Some(failure) = failure else { return tried };
        if !std::mem::replace(&mut failed, true) {
            tries.earlier = repeats(head);
            if tries.earlier > 0 {
                // It was charged where it was repeated; here it leaves less for our own.
                budget.repeated(Instant::now());
            }
        }
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
            waited,
            pushback: tried.as_ref().map_or(Pushback::Silent, pushback_of),
            time_left: plan.deadline.map(|(end, _)| {
                let now = Instant::now();
                end.saturating_duration_since(now)
            }),
        };
        match context.with_random(|random| retry::verdict(&question, random)) {
            Verdict::Stop(reason) => {
                note_stop(context, plan, reason);
                return tried;
            }
            // The budget is asked last: asking takes from it.
            Verdict::Again { charge: true, .. } if !budget.retry(Instant::now()) => {
                note_stop(context, plan, StopReason::Budget);
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
                tries.arrived += u32::from(!failure.is_unsent());
                waited = wait;
                body.rewind();
                if !wait.is_zero() {
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// Counts what keeps the policy from another try; a failure that it does not retry is none of its business.
fn note_stop(context: &Context, plan: &Plan<'_>, reason: StopReason) {
    if reason != StopReason::Condition {
        let backend = &plan.group.backend().name;
        context.shared.telemetry().retry_stopped(backend, reason);
    }
}

/// What a retry rule may care about in a response; most policies care for nothing of it.
fn failure_of_answer(answer: &Answer, policy: &RetryPolicy) -> Option<Failure> {
    if answer.said.is_some() || !policy.judges_answers() {
        return answer.said;
    }
    let head = &answer.head;
    if let Some(name) = &policy.response_header
        && head.field(name.as_str()).is_some()
    {
        return Some(Failure::Asked);
    }
    let code = head.field("grpc-status").map(grpc::code);
    Some(match code {
        Some(code) if code != GrpcCode::Ok && head.status() == 200 => Failure::Grpc(code),
        _ => Failure::Status(head.status()),
    })
}

/// How many tries the request says that it repeats.
fn repeats(head: &RequestHead) -> u32 {
    let [count, grpc] = [attempt_count::FIELD, attempt_count::GRPC_FIELD];
    attempt_count::earlier(head.field(count), head.field(grpc))
}

/// What an answer says of another try.
fn pushback_of(answer: &Answer) -> Pushback {
    let field = |name| answer.head.field(name);
    match [pushback::RETRY_AFTER, pushback::GRPC_PUSHBACK].map(field) {
        [None, None] => Pushback::Silent,
        [http, grpc] => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            pushback::read(http, grpc, now.unwrap_or_default())
        }
    }
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
    plan.check_time(|| now)?;
    let (index, probe) = pick(context, plan, (head, &*body), tries, now);
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
        // That may have taken long; and what is ready in time goes before a timer.
        plan.check_time(Instant::now)?;
        queue(head, body, plan, tries, &mut reached)?;
        let judged = reached.group.takes_outliers_out();
        let ends = judged.then(|| ends_at(plan, now)).flatten();
        let watch = context.watch(&reached, ends);
        let leg = &mut reached.leg;
        let answered = relay::exchange_heads(downstream, leg, body, head, plan.stream_idle);
        let answered = answered.await;
        let answered = answered.map(|head| (said_by_peer(&reached, &head), head));
        let outcome = match &answered {
            Ok((None, head)) if judged => Some(judge(head)),
            Ok((None, _)) => Some(AttemptOutcome::Answered),
            Ok((Some(Failure::Unsent), _)) => Some(AttemptOutcome::ConnectFailed),
            // What a caller breaks or takes back says nothing of the endpoint.
            Err(error) if error.side == Side::Downstream => None,
            Ok((Some(_), _)) | Err(_) => Some(AttemptOutcome::Broken),
        };
        watch.settle(outcome);
        let (said, head) = answered?;
        if outcome == Some(AttemptOutcome::Begun) {
            reached.judge_at_end();
        }
        Ok(Answer {
            reached,
            head,
            said,
        })
    };
    let tried = match plan.per_try {
        None => attempt.await,
        Some(limit) => Box::pin(tokio::time::timeout(limit, attempt))
            .await
            .unwrap_or_else(|_| Err(Error::upstream(Kind::PerTryTimeout))),
    };
    // No other request tries the endpoint before it is known what came of this one.
    drop(probe);
    tried
}

/// Queues the head of a try. By itself, so that nothing of it is held until the answer comes.
fn queue(
    head: &RequestHead,
    body: &RequestBody,
    plan: &Plan<'_>,
    tries: &Tries,
    reached: &mut Reached,
) -> Result<(), Error> {
    let mut words = Words::new(plan, tries);
    let own = Own::new(head, &mut words);
    let changes = RequestChanges {
        target: &plan.target,
        host: &plan.host,
        changes: plan.request_headers,
        framing: body.framing(),
        append: own.append(),
        strip: own.strip(),
    };
    let queued = reached.leg.queue_request(head, &changes);
    queued.map_err(|error| Error::downstream(Kind::BadTarget).because(error))
}

/// Reaches some endpoint of `backend` for opaque bytes; where connecting fails, another one as `policy`
/// has it, but none twice.
///
/// # Errors
/// The last try's.
pub async fn connect(
    context: &Rc<Context>,
    backend: &Arc<BackendTable>,
    hint: Hint,
    policy: Option<&RetryPolicy>,
    tries: &mut Tries,
) -> Result<Reached, Error> {
    let group = context.group(backend);
    let mut waited = Duration::ZERO;
    let key = affinity::of_connection(backend, &context.caller());
    loop {
        let now = Instant::now();
        let probed = context.probe(&group, &Asking::CONNECTION, (key, &tries.endpoints), now);
        let (index, _probe) = match probed {
            Some((index, probe)) => (Some(index), Some(probe)),
            None => (context.pick(&group, key, &tries.endpoints, now), None),
        };
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
        let question = retry::Question {
            waited,
            ..retry::Question::connect(policy, tries.count, endpoint_left)
        };
        match context.with_random(|random| retry::verdict(&question, random)) {
            Verdict::Stop(_) => return Err(error),
            Verdict::Again { wait, .. } if wait.is_zero() => {}
            Verdict::Again { wait, .. } => {
                waited = wait;
                tokio::time::sleep(wait).await;
            }
        }
    }
}
