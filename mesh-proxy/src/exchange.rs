//! One HTTP exchange, start to end: decide, change the head, try upstream, respond, record.
//!
//! **Read this first.** The same path serves both sides; [`Scope`] says which. May use everything
//! above it in the crate's list.

mod fault;
mod limit;
mod mirror;
mod outcome;
mod paced;
mod plan;
mod respond;
mod rest;
mod scope;

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use h2::Reason;
use mesh_api::decide::Injected;
use tokio::io::AsyncWrite;
use tokio::time::sleep;

use self::mirror::Copied;
use self::outcome::{Outcome, record};
use self::paced::Paced;
use self::plan::Planned;
use self::rest::{IDLE, Rest, read_head};
use crate::attempt::{self, Plan};
use crate::buffer::Fill;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::h1::{Connection, RequestFault, RequestHead};
use crate::h2::{Resets, ServerStream, server};
use crate::leg::Downstream;
use crate::relay::RequestBody;
use crate::telemetry::Direction;
use crate::upstream::Reset;

pub use respond::{mesh_error, refuse_connect, refuse_plaintext};
pub use scope::{Receiving, Scope};

/// How long a draining proxy still takes a request on an idle connection: one may be on its way.
const DRAIN_LINGER: Duration = Duration::from_secs(1);
/// How long the end of a connection may take: what the peer still sends is read and dropped, so
/// that a reset does not overtake the last response.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What follows an exchange on its downstream connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another exchange may.
    KeepAlive,
    /// Nothing.
    Close,
    /// Nothing, and the peer must see that what it got is not whole; a stream is reset with this.
    Abort(Reason),
}

/// How the exchanges of a connection came to an end.
#[derive(Debug)]
pub enum Served {
    /// Either side was done with it.
    Over,
    /// The peer must see that what it got is not whole: the connection is to be reset.
    Broken,
    /// A CONNECT to the forward proxy, not answered yet: from here on it carries bytes for this host and
    /// port.
    Handover(String),
}

impl Served {
    /// Resets the connection where it must not look as if it had ended well. What is left of one that is
    /// handed over, and where to.
    pub fn end<T: Reset>(self, downstream: Connection<T>) -> Option<(Connection<T>, String)> {
        match self {
            Self::Over => None,
            Self::Broken => {
                downstream.into_inner().0.reset();
                None
            }
            Self::Handover(authority) => Some((downstream, authority)),
        }
    }
}

/// Serves exchanges on `downstream` until either side is done with it, or it is to carry bytes.
///
/// An idle connection waits in here: what is moved into an async function is held twice, so that only
/// references are, and what is rare is boxed.
pub async fn serve<T>(
    context: &Rc<Context>,
    downstream: &mut Connection<T>,
    scope: &Scope,
) -> Served
where
    T: Fill + AsyncWrite,
{
    let drain = context.shared.drain_of(scope.direction());
    // Both live as long as the connection: a timer and a listener made for each request cost more
    // than what they wait for.
    let draining = pin!(async {
        drain.clone().draining().await;
        Box::pin(sleep(DRAIN_LINGER)).await;
    });
    let idle = pin!(sleep(IDLE));
    let mut rest = Rest::new(&drain, draining, idle);
    while rest.until_request(downstream).await {
        match Box::pin(exchange(context, downstream, scope)).await {
            Step::Done((Next::KeepAlive, ended)) => rest.since = ended,
            Step::Done((Next::Close, _)) => break,
            Step::Done((Next::Abort(_), _)) => return Served::Broken,
            Step::Handover(authority) => return Served::Handover(authority),
        }
    }
    let ending = async {
        // The peer may be gone already; there is nobody left to tell.
        if downstream.shutdown().await.is_ok() {
            downstream.discard().await;
        }
    };
    Box::pin(tokio::time::timeout(LAST_WORDS, ending))
        .await
        .unwrap_or_default();
    Served::Over
}

/// What came of a request on a connection of HTTP/1.1.
enum Step {
    /// What follows, and when it ended.
    Done((Next, Instant)),
    /// A CONNECT to the forward proxy.
    Handover(String),
}

