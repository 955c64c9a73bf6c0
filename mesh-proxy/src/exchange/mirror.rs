//! Copies of requests: each is fed from the request as it goes up and sent by a task of its own; its answer
//! is read and dropped.
//!
//! A copy never holds the request back: one that is slower than the request by more than its bound is
//! given up, one beyond the limit is not made, and none is tried twice.

mod answer;
mod feed;
mod leg;

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use mesh_api::decide::mirror::{self, MARK};
use mesh_api::decide::{Affinity, Injected, Mirrors};
use mesh_api::model::policy::RetryPolicy;
use mesh_api::model::route::{HeaderChanges, UNCHANGED};
use mesh_api::name::DestinationName;
use mesh_api::snapshot::{BackendTable, RuleTable};

use self::answer::{Answered, Pair};
use self::feed::{End, Feed};
pub(super) use self::leg::Copied;
use self::leg::CopyLeg;
use super::{plan, respond};
use crate::attempt::{self, Answer, Plan, Tries};
use crate::context::Context;
use crate::error::Error;
use crate::h1::{Body, Framing, RequestHead};
use crate::leg::Downstream;
use crate::relay::{self, RequestBody};
use crate::telemetry::Mirrored;
use crate::upstream::Place;

/// A copy is sent once.
static ONCE: LazyLock<RetryPolicy> = LazyLock::new(|| RetryPolicy {
    attempts: 0,
    ..RetryPolicy::default()
});

/// What a copy's task works with.
struct Copy {
    head: RequestHead,
    target: String,
    host: String,
    rule: Option<Arc<RuleTable>>,
    mark: HeaderChanges,
    backend: Arc<BackendTable>,
    feed: Rc<Feed>,
    pair: Rc<Pair>,
    _place: Place,
}

impl<'d> Copied<'d> {
    /// Starts the copies that were decided on of the request `head`.
    pub(super) fn start(
        context: &Rc<Context>,
        downstream: &'d mut dyn Downstream,
        head: &RequestHead,
        plan: &Plan<'_>,
        destination: &DestinationName,
    ) -> Self {
        let settings = plan.mirrors.settings;
        let mut copied = Self {
            inner: downstream,
            feeds: Vec::new(),
            answered: Answered::new(settings),
            pairs: Vec::new(),
        };
        let backends = plan.mirrors.backends.iter();
        // What is upgraded is no request any more.
        for backend in backends.filter(|_| head.upgrade().is_none()) {
            let place = context.mirror_place(&backend.name, settings.max_concurrent);
            let Some(place) = place else {
                record(context, destination, &backend.name, "over-limit");
                continue;
            };
            let feed = Rc::new(Feed::new(settings.max_body_bytes));
            if head.framing() == Framing::Empty {
                feed.end(End::Whole);
            }
            let pair = Rc::new(Pair {
                settings: settings.clone(),
                destination: destination.clone(),
                backend: backend.name.clone(),
                first: RefCell::default(),
            });
            copied.feeds.push(Rc::clone(&feed));
            copied.pairs.push(Rc::clone(&pair));
            let copy = Copy {
                head: head.clone(),
                target: plan.target.clone().into_owned(),
                host: mirror::shadow_host(&plan.host),
                rule: plan.rule.cloned(),
                mark: mark(destination),
                backend: Arc::clone(backend),
                feed,
                pair,
                _place: place,
            };
            context.start_copy(send(Rc::clone(context), copy));
        }
        copied
    }

    /// Tells the copies what became of the request.
    pub(super) fn settle(self, context: &Context) {
        for feed in &self.feeds {
            feed.end(End::Lost);
        }
        let seen = self.answered.seen();
        for pair in &self.pairs {
            pair.tell(context, 0, seen);
        }
    }
}

/// The field that says of which destination's request it is a copy.
fn mark(destination: &DestinationName) -> HeaderChanges {
    let name = MARK.parse().ok();
    let value = destination.to_string().parse().ok();
    HeaderChanges {
        set: name.zip(value).into_iter().collect(),
        ..HeaderChanges::default()
    }
}

/// Sends a copy and reads its answer.
async fn send(context: Rc<Context>, copy: Copy) {
    let settings = copy.pair.settings.clone();
    let mut leg = CopyLeg {
        feed: Rc::clone(&copy.feed),
        answered: Answered::new(&settings),
    };
    let exchanging = exchange(&context, &mut leg, &copy);
    let ended = tokio::time::timeout(settings.timeout, exchanging).await;
    let outcome = match ended {
        Ok(Ok(())) => "answered",
        _ if copy.feed.is_lost() => "lost",
        Ok(Err(_)) => "failed",
        Err(_) => "timeout",
    };
    let (destination, backend) = (&copy.pair.destination, &copy.pair.backend);
    record(&context, destination, backend, outcome);
    copy.pair.tell(&context, 1, leg.answered.seen());
}

async fn exchange(context: &Rc<Context>, leg: &mut CopyLeg, copy: &Copy) -> Result<(), Error> {
    let of_rule = copy.rule.as_ref().map(|rule| &rule.rule.request_headers);
    let backend = &copy.backend;
    let plan = Plan {
        rule: None,
        group: context.group(backend),
        affinity: Affinity::default(),
        started: Instant::now(),
        target: Cow::Borrowed(&copy.target),
        host: Cow::Borrowed(&copy.host),
        request_headers: [of_rule.unwrap_or(&UNCHANGED), &copy.mark],
        response_headers: [&UNCHANGED; 2],
        cors: None,
        limits: None,
        deadline: None,
        stream_end: None,
        stream_idle: None,
        told: None,
        per_try: None,
        retry: &ONCE,
        version: plan::upstream_version(backend, backend.protocol, &copy.head),
        injected: Injected::default(),
        mirrors: Mirrors::default(),
    };
    let head = &copy.head;
    let mut body = RequestBody::new(head.framing(), 0);
    let mut tries = Tries::default();
    let sent = attempt::send(context, leg, head, &mut body, &plan, &mut tries).await?;
    let Answer {
        mut reached,
        head: response,
        ..
    } = sent;
    leg.answered.head = Some((response.status(), Instant::now()));
    if response.status() == 101 {
        return Ok(());
    }
    let framing = respond::framing_down(head, response.framing());
    let bodies = (Body::new(response.framing()), framing, None);
    let mut bytes = 0;
    let relayed =
        relay::exchange_bodies(leg, &mut reached.leg, &mut body, bodies, &mut bytes, None).await?;
    let reuse = relayed.upstream_complete && response.keep_alive();
    context.give_back(reached, reuse);
    Ok(())
}

fn record(
    context: &Context,
    destination: &DestinationName,
    backend: &DestinationName,
    outcome: &'static str,
) {
    let event = Mirrored {
        destination,
        backend,
        outcome,
    };
    context.shared.telemetry().mirrored(&event);
}
