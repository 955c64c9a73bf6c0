//! Moves one request's body up and its response's body down, both at once, without tasks.
//!
//! One poll function drives both directions, so an app may answer before it has read everything,
//! or answer while it reads. May use `copy`, `idle`, `h1`, `leg` and `error`.

use std::future::poll_fn;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use mesh_api::decide::eject::judgement::{self, Judgement};

use crate::copy::{self, Broken, Carried};
use crate::error::{Error, Kind};
use crate::h1::{
    Body, BodyFault, BodyPart, Fault, Framing, RequestHead, ResponseFault, ResponseHead, Version,
};
use crate::idle::Idle;
use crate::leg::{Downstream, Leg, Upstream};

/// 1xx heads that one exchange passes on.
const MAX_INTERIM: u32 = 64;
/// What a kept part counts as at least, in bytes: its place in memory.
const PART: u64 = 256;

/// A request's body on its way up, kept while it may be needed again.
pub struct RequestBody {
    body: Body,
    framing: Framing,
    /// Parts already read, for another try; `None` once they exceed the limit or must not be kept.
    kept: Option<Vec<BodyPart>>,
    kept_bytes: u64,
    keep_limit: u64,
    /// Parts of `kept` that this try still has to send.
    replayed: usize,
    read_to_end: bool,
    sent_to_end: bool,
    bytes: u64,
}

impl RequestBody {
    /// A body not read yet; at most `keep_limit` bytes of it are kept for another try.
    pub fn new(framing: Framing, keep_limit: u64) -> Self {
        let body = Body::new(framing);
        let done = framing == Framing::Empty;
        Self {
            body,
            framing,
            kept: Some(Vec::new()),
            kept_bytes: 0,
            keep_limit,
            replayed: 0,
            read_to_end: done,
            sent_to_end: done,
            bytes: 0,
        }
    }

    /// How it is framed upstream.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// True if another try can send it from the start.
    pub fn is_replayable(&self) -> bool {
        self.kept.is_some()
    }

    /// Goes back to the start for another try.
    pub fn rewind(&mut self) {
        self.replayed = 0;
        self.sent_to_end = self.framing == Framing::Empty;
    }

    /// No other try follows: nothing needs to be kept.
    pub fn forget(&mut self) {
        let sent = self
            .kept
            .as_ref()
            .is_none_or(|kept| self.replayed >= kept.len());
        if sent {
            self.kept = None;
        }
        self.keep_limit = 0;
    }

    /// True once the downstream sent all of it.
    pub fn is_read(&self) -> bool {
        self.read_to_end
    }

