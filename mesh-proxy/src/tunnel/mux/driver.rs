//! Carries the bytes of one connection: all that a turn brings is read, all that it queued is
//! written at once.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};

use super::head::Head;
use super::state::{Leaving, Role, State};
use crate::buffer::Buffer;

/// Between an answer and the next PING.
const INTERVAL: Duration = Duration::from_secs(10);
/// Allowed for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Reads of a turn, each at most a record, after which others have theirs.
const READS: usize = 16;

/// The one who reads and writes a connection. Dropping it breaks every stream.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, in any combination"
)]
pub(crate) struct Driver<T> {
    io: T,
    state: Rc<RefCell<State>>,
    /// A frame of which the rest is to come.
    cut: Buffer,
    output: Buffer,
    is_flushed: bool,
    /// Whether what is queued was left for the end of the turn.
    is_deferred: bool,
    /// Why it ends, once what is queued is written.
    fault: Option<&'static str>,
    has_ended: bool,
    is_closing: bool,
    alarm: Pin<Box<Sleep>>,
    is_asking: bool,
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.state
            .borrow_mut()
            .finish("the connection was given up");
    }
}

impl<T: AsyncBufRead + AsyncWrite + Unpin> Driver<T> {
    pub(crate) fn new(io: T, state: Rc<RefCell<State>>) -> Self {
        Self {
            io,
            state,
            cut: Buffer::default(),
            output: Buffer::default(),
            is_flushed: true,
            is_deferred: false,
            fault: None,
            has_ended: false,
            is_closing: false,
            alarm: Box::pin(sleep(INTERVAL)),
            is_asking: false,
        }
    }

    /// Carries bytes until the peer opens a stream; `None` once the connection ended well.
    /// `tick` is called now and then, and says whether it is to end when it has no stream.
    pub(crate) async fn next(
        &mut self,
        mut tick: impl FnMut() -> bool,
    ) -> io::Result<Option<(u32, Head)>> {
        poll_fn(|context| {
            self.state.borrow_mut().is_driving = true;
            let polled = self.poll_next(context, &mut tick);
            self.state.borrow_mut().is_driving = false;
            if let Poll::Ready(Err(error)) = &polled {
                let mut state = self.state.borrow_mut();
                state.finish(&error.to_string());
            }
            polled
        })
        .await
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        tick: &mut impl FnMut() -> bool,
    ) -> Poll<io::Result<Option<(u32, Head)>>> {
        self.state.borrow_mut().driven_by(context.waker());
        if self.is_closing {
            return self.poll_close(context);
        }
        if let Some(next) = self.state.borrow_mut().accept() {
            return Poll::Ready(Ok(Some(next)));
        }
        // Reading is first: a TLS alert says more than the write that it makes fail, and an answer
        // that is there counts, however late it is read.
        let is_clogged = self.state.borrow().is_clogged() && self.poll_write(context)?.is_pending();
        if !is_clogged && let Poll::Ready(Err(error)) = self.poll_read(context) {
            return Poll::Ready(Err(error));
        }
        self.poll_alarm(context)?;
        if let Some(next) = self.state.borrow_mut().accept() {
            return Poll::Ready(Ok(Some(next)));
        }
        if self.defers() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let is_written = self.poll_write(context)?.is_ready();
        if let Some(why) = self.fault.filter(|_| is_written) {
            // The peer may have closed before.
            ready!(Pin::new(&mut self.io).poll_shutdown(context)).ok();
            return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, why)));
        }
        if self.has_ended {
            return Poll::Ready(self.end_of_peer().map(|()| None));
        }
        if is_written && self.is_over(tick()) {
            self.is_closing = true;
            self.alarm.as_mut().reset(Instant::now() + ANSWER);
            return self.poll_close(context);
        }
        Poll::Pending
    }

    /// Whether to let the tasks that are ready run once before a write: what they have to say goes into the
    /// same record.
    fn defers(&mut self) -> bool {
        let begins = self.output.is_empty() && self.state.borrow().has_queued();
        self.is_deferred = begins && !self.is_deferred;
        self.is_deferred
    }

    /// Says that no more comes, and waits for the same: a socket that is closed with bytes unread
    /// makes the system throw away what the peer has not yet got.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<(u32, Head)>>> {
        self.state.borrow_mut().finish("the connection is over");
        if self.alarm.as_mut().poll(context).is_ready() {
            return Poll::Ready(Ok(None));
        }
        // The peer may have closed before.
        ready!(Pin::new(&mut self.io).poll_shutdown(context)).ok();
        for _ in 0..READS {
            let count = match ready!(Pin::new(&mut self.io).poll_fill_buf(context)) {
                Ok(bytes) if !bytes.is_empty() => bytes.len(),
                _ => return Poll::Ready(Ok(None)),
            };
            Pin::new(&mut self.io).consume(count);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// The peer sends no more.
    fn end_of_peer(&self) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        let is_clean = state.open() == 0;
        state.finish("the peer closed the connection");
        if is_clean {
            Ok(())
        } else {
            Err(ErrorKind::ConnectionReset.into())
        }
    }

    fn is_over(&self, is_unwanted: bool) -> bool {
        let state = self.state.borrow();
        let leaves = match state.role {
            Role::Caller => is_unwanted || state.gone.is_some(),
            Role::Receiver => state.leaving == Leaving::Now,
        };
        leaves && state.streams.is_empty() && !state.has_queued()
    }

    fn poll_alarm(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.alarm.as_mut().poll(context).is_ready() {
            let mut state = self.state.borrow_mut();
            if self.is_asking && !state.is_answered {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    "the peer stopped answering",
                ));
            }
            self.is_asking = !self.is_asking;
            let next = if self.is_asking {
                state.ping();
                ANSWER
            } else {
                INTERVAL
            };
            self.alarm.as_mut().reset(Instant::now() + next);
        }
        Ok(())
    }

    /// Reads what is there.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.fault.is_some() || self.has_ended {
            return Poll::Ready(Ok(()));
        }
        for _ in 0..READS {
            if self.state.borrow().is_clogged() {
                break;
            }
            let bytes = ready!(Pin::new(&mut self.io).poll_fill_buf(context))?;
            let count = bytes.len();
            if count == 0 {
                self.has_ended = true;
                return Poll::Ready(Ok(()));
            }
            let received = receive(&mut self.state.borrow_mut(), &mut self.cut, bytes);
            Pin::new(&mut self.io).consume(count);
            if let Err(why) = received {
                self.fault = Some(why);
                self.state.borrow_mut().finish(why);
                return Poll::Ready(Ok(()));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is queued.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.output.is_empty() {
                self.output.release();
                let mut state = self.state.borrow_mut();
                if !state.has_queued() {
                    break;
                }
                state.take(&mut self.output);
            }
            let written = ready!(Pin::new(&mut self.io).poll_write(context, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
            self.is_flushed = false;
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.io).poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// Takes in what was read. Whole frames are looked at where they are: only what is cut off is kept.
fn receive(state: &mut State, cut: &mut Buffer, bytes: &[u8]) -> Result<(), &'static str> {
    if !cut.is_empty() {
        cut.reserve(bytes.len());
        cut.extend_from_slice(bytes);
        let taken = state.receive(cut)?;
        cut.advance(taken);
        cut.release();
        return Ok(());
    }
    let taken = state.receive(bytes)?;
    let rest = &bytes[taken..];
    if !rest.is_empty() {
        cut.reserve(rest.len());
        cut.extend_from_slice(rest);
    }
    Ok(())
}