/// Reads the head of the request that is coming, and carries the exchange out.
async fn exchange<T>(context: &Rc<Context>, downstream: &mut Connection<T>, scope: &Scope) -> Step
where
    T: Fill + AsyncWrite,
{
    let head = match read_head(downstream).await {
        Ok(Some(head)) => head,
        Ok(None) => return Step::Done((Next::Close, Instant::now())),
        Err(fault) => {
            refuse_head(context, downstream, fault, scope).await;
            return Step::Done((Next::Close, Instant::now()));
        }
    };
    if head.method() == "CONNECT" && matches!(scope, Scope::ForwardProxy) {
        return Step::Handover(head.authority().to_owned());
    }
    Step::Done(handle(context, downstream, &head, scope).await)
}

/// Serves the exchanges of an HTTP/2 connection, `first` of which was read already, side by side
/// until either end is done with it.
pub async fn serve_http2<T>(context: &Rc<Context>, io: T, first: BytesMut, scope: Scope)
where
    T: Fill + AsyncWrite,
{
    let resets = match scope.peer() {
        Some(_) => Resets::Free,
        None => Resets::Cost,
    };
    let scope = Rc::new(scope);
    let mut drain = context.shared.drain_of(scope.direction());
    let draining = async move { drain.draining().await };
    let handler = |received: server::Received, mut stream: ServerStream| {
        let (context, scope) = (Rc::clone(context), Rc::clone(&scope));
        async move {
            let next = match received {
                Ok(head) => handle(&context, &mut stream, &head, &scope).await.0,
                Err(refusal) => {
                    let telemetry = context.shared.telemetry();
                    telemetry.message_refused(scope.direction(), refusal.reason());
                    respond::refuse_message(&mut stream, &scope, refusal.status(), refusal.text())
                        .await;
                    Next::Close
                }
            };
            match next {
                Next::Abort(reason) => stream.reset(reason),
                Next::KeepAlive | Next::Close => stream.finish().await,
            }
        }
    };
    if let Err(error) = server::serve(io, (first, resets), draining, handler).await {
        tracing::debug!(%error, "HTTP/2 connection broken");
    }
}

/// Refuses a connection that is no HTTP, though HTTP/2 is declared.
pub async fn refuse_preface<T>(context: &Context, io: T, direction: Direction)
where
    T: Fill + AsyncWrite,
{
    let telemetry = context.shared.telemetry();
    telemetry.message_refused(direction, Kind::UnsupportedProtocol.reason());
    server::refuse(io).await;
}

/// One exchange: carries it out and records it, whatever came of it. What follows, and when it ended.
async fn handle(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    scope: &Scope,
) -> (Next, Instant) {
    let started = Instant::now();
    let mut outcome = Outcome {
        is_inbound: scope.direction() == Direction::Inbound,
        ..Outcome::default()
    };
    let next = match carry_out(context, downstream, head, (scope, started), &mut outcome).await {
        Ok(next) => next,
        // What is rare is boxed: every exchange holds the room that this takes.
        Err(error) => {
            let refusing = respond::refuse(context, downstream, head, scope, &error, &mut outcome);
            Box::pin(refusing).await
        }
    };
    let ended = Instant::now();
    record(context, head, scope, &outcome, ended - started);
    (next, ended)
}