    /// Bytes of content read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Moves parts up as far as both sides allow; ready once something moved.
    fn poll_up(
        &mut self,
        downstream: &mut impl Leg,
        upstream: &mut Upstream,
        task: &mut Task<'_>,
    ) -> Poll<Result<(), Error>> {
        if self.sent_to_end || upstream.needs_flush() {
            return Poll::Pending;
        }
        if let Some(part) = self.kept.as_ref().and_then(|kept| kept.get(self.replayed)) {
            upstream.queue_data(part.clone(), self.framing);
            self.replayed += 1;
            return Poll::Ready(Ok(()));
        }
        if self.read_to_end {
            upstream.queue_end(self.framing);
            self.sent_to_end = true;
            return Poll::Ready(Ok(()));
        }
        match downstream.poll_part(&mut self.body, task) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(fault)) => Poll::Ready(Err(bad_body(fault))),
            Poll::Ready(Ok(None)) => {
                self.read_to_end = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(Some(part))) => {
                self.keep(&part);
                upstream.queue_data(part, self.framing);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn keep(&mut self, part: &BodyPart) {
        let length = length(part);
        self.bytes += length;
        self.kept_bytes += length.max(PART);
        if self.kept_bytes > self.keep_limit {
            self.kept = None;
        } else if let Some(kept) = &mut self.kept {
            kept.push(part.clone());
            self.replayed = kept.len();
        }
    }
}

/// Sends what is queued and the body until a final response head came; 1xx heads go down at once.
///
/// # Errors
/// Of the upstream ([`Kind::Reset`] before the first byte of a response) or of the downstream's body;
/// [`Kind::IdleTimeout`] where no byte moves for `idle`.
pub async fn exchange_heads(
    downstream: &mut impl Downstream,
    upstream: &mut Upstream,
    body: &mut RequestBody,
    head: &RequestHead,
    idle: Option<Duration>,
) -> Result<ResponseHead, Error> {
    let mut write_failed = false;
    let mut interim = 0;
    let mut idle = Idle::new(idle);
    poll_fn(|task| {
        let mut any = false;
        loop {
            let mut moved = false;
            // What is there is taken first: a head goes up with its content, in one write.
            while !write_failed && let Poll::Ready(sent) = body.poll_up(downstream, upstream, task)
            {
                sent?;
                moved = true;
            }
            let was_full = upstream.needs_flush();
            if !write_failed {
                // A write that fails does not end the try: the answer may have come before.
                write_failed = matches!(upstream.poll_flush(task), Poll::Ready(Err(_)));
            }
            // There is room again: who waits to be read is to be asked once more.
            moved |= was_full && !upstream.needs_flush() && !write_failed;
            match poll_answer(downstream, upstream, head, task) {
                Poll::Ready(Ok(None)) if interim < MAX_INTERIM => {
                    interim += 1;
                    moved = true;
                }
                Poll::Ready(Ok(None)) => {
                    return Poll::Ready(Err(Error::upstream(Kind::BadResponse)));
                }
                Poll::Ready(Ok(Some(answer))) => return Poll::Ready(Ok(answer)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            if downstream.poll_broken(task).is_ready() {
                return Poll::Ready(Err(Error::downstream(Kind::DownstreamGone)));
            }
            if let Poll::Ready(Err(error)) = downstream.poll_flush(task) {
                let gone = Error::downstream(Kind::DownstreamGone);
                return Poll::Ready(Err(gone.because(error)));
            }
            any |= moved;
            if !moved {
                return idle.poll(any, task).map(|()| Err(too_idle()));
            }
        }
    })
    .await
}

fn too_idle() -> Error {
    Error::upstream(Kind::IdleTimeout)
}

/// A final response head; or `None` once a 1xx was passed on, which HTTP/1.0 does not know.
fn poll_answer(
    downstream: &mut impl Downstream,
    upstream: &mut Upstream,
    head: &RequestHead,
    task: &mut Task<'_>,
) -> Poll<Result<Option<ResponseHead>, Error>> {
    if downstream.needs_flush() {
        return Poll::Pending;
    }
    upstream.poll_response(head.method(), task).map(|answer| {
        let answer = answer.map_err(no_response)?;
        if answer.status() == 101 && !(head.upgrade().is_some() && answer.upgrade().is_some()) {
            // Nobody asked for it, or it does not say for what.
            return Err(Error::upstream(Kind::BadResponse));
        }
        if !answer.is_informational() {
            return Ok(Some(answer));
        }
        if head.version() != Version::Http10 {
            downstream.queue_informational(&answer);
        }
        Ok(None)
    })
}

/// How a response's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes of content passed down.
    pub bytes: u64,
    /// True if the upstream's message is complete and its connection can carry another.
    pub upstream_complete: bool,
}

/// Passes the response's body down, and what is left of the request's body up. Where it is asked for, what the
/// trailers say of a gRPC call is told.
///
/// # Errors
/// [`Kind::Cut`] if the response broke, [`Kind::DownstreamGone`] if nobody takes it,
/// [`Kind::IdleTimeout`] where no byte moves for `idle`. Bytes counted
/// so far are in the error's place of the caller's `bytes`.
pub async fn exchange_bodies(
    downstream: &mut impl Downstream,
    upstream: &mut Upstream,
    request: &mut RequestBody,
    response: (Body, Framing, Option<&mut Option<Judgement>>),
    bytes: &mut u64,
    idle: Option<Duration>,
) -> Result<Relayed, Error> {
    let mut response = Descent::new(response, bytes);
    let mut idle = Idle::new(idle);
    poll_fn(|task| {
        let mut any = false;
        loop {
            // What is there is taken first: a head goes down with its content, in one write.
            let taken = response.take_parts(downstream, upstream, task);
            let was_full = downstream.needs_flush();
            let flushed = match downstream.poll_flush(task) {
                Poll::Ready(Err(error)) => {
                    let gone = Error::downstream(Kind::DownstreamGone);
                    return Poll::Ready(Err(gone.because(error)));
                }
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            // What came before a break goes down as well.
            let mut moved = taken?;
            // There is room again: who waits to be read is to be asked once more.
            moved |= was_full && !downstream.needs_flush();
            let ended = response.ended;
            if ended && flushed {
                let upstream_complete = request.sent_to_end && upstream.is_clean();
                return Poll::Ready(Ok(Relayed {
                    bytes: *response.bytes,
                    upstream_complete,
                }));
            }
            if downstream.poll_broken(task).is_ready() {
                return Poll::Ready(Err(Error::downstream(Kind::DownstreamGone)));
            }
            // Once the response is complete nobody waits for the rest of the request.
            if !ended && matches!(upstream.poll_flush(task), Poll::Ready(Ok(()))) {
                match request.poll_up(downstream, upstream, task) {
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            any |= moved;
            if !moved {
                return idle.poll(any, task).map(|()| Err(too_idle()));
            }
        }
    })
    .await
}

/// A response's body on its way down.
struct Descent<'b> {
    body: Body,
    framing: Framing,
    /// What the trailers say, where that is asked for.
    judged: Option<&'b mut Option<Judgement>>,
    bytes: &'b mut u64,
    ended: bool,
}

impl<'b> Descent<'b> {
    fn new(
        (body, framing, judged): (Body, Framing, Option<&'b mut Option<Judgement>>),
        bytes: &'b mut u64,
    ) -> Self {
        Self {
            body,
            framing,
            judged,
            bytes,
            ended: false,
        }
    }

    /// Queues what the upstream has, as much as may be queued; true if that was something.
    fn take_parts(
        &mut self,
        downstream: &mut impl Downstream,
        upstream: &mut Upstream,
        task: &mut Task<'_>,
    ) -> Result<bool, Error> {
        let cut = || Error::upstream(Kind::Cut);
        let mut moved = false;
        while !self.ended && !downstream.needs_flush() {
            match upstream.poll_part(&mut self.body, task) {
                Poll::Pending => break,
                Poll::Ready(Err(fault)) => return Err(cut().because(fault)),
                Poll::Ready(Ok(Some(part))) => {
                    *self.bytes += length(&part);
                    if !self.framing.takes(*self.bytes) {
                        // What no head announced would be read as the next response.
                        return Err(cut());
                    }
                    if let (Some(judged), BodyPart::Trailers(lines)) = (&mut self.judged, &part) {
                        **judged = Some(judgement::judge_trailers(lines));
                    }
                    downstream.queue_data(part, self.framing);
                }
                Poll::Ready(Ok(None)) => {
                    if !self.framing.ends_at(*self.bytes) {
                        return Err(cut());
                    }
                    downstream.queue_end(self.framing);
                    self.ended = true;
                }
            }
            moved = true;
        }
        Ok(moved)
    }
}

fn bad_body(fault: BodyFault) -> Error {
    match fault.refusal() {
        Some(refusal) => {
            Error::downstream(Kind::BadMessage(refusal.status())).because(refusal.text())
        }
        None => Error::downstream(Kind::DownstreamGone).because(fault),
    }
}

fn no_response(fault: ResponseFault) -> Error {
    let kind = match (&fault.fault, fault.started) {
        _ if fault.unsent => Kind::RefusedStream,
        (Fault::Refused(_), _) => Kind::BadResponse,
        (Fault::Cut | Fault::Io(_), false) => Kind::Reset,
        (Fault::Cut | Fault::Io(_), true) => Kind::Cut,
    };
    Error::upstream(kind).because(fault)
}

/// Bytes of content in a part; trailers are none.
fn length(part: &BodyPart) -> u64 {
    match part {
        BodyPart::Data(bytes) => bytes.len() as u64,
        BodyPart::Trailers(_) => 0,
    }
}

/// Carries bytes both ways after the heads of an upgrade, until both ends are done; counts them in
/// `carried`.
///
/// # Errors
/// The connection that broke; [`Kind::Cut`] if either cannot carry bytes; [`Kind::IdleTimeout`] where none
/// is carried for `idle`.
pub(crate) async fn exchange_bytes(
    downstream: &mut impl Downstream,
    upstream: &mut Upstream,
    carried: &mut Carried,
    idle: Option<Duration>,
) -> Result<(), Error> {
    let cut = || Error::upstream(Kind::Cut);
    let (mut near, early) = downstream.upgrade().ok_or_else(cut)?;
    let (far, late) = upstream.upgrade().ok_or_else(cut)?;
    let copied = copy::both(&mut near, far, (early, late), carried, idle).await;
    copied.map_err(|broken| match broken {
        Broken::Downstream => Error::downstream(Kind::DownstreamGone),
        Broken::Upstream => cut(),
        Broken::Idle => too_idle(),
    })
}
