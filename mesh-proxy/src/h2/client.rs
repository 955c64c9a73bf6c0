//! The end that sends requests: a stream on a shared connection.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::connection::{Connection, Reserved, Slot, start};
use super::content::{Incoming, Outgoing};
use super::meter::Metered;
use super::peer::Pooled;
use super::{ENDS, broken, head, is_leaving, is_unprocessed};
use crate::h1::{BodyPart, Fault, ResponseFault, ResponseHead};

/// Time that a server gets to take a stream before it is reset.
const GRACE: Duration = Duration::from_millis(50);

/// A request's stream on a shared connection. Dropping it before its end resets it: see
/// [`Connection::leave`].
pub struct ClientStream {
    state: State,
    outgoing: Outgoing,
    incoming: Option<Incoming>,
    /// True once a byte of a response came.
    answered: bool,
    /// Taken where the stream is left to the connection.
    slot: Option<Slot>,
}

enum State {
    /// A place on the connection; nothing was sent.
    Reserved(SendRequest<Bytes>),
    /// Queued until the connection takes it; true if nothing follows.
    Queued(SendRequest<Bytes>, Box<Request<()>>, bool),
    Sent {
        response: ResponseFuture,
        send: SendStream<Bytes>,
        at: Instant,
    },
    /// Why it could not be sent, to be told where the response is waited for.
    Failed(Option<h2::Error>),
}

/// Starts HTTP/2 on `io`; the connection's frames are to be carried by [`Connection::drive`].
///
/// # Errors
/// The peer does not speak HTTP/2, or is gone.
pub(crate) async fn connect<T>(
    io: T,
    idle: Duration,
    ends: Option<std::time::Instant>,
) -> io::Result<(Rc<Connection>, impl Future<Output = ()> + use<T>)>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (sender, frames) = start(Metered::client(io), ENDS).await.map_err(broken)?;
    let connection = Connection::new(sender, idle, ends);
    let driving = Rc::clone(&connection).drive(frames);
    Ok((connection, driving))
}

impl ClientStream {
    /// A stream in its place; nothing is sent yet.
    pub(crate) fn new(reserved: Reserved) -> Self {
        Self {
            state: State::Reserved(reserved.sender),
            outgoing: Outgoing::default(),
            incoming: None,
            answered: false,
            slot: Some(reserved.slot),
        }
    }

    /// Queues the request's head; `ended` if no content follows.
    pub fn queue_request(&mut self, request: Request<()>, ended: bool) {
        if ended {
            self.outgoing.close();
        }
        self.state = match std::mem::replace(&mut self.state, State::Failed(None)) {
            State::Reserved(sender) => State::Queued(sender, Box::new(request), ended),
            other => other,
        };
    }

    /// Queues content or trailers of the request.
    pub fn queue(&mut self, part: BodyPart) {
        self.outgoing.queue(part);
    }

    /// Queues the end of the request.
    pub fn queue_end(&mut self) {
        self.outgoing.queue_end();
    }

    /// True if so much is queued that it must be sent before more is.
    pub fn is_full(&self) -> bool {
        self.outgoing.is_full()
    }

    /// Hands what is queued to the connection. Why that failed is told by
    /// [`ClientStream::poll_response`], for the answer may have come before.
    pub fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let State::Queued(sender, ..) = &mut self.state {
            let ready = ready!(sender.poll_ready(task));
            self.send_request(ready);
        }
        match &mut self.state {
            State::Sent { send, .. } => self.outgoing.poll_flush(send, task),
            State::Failed(_) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            State::Reserved(_) | State::Queued(..) => Poll::Ready(Ok(())),
        }
    }

    fn send_request(&mut self, ready: Result<(), h2::Error>) {
        self.state = match std::mem::replace(&mut self.state, State::Failed(None)) {
            State::Queued(mut sender, request, ended) => {
                let sent = ready.and_then(|()| sender.send_request(*request, ended));
                match sent {
                    Ok((response, send)) => State::Sent {
                        response,
                        send,
                        at: Instant::now(),
                    },
                    Err(error) => State::Failed(Some(error)),
                }
            }
            other => other,
        };
    }

    /// The next head of the response to `method`; after a 1xx, call it again.
    pub fn poll_response(
        &mut self,
        method: &str,
        task: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, ResponseFault>> {
        let polled = match &mut self.state {
            State::Reserved(_) | State::Queued(..) => return Poll::Pending,
            State::Failed(error) => {
                let error = error.take().map(broken);
                let fault = error.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
                self.retire();
                return Poll::Ready(Err(self.fault(fault.into(), true)));
            }
            State::Sent { response, .. } => {
                ready!(poll_head(response, &mut self.incoming, method, task))
            }
        };
        Poll::Ready(match polled {
            Ok(head) => {
                self.answered = true;
                Ok(head)
            }
            Err(fault) => {
                let error = match &fault {
                    Fault::Io(error) => Some(error),
                    Fault::Cut | Fault::Refused(_) => None,
                };
                if error.is_some_and(is_leaving) {
                    self.retire();
                }
                let unsent = error.is_some_and(is_unprocessed);
                Err(self.fault(fault, unsent))
            }
        })
    }

    /// The connection takes no more streams.
    fn retire(&self) {
        if let Some(slot) = &self.slot {
            slot.connection.retire();
        }
    }

    /// Adds how far the exchange was.
    fn fault(&self, fault: Fault, unsent: bool) -> ResponseFault {
        ResponseFault {
            started: self.answered,
            unsent,
            fault,
        }
    }

    /// The next part of the response's content; `None` at its end.
    pub fn poll_part(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<BodyPart>, Fault>> {
        match &mut self.incoming {
            None => Poll::Ready(Ok(None)),
            Some(incoming) => incoming.poll_part(task),
        }
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Failed(None));
        let (State::Sent { response, send, at }, false, Some(slot)) =
            (state, self.answered, self.slot.take())
        else {
            return;
        };
        let due = at + GRACE;
        if Instant::now() < due {
            let connection = Rc::clone(&slot.connection);
            connection.leave(due, (response, send, slot));
        }
    }
}

fn poll_head(
    response: &mut ResponseFuture,
    incoming: &mut Option<Incoming>,
    method: &str,
    task: &mut Context<'_>,
) -> Poll<Result<ResponseHead, Fault>> {
    if let Poll::Ready(Some(interim)) = response.poll_informational(task) {
        let (parts, ()) = interim.map_err(broken)?.into_parts();
        return Poll::Ready(head::response(&parts, method, false).map_err(Fault::from));
    }
    let response = ready!(Pin::new(response).poll(task)).map_err(broken)?;
    let (parts, receive) = response.into_parts();
    let head = head::response(&parts, method, receive.is_end_stream());
    *incoming = Some(Incoming::new(receive));
    Poll::Ready(head.map_err(Fault::from))
}
