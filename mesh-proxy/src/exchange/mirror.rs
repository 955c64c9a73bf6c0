//! Copies of requests: each is fed from the request as it goes up and sent by a task of its own; its answer
//! is read and dropped.
//!
//! A copy never holds the request back: one that is slower than the request by more than its bound is
//! given up, one beyond the limit is not made, and none is tried twice.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context as Task, Poll, Waker};
use std::time::Instant;

use bytes::BytesMut;
use mesh_api::decide::Affinity;
use mesh_api::decide::mirror::{self, ContentHash, MARK, Seen};
use mesh_api::decide::{Injected, Mirrors};
use mesh_api::model::mirror::Mirroring;
use mesh_api::model::policy::RetryPolicy;
use mesh_api::model::route::HeaderChanges;
use mesh_api::name::DestinationName;
use mesh_api::snapshot::BackendTable;
use mesh_api::snapshot::RuleTable;

use super::{plan, respond};
use crate::attempt::{self, Answer, Plan, Tries};
use crate::context::Context;
use crate::error::Error;
use crate::filter::ResponseChanges;
use crate::h1::{Body, BodyFault, BodyPart, Framing, RequestHead, ResponseHead};
use crate::leg::{Bytestream, Downstream, Leg};
use crate::relay::{self, RequestBody};
use crate::telemetry::Mirrored;
use crate::upstream::Place;

/// What a part of content counts as at least, in bytes: its place in memory.
const PART: u64 = 256;

static UNCHANGED: HeaderChanges = HeaderChanges {
    set: Vec::new(),
    add: Vec::new(),
    remove: Vec::new(),
};
/// A copy is sent once.
static ONCE: LazyLock<RetryPolicy> = LazyLock::new(|| RetryPolicy {
    attempts: 0,
    ..RetryPolicy::default()
});

/// The leg towards the peer that asked, of whose content the copies get theirs.
pub(super) struct Copied<'d> {
    inner: &'d mut dyn Downstream,
    feeds: Vec<Rc<Feed>>,
    answered: Answered,
    pairs: Vec<Rc<Pair>>,
}

/// Content on its way to a copy.
#[derive(Default)]
struct Feed(RefCell<Waiting>);

#[derive(Default)]
struct Waiting {
    parts: VecDeque<BodyPart>,
    bytes: u64,
    most: u64,
    end: Option<End>,
    waker: Option<Waker>,
}

/// How the content ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Lost,
}

/// What is seen of an answer.
struct Answered {
    started: Instant,
    head: Option<(u16, Instant)>,
    hash: Option<ContentHash>,
    is_whole: bool,
}

/// A request's answer and its copy's, compared once both are there.
struct Pair {
    settings: Mirroring,
    destination: DestinationName,
    backend: DestinationName,
    first: RefCell<[Option<Seen>; 2]>,
}

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

