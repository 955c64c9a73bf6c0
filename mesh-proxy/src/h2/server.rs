//! The end that takes requests: each stream of a peer's connection is handed to a handler.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::content::{Incoming, Outgoing};
use super::meter::{Metered, Resets};
use super::{
    ENDS, HEADER_LIST, MAX_STREAMS, RESET_STREAMS, SEND_BUFFER, SMALL_FRAMES, broken, head,
};
use crate::h1::{BodyPart, Fault, Refusal, RequestHead};

/// Time allowed to a peer's preface and settings.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Time after which a connection without streams is closed.
const IDLE: Duration = Duration::from_hours(1);
/// Streams that a peer reset before they were looked at.
const PENDING_RESETS: usize = 100;

/// Requests in hand, those that the peer reset meanwhile among them.
const MAX_HANDLERS: usize = 8 * MAX_STREAMS as usize;
/// Most bytes of a request's content that are thrown away after its response.
const DISCARDED: usize = 64 * 1024;
/// How long the end of a refused connection may take, or of a request that was answered before.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Empty SETTINGS, then GOAWAY: no stream was processed, `PROTOCOL_ERROR`.
const REFUSAL: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";

/// A request's stream: its content comes in, its response goes out. Dropping it before its end
/// resets it.
pub struct ServerStream {
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Why the response's head could not be sent.
    failed: Option<h2::Error>,
}

/// A request, or why it is refused.
pub type Received = Result<RequestHead, Refusal>;

/// Serves one connection until it ends, `first` of which was read already; `resets` says what the
/// peer's cost it. Each request runs
/// `handler`, all side by side. Once `drain` is ready no new stream is taken (GOAWAY twice) and
/// open ones finish.
///
/// Must be used where tasks stay on their thread (`spawn_local`). Dropping the future breaks every stream.
///
/// # Errors
/// The connection broke, or the peer broke the protocol. Its handlers have ended by then.
pub async fn serve<T, H, F>(
    io: T,
    (first, resets): (BytesMut, Resets),
    drain: impl Future<Output = ()>,
    handler: H,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Received, ServerStream) -> F,
    F: Future<Output = ()> + 'static,
{
    let mut handlers = JoinSet::new();
    // Boxed, as it is large until the handshake is over.
    let handshake = Box::pin(settings().handshake(Metered::server(io, first, resets)));
    let connection = timeout(HANDSHAKE, handshake).await;
    let connection = connection
        .map_err(|_| io::ErrorKind::TimedOut)?
        .map_err(broken)?;
    // Boxed, so that it is moved no more: it would weigh twice on an idle connection.
    let served = accept(Box::new(connection), drain, &mut handlers, handler).await;
    // The connection is gone: what handlers still hold fails, so they end by themselves.
    while let Some(ended) = handlers.join_next().await {
        report(ended);
    }
    served
}

async fn accept<T, H, F>(
    mut connection: Box<Connection<T, Bytes>>,
    drain: impl Future<Output = ()>,
    handlers: &mut JoinSet<()>,
    handler: H,
) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Received, ServerStream) -> F,
    F: Future<Output = ()> + 'static,
{
    let (mut drain, mut draining) = (pin!(drain), false);
    let mut idle = pin!(sleep_until(Instant::now() + IDLE));
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                None => return Ok(()),
                Some(Err(error)) => return Err(broken(error)),
                Some(Ok((request, mut respond))) => {
                    idle.as_mut().reset(Instant::now() + IDLE);
                    // For what was taken back before it was looked at nothing is done.
                    if !is_reset(&mut respond) {
                        let (received, stream) = receive(request, respond);
                        handlers.spawn_local(handler(received, stream));
                    }
                    if handlers.len() > MAX_HANDLERS {
                        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    }
                }
            },
            // At once: what an ended one holds would weigh on an idle connection.
            Some(ended) = handlers.join_next() => report(ended),
            () = &mut drain, if !draining => {
                draining = true;
                connection.graceful_shutdown();
            }
            () = &mut idle => {
                idle.as_mut().reset(Instant::now() + IDLE);
                if !connection.has_streams() {
                    connection.graceful_shutdown();
                }
            }
        }
    }
}