/// Decides, then acts.
///
/// # Errors
/// What went wrong before a response's first byte went down, or [`Kind::Cut`] after it.
async fn carry_out(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    (scope, started): (&Scope, Instant),
    outcome: &mut Outcome,
) -> Result<Next, Error> {
    if head.method() == "CONNECT" {
        return Err(Error::downstream(Kind::UnsupportedProtocol));
    }
    let sources = plan::gather(context, head, scope).await?;
    outcome.destination = Some(sources.label());
    let mut told = None;
    if let (Some(table), Scope::Receiving(receiving)) = (&sources.limits, scope) {
        match limit::ask(context, head, receiving, &sources, table) {
            Ok(fields) => told = fields,
            Err(refusal) => {
                let refusing = limit::refuse(context, downstream, head, scope, &refusal, outcome);
                return Ok(Box::pin(refusing).await);
            }
        }
    }
    let mut plan = loop {
        match sources.decide(context, head, scope, started) {
            Planned::Forward(plan) => break plan,
            Planned::Respond(answer) => {
                let responding =
                    respond::respond(context, downstream, head, scope, &answer, outcome);
                return Ok(Box::pin(responding).await);
            }
            Planned::Abort(abort) => {
                let whose = (scope, started);
                let aborting = fault::abort(context, downstream, head, whose, &abort, outcome);
                if let Some(next) = Box::pin(aborting).await? {
                    return Ok(next);
                }
            }
        }
    };
    plan.limits = told;
    outcome.rule = plan.rule.map(|rule| (rule.route.clone(), rule.rule.index));
    outcome.group = Some(Rc::clone(&plan.group));
    let next = match plan.deadline {
        None => forward(context, downstream, head, &plan, outcome).await,
        Some((end, kind)) => {
            let forwarding = forward(context, downstream, head, &plan, outcome);
            Box::pin(tokio::time::timeout_at(end.into(), forwarding))
                .await
                .unwrap_or_else(|_| Err(Error::upstream(kind)))
        }
    };
    // No timeout of a request ends what it was upgraded to; that of a stream does.
    match outcome.upgraded.take() {
        Some(reached) if next.is_ok() => {
            Box::pin(respond::carry(downstream, *reached, &plan, outcome)).await
        }
        _ => next,
    }
}

/// Forwards, with what is injected and copied.
async fn forward(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    plan: &Plan<'_>,
    outcome: &mut Outcome,
) -> Result<Next, Error> {
    if plan.injected == Injected::default() && plan.mirrors.backends.is_empty() {
        return pass(context, downstream, head, plan, outcome).await;
    }
    Box::pin(forward_beside(context, downstream, head, plan, outcome)).await
}

async fn forward_beside(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    plan: &Plan<'_>,
    outcome: &mut Outcome,
) -> Result<Next, Error> {
    let Injected { delay, bandwidth } = plan.injected;
    if delay.is_some() || bandwidth.is_some() {
        outcome.note_fault(context, [delay.is_some(), false, bandwidth.is_some()]);
    }
    if let Some(delay) = delay {
        fault::wait(downstream, delay).await?;
    }
    let label = outcome.destination.clone();
    let label = label.unwrap_or_else(|| plan.group.backend().name.clone());
    let mut copied = Copied::start(context, downstream, head, plan, &label);
    let next = match bandwidth {
        None => pass(context, &mut copied, head, plan, outcome).await,
        Some(bandwidth) => {
            let mut slow = Paced::new(&mut copied, bandwidth);
            pass(context, &mut slow, head, plan, outcome).await
        }
    };
    copied.settle(context);
    next
}

/// Sends the request and passes the response down.
async fn pass(
    context: &Rc<Context>,
    downstream: &mut impl Downstream,
    head: &RequestHead,
    plan: &Plan<'_>,
    outcome: &mut Outcome,
) -> Result<Next, Error> {
    // Held until the response's last byte.
    let _place = match context.enter(&plan.group) {
        Some(place) => place,
        None => Box::pin(context.wait_to_enter(&plan.group)).await?,
    };
    let mut body = RequestBody::new(head.framing(), plan.retry.max_body_bytes);
    let sent = attempt::send(
        context,
        downstream,
        head,
        &mut body,
        plan,
        &mut outcome.tries,
    )
    .await;
    outcome.bytes_in = body.bytes();
    let answer = sent?;
    body.forget();
    // From here on a response has begun: a failure can only cut it.
    outcome.responding = true;
    let next = respond::relay(
        context,
        downstream,
        (head, &mut body),
        answer,
        plan,
        outcome,
    )
    .await;
    outcome.bytes_in = body.bytes();
    next
}

/// Refuses a message that breaks HTTP/1.1.
async fn refuse_head<T>(
    context: &Rc<Context>,
    downstream: &mut Connection<T>,
    fault: RequestFault,
    scope: &Scope,
) where
    T: Fill + AsyncWrite,
{
    let Some(refusal) = fault.refusal() else {
        return;
    };
    context
        .shared
        .telemetry()
        .message_refused(scope.direction(), refusal.reason());
    respond::refuse_message(downstream, scope, refusal.status(), refusal.text()).await;
}