impl Drop for Copied<'_> {
    fn drop(&mut self) {
        // What was not settled was cut off.
        for feed in &self.feeds {
            feed.end(End::Lost);
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
    let bodies = (Body::new(response.framing()), framing);
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

impl Pair {
    /// Notes what was seen on one side; compares where the other was seen before.
    fn tell(&self, context: &Context, side: usize, seen: Seen) {
        let mut both = self.first.borrow_mut();
        if let Some(own) = both.get_mut(side) {
            *own = Some(seen);
        }
        let [Some(primary), Some(copy)] = &*both else {
            return;
        };
        for found in mirror::compare(&self.settings, primary, copy) {
            let event = Mirrored {
                destination: &self.destination,
                backend: &self.backend,
                outcome: found.result,
            };
            context.shared.telemetry().compared(&event, found.what);
        }
    }
}

impl Answered {
    fn new(settings: &Mirroring) -> Self {
        Self {
            started: Instant::now(),
            head: None,
            hash: settings.body_hash.then(ContentHash::default),
            is_whole: false,
        }
    }

    fn note(&mut self, part: &BodyPart) {
        if let (Some(hash), BodyPart::Data(bytes)) = (&mut self.hash, part) {
            hash.add(bytes);
        }
    }

    fn seen(&self) -> Seen {
        let whole = self.hash.filter(|_| self.is_whole);
        let end = self.head.map_or_else(Instant::now, |(_, at)| at);
        Seen {
            status: self.head.map(|(status, _)| status),
            latency: end - self.started,
            body: whole.map(ContentHash::value),
        }
    }
}

impl Feed {
    fn new(most: u64) -> Self {
        Self(RefCell::new(Waiting {
            most,
            ..Waiting::default()
        }))
    }

    fn push(&self, part: &BodyPart) {
        let mut waiting = self.0.borrow_mut();
        if waiting.end.is_some() {
            return;
        }
        waiting.bytes += size(part);
        if waiting.bytes > waiting.most {
            waiting.parts.clear();
            waiting.end = Some(End::Lost);
        } else {
            waiting.parts.push_back(part.clone());
        }
        waiting.wake();
    }

    /// Ends it, unless it ended before.
    fn end(&self, end: End) {
        let mut waiting = self.0.borrow_mut();
        if waiting.end.is_none() {
            waiting.end = Some(end);
            waiting.wake();
        }
    }

    fn is_lost(&self) -> bool {
        self.0.borrow().end == Some(End::Lost)
    }

    /// Ready once it is lost, also while nobody asks for its next part.
    fn poll_lost(&self, task: &Task<'_>) -> Poll<()> {
        let mut waiting = self.0.borrow_mut();
        if waiting.end == Some(End::Lost) {
            return Poll::Ready(());
        }
        waiting.waker = Some(task.waker().clone());
        Poll::Pending
    }

    fn poll(&self, task: &Task<'_>) -> Poll<Result<Option<BodyPart>, BodyFault>> {
        let mut waiting = self.0.borrow_mut();
        if waiting.end == Some(End::Lost) {
            return Poll::Ready(Err(BodyFault::Cut));
        }
        if let Some(part) = waiting.parts.pop_front() {
            waiting.bytes -= size(&part);
            return Poll::Ready(Ok(Some(part)));
        }
        if waiting.end.is_some() {
            return Poll::Ready(Ok(None));
        }
        waiting.waker = Some(task.waker().clone());
        Poll::Pending
    }
}

impl Waiting {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn size(part: &BodyPart) -> u64 {
    match part {
        BodyPart::Data(bytes) | BodyPart::Trailers(bytes) => (bytes.len() as u64).max(PART),
    }
}

impl Leg for Copied<'_> {
    fn poll_part(
        &mut self,
        body: &mut Body,
        task: &mut Task<'_>,
    ) -> Poll<Result<Option<BodyPart>, BodyFault>> {
        let polled = self.inner.poll_part(body, task);
        for feed in &self.feeds {
            match &polled {
                Poll::Ready(Ok(Some(part))) => feed.push(part),
                Poll::Ready(Ok(None)) => feed.end(End::Whole),
                Poll::Ready(Err(_)) => feed.end(End::Lost),
                Poll::Pending => {}
            }
        }
        polled
    }

    fn queue_data(&mut self, part: BodyPart, framing: Framing) {
        self.answered.note(&part);
        self.inner.queue_data(part, framing);
    }

    fn queue_end(&mut self, framing: Framing) {
        self.answered.is_whole = true;
        self.inner.queue_end(framing);
    }

    fn needs_flush(&self) -> bool {
        self.inner.needs_flush()
    }

    fn poll_flush(&mut self, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_flush(task)
    }

    fn is_clean(&self) -> bool {
        self.inner.is_clean()
    }
}

impl Downstream for Copied<'_> {
    fn poll_broken(&mut self, task: &mut Task<'_>) -> Poll<()> {
        self.inner.poll_broken(task)
    }

    fn queue_informational(&mut self, head: &ResponseHead) {
        self.inner.queue_informational(head);
    }

    fn queue_response(&mut self, head: &ResponseHead, changes: &ResponseChanges<'_>) {
        self.answered.head = Some((head.status(), Instant::now()));
        self.inner.queue_response(head, changes);
    }

    fn queue_reply(&mut self, method: &str, status: u16, fields: &[(&str, &str)], body: &[u8]) {
        self.inner.queue_reply(method, status, fields, body);
    }

    fn upgrade(&mut self) -> Option<(&mut dyn Bytestream, BytesMut)> {
        self.inner.upgrade()
    }
}

/// What a copy takes for the peer that asked: content comes from the request, and the answer goes nowhere.
struct CopyLeg {
    feed: Rc<Feed>,
    answered: Answered,
}

impl Leg for CopyLeg {
    fn poll_part(
        &mut self,
        _body: &mut Body,
        task: &mut Task<'_>,
    ) -> Poll<Result<Option<BodyPart>, BodyFault>> {
        self.feed.poll(task)
    }

    fn queue_data(&mut self, part: BodyPart, _framing: Framing) {
        self.answered.note(&part);
    }

    fn queue_end(&mut self, _framing: Framing) {
        self.answered.is_whole = true;
    }

    fn needs_flush(&self) -> bool {
        false
    }

    fn poll_flush(&mut self, _task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_clean(&self) -> bool {
        true
    }
}

impl Downstream for CopyLeg {
    fn poll_broken(&mut self, task: &mut Task<'_>) -> Poll<()> {
        self.feed.poll_lost(task)
    }

    fn queue_informational(&mut self, _head: &ResponseHead) {}

    fn queue_response(&mut self, _head: &ResponseHead, _changes: &ResponseChanges<'_>) {}

    fn queue_reply(&mut self, _method: &str, _status: u16, _fields: &[(&str, &str)], _body: &[u8]) {
    }

    fn upgrade(&mut self) -> Option<(&mut dyn Bytestream, BytesMut)> {
        None
    }
}