fn is_reset(respond: &mut SendResponse<Bytes>) -> bool {
    let mut task = Context::from_waker(Waker::noop());
    respond.poll_reset(&mut task).is_ready()
}

/// Ends a connection that does not begin with HTTP/2 where HTTP/2 is declared, in the words of
/// HTTP/2 (RFC 9113 section 3.4): GOAWAY, then an orderly end, so that no reset overtakes it.
pub async fn refuse<T: AsyncRead + AsyncWrite + Unpin>(mut io: T) {
    let ending = async {
        io.write_all(REFUSAL).await?;
        io.shutdown().await?;
        let mut rest = [0; 1024];
        while io.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // The peer may be gone; a refusal owes it nothing more.
    drop(timeout(LAST_WORDS, ending).await);
}

fn settings() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(ENDS.stream)
        .initial_connection_window_size(ENDS.connection)
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .data_frame_budget(SMALL_FRAMES);
    builder
}

fn receive(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> (Received, ServerStream) {
    let (parts, receive) = request.into_parts();
    let received = head::request(&parts, receive.is_end_stream());
    let stream = ServerStream {
        respond,
        send: None,
        incoming: Incoming::new(receive),
        outgoing: Outgoing::default(),
        failed: None,
    };
    (received, stream)
}

impl ServerStream {
    /// The next part of the request's content; `None` at its end.
    pub fn poll_part(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<BodyPart>, Fault>> {
        self.incoming.poll_part(task)
    }

    /// Sends a 1xx head.
    pub fn send_informational(&mut self, response: Response<()>) {
        if let Err(error) = self.respond.send_informational(response) {
            tracing::debug!(%error, "an informational response was not sent");
        }
    }

    /// Sends the response's head; `ended` if no content and no trailers follow.
    pub fn send_response(&mut self, response: Response<()>, ended: bool) {
        match self.respond.send_response(response, ended) {
            Ok(send) => self.send = Some(send),
            Err(error) => self.failed = Some(error),
        }
        if ended {
            self.outgoing.close();
        }
    }

    /// Queues content or trailers of the response.
    pub fn queue(&mut self, part: BodyPart) {
        self.outgoing.queue(part);
    }

    /// Queues the end of the response.
    pub fn queue_end(&mut self) {
        self.outgoing.queue_end();
    }

    /// True if so much is queued that it must be sent before more is.
    pub fn is_full(&self) -> bool {
        self.outgoing.is_full()
    }

    /// Hands what is queued to the connection.
    pub fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(broken(error)));
        }
        match &mut self.send {
            None => Poll::Ready(Ok(())),
            Some(send) => self.outgoing.poll_flush(send, task),
        }
    }

    /// Ready once the peer reset the stream, or is gone.
    pub fn poll_reset(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.send {
            None => self.respond.poll_reset(task),
            Some(send) => send.poll_reset(task),
        };
        reset.map(drop)
    }

    /// Lets go of it once the exchange is over. Where the response ended before the request did, what the peer
    /// still sends is thrown away for a while: a reset, even one without an error, is a failure to many a
    /// client, however whole the response is (curl 7.88).
    pub async fn finish(mut self) {
        if self.outgoing.is_closed() && !self.incoming.is_ended() {
            let discarding = timeout(LAST_WORDS, self.discard());
            // What is longer, or too slow, is reset.
            drop(Box::pin(discarding).await);
        }
    }

    async fn discard(&mut self) {
        let mut room = DISCARDED;
        while let Ok(Some(part)) = poll_fn(|task| self.poll_part(task)).await {
            let BodyPart::Data(data) = part else { continue };
            match room.checked_sub(data.len()) {
                Some(left) => room = left,
                None => return,
            }
        }
    }

    /// Ends it as an error.
    pub fn reset(mut self, reason: Reason) {
        match &mut self.send {
            None => self.respond.send_reset(reason),
            Some(send) => send.send_reset(reason),
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a stream's handler failed");
    }
}
