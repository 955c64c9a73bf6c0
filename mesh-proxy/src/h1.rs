//! One side of an HTTP/1.1 connection: strict (RFC 9112), with pooled buffers and streamed content.
//!
//! What is ambiguous is refused before a byte of it goes on; see [`reject`] for the table. Times
//! are the caller's: nothing here waits for anything but the peer. May use [`crate::buffer`] only.

mod body;
#[cfg(any(test, feature = "testing"))]
pub mod cases;
mod field;
mod head;
mod line;
mod meaning;
pub mod reject;
mod scan;
#[cfg(test)]
mod tests;
mod write;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

pub(crate) use body::is_forbidden;
pub use body::{Body, BodyPart};
pub(crate) use field::{Field, Fields, Kind};
pub use head::{Framing, RequestHead, ResponseHead};
pub use line::{Form, MAX_TARGET, Version};
pub(crate) use line::{RequestLine, Span, StatusLine};
pub use reject::{Fault, Refusal, ResponseFault};
pub use scan::{MAX_FIELDS, MAX_HEAD, MAX_TRAILERS};

use crate::buffer::{Buffer, Fill, SIZE};
use body::Taken;
use scan::{Complete, Scan, Section, StartLine};
use write::Outgoing;

/// Why a request could not be read.
pub type RequestFault = Fault;
/// Why content could not be read.
pub type BodyFault = Fault;

/// Bytes that one read may take at most.
const MAX_READ: usize = 64 * 1024;
/// Longest head that is copied out of its buffer.
const COPIED_HEAD: usize = 2 * 1024;
/// Room below which the buffer is not read into.
const MIN_READ: usize = 1024;

/// One side of an HTTP/1.1 connection and its buffers, which go back to the worker when it idles.
#[derive(Debug)]
pub struct Connection<T> {
    io: T,
    read: Buffer,
    out: Outgoing,
    /// How far a head was looked at of which more is to come.
    scan: Option<Box<Scan>>,
    /// True once the one empty line that may come before a request was dropped.
    skipped: bool,
    /// True behind an interim response: the final one follows.
    interim: bool,
    /// Bytes the next read asks for; grows while reads fill it.
    room: usize,
    state: State,
}

/// Where the reading side stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between messages.
    Idle,
    /// Behind a head whose content was not read to its end.
    Content,
    /// The peer closed, or sent what cannot be followed.
    Over,
}

impl<T> Connection<T> {
    /// A connection of which nothing was read.
    pub fn new(io: T) -> Self {
        Self::with_read(io, BytesMut::new())
    }

    /// A connection of which `read` was read already.
    pub fn with_read(io: T, read: BytesMut) -> Self {
        Self {
            io,
            read: Buffer::from(read),
            out: Outgoing::default(),
            scan: None,
            skipped: false,
            interim: false,
            room: MIN_READ,
            state: State::Idle,
        }
    }

    /// True if nothing is unread or unwritten and the last message ended: it may be used again.
    pub fn is_clean(&self) -> bool {
        self.state == State::Idle
            && !self.interim
            && self.read.is_empty()
            && self.out.is_empty()
            && self.scan.is_none()
    }

    /// Bytes read that no message has taken yet.
    pub fn buffered(&self) -> usize {
        self.read.len()
    }

    /// Bytes queued and not written.
    pub fn queued(&self) -> usize {
        self.out.len()
    }

    /// True if so much is queued that it must be flushed before more is.
    pub fn needs_flush(&self) -> bool {
        self.out.is_full()
    }

    /// The connection itself.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// The connection itself.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// The connection and what was read and not taken: where another protocol goes on. What is
    /// queued is lost: flush first.
    pub fn into_inner(self) -> (T, BytesMut) {
        (self.io, self.read.into_bytes())
    }

    /// Takes what was read and belongs to no message: another protocol goes on there.
    pub fn take_read(&mut self) -> BytesMut {
        std::mem::take(&mut self.read).into_bytes()
    }

    /// Queues bytes as they are.
    pub fn queue(&mut self, bytes: &[u8]) {
        self.out.tail().extend_from_slice(bytes);
    }

    /// The end of the queue, for a head to be written into.
    pub fn queue_tail(&mut self) -> &mut BytesMut {
        self.out.tail()
    }

    /// Queues content in the outgoing framing; trailers are dropped where it has none.
    pub fn queue_data(&mut self, part: BodyPart, framing: Framing) {
        self.out.queue_data(part, framing);
    }

    /// Queues the end of the content: the last chunk, where chunked and not said by trailers.
    pub fn queue_end(&mut self, framing: Framing) {
        self.out.queue_end(framing);
    }
}

impl<T: Fill + AsyncWrite> Connection<T> {
    /// Reads the head of the next request; `None` if the peer closed before its first byte.
    ///
    /// Loses nothing if dropped and called again.
    ///
    /// # Errors
    ///
    /// A refused head, a connection that closed inside one, or an I/O error.
    pub async fn read_request(&mut self) -> Result<Option<RequestHead>, RequestFault> {
        loop {
            if let Some(head) = self.take_request()? {
                return Ok(Some(head));
            }
            if poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                self.state = State::Over;
                return if self.read.is_empty() {
                    Ok(None)
                } else {
                    Err(Fault::Cut)
                };
            }
        }
    }

    /// The head of the next request, if all of it was read.
    ///
    /// # Errors
    ///
    /// A refused head.
    pub fn take_request(&mut self) -> Result<Option<RequestHead>, RequestFault> {
        self.skip_line()?;
        let (complete, line) = match self.advance(Section::Request)? {
            Some((complete, StartLine::Request(line))) => (complete, line),
            Some(_) => return Err(self.refuse(Refusal::BadMethod)),
            None => return Ok(None),
        };
        let bytes = self.take_head(complete.len);
        let head = RequestHead::new(bytes, complete.fields, line);
        let head = head.map_err(|refusal| self.refuse(refusal))?;
        self.begin_content(head.framing());
        Ok(Some(head))
    }

    /// Ready once bytes of a next message are there (true) or the peer closed (false).
    ///
    /// Holds no buffer meanwhile.
    ///
    /// # Errors
    ///
    /// The connection failed.
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.read.is_empty() {
            return Poll::Ready(Ok(true));
        }
        self.room = MIN_READ;
        let len = ready!(self.poll_fill(cx))?;
        if len == 0 {
            self.state = State::Over;
        }
        Poll::Ready(Ok(len > 0))
    }

    /// Reads the head of a response to a request with `method`; after a 1xx, call it again.
    ///
    /// # Errors
    ///
    /// A refused head, a connection that closed before its end, or an I/O error; and whether a byte
    /// of a response, interim ones included, had arrived.
    pub async fn read_response(&mut self, method: &str) -> Result<ResponseHead, ResponseFault> {
        let started = self.interim || !self.read.is_empty();
        match self.next_response(method).await {
            Ok(head) => {
                self.interim = head.is_informational();
                Ok(head)
            }
            Err(fault) => {
                let refused = matches!(fault, Fault::Refused(_));
                Err(ResponseFault {
                    started: started || refused || !self.read.is_empty(),
                    unsent: false,
                    fault,
                })
            }
        }
    }

    /// Reads the next part of the content; `None` at its end.
    ///
    /// After a fault the connection is over and the body failed.
    ///
    /// # Errors
    ///
    /// Refused content, a connection that closed inside it, or an I/O error.
    pub async fn read_body(&mut self, body: &mut Body) -> Result<Option<BodyPart>, BodyFault> {
        loop {
            match body.take(&mut self.read) {
                Ok(Taken::Part(part)) => {
                    self.end_content(body);
                    return Ok(Some(part));
                }
                Ok(Taken::End) => {
                    self.end_content(body);
                    return Ok(None);
                }
                Ok(Taken::More) if body.is_failed() => return Err(Fault::Cut),
                Ok(Taken::More) => {}
                Err(refusal) => {
                    body.fail();
                    return Err(self.refuse(refusal));
                }
            }
            let read = poll_fn(|cx| self.poll_fill(cx)).await;
            if !matches!(read, Ok(1..)) {
                self.state = State::Over;
                let ends = read.is_ok() && body.close();
                if !ends {
                    body.fail();
                    return Err(read.err().map_or(Fault::Cut, Fault::Io));
                }
            }
        }
    }

    /// Writes all that is queued, in as few writes as the connection takes.
    ///
    /// # Errors
    ///
    /// The connection failed, or takes no more.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.out.poll_flush(&mut self.io, cx)).await
    }

    /// Writes all that is queued and says that no more comes.
    ///
    /// # Errors
    ///
    /// The connection failed, or takes no more.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.flush().await?;
        poll_fn(|cx| Pin::new(&mut self.io).poll_shutdown(cx)).await
    }

    /// Ready once the peer broke off while its answer is being made. A peer that only ended its
    /// side still reads. What it pipelined meanwhile is kept, within one buffer.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.state != State::Idle || !self.read.is_empty() {
            return Poll::Pending;
        }
        match self.poll_fill(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            Poll::Ready(Ok(0)) => {
                self.state = State::Over;
                Poll::Pending
            }
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    }

    /// Reads and drops what the peer still sends, until it ends.
    pub async fn discard(&mut self) {
        loop {
            self.read.clear();
            if !matches!(poll_fn(|cx| self.poll_fill(cx)).await, Ok(1..)) {
                return;
            }
        }
    }

    /// Ready once a connection at rest cannot be used: its peer closed it or sent something.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_clean() {
            return Poll::Ready(());
        }
        let ended = ready!(self.poll_fill(cx));
        if !matches!(ended, Ok(1..)) {
            self.state = State::Over;
        }
        Poll::Ready(())
    }

    async fn next_response(&mut self, method: &str) -> Result<ResponseHead, Fault> {
        let (complete, line) = loop {
            match self.advance(Section::Response)? {
                Some((complete, StartLine::Status(line))) => break (complete, line),
                Some(_) => return Err(self.refuse(Refusal::BadStatusLine)),
                None => {}
            }
            if poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                self.state = State::Over;
                return Err(Fault::Cut);
            }
        };
        let bytes = self.take_head(complete.len);
        let head = ResponseHead::new(bytes, complete.fields, line, method);
        let head = head.map_err(|refusal| self.refuse(refusal))?;
        self.begin_content(head.framing());
        Ok(head)
    }

    /// Drops the one empty line that a client may send before a request (RFC 9112 section 2.2).
    fn skip_line(&mut self) -> Result<(), Fault> {
        if self.scan.is_some() {
            return Ok(());
        }
        match (self.read.first(), self.read.get(1)) {
            (Some(b'\n'), _) => Err(self.refuse(Refusal::BareLf)),
            (Some(b'\r'), _) if self.skipped => Err(self.refuse(Refusal::LeadingLines)),
            (Some(b'\r'), Some(b'\n')) => {
                self.read.advance(2);
                self.skipped = true;
                self.skip_line()
            }
            (Some(b'\r'), Some(_)) => Err(self.refuse(Refusal::BareCr)),
            _ => Ok(()),
        }
    }

    fn advance(&mut self, section: Section) -> Result<Option<(Complete, StartLine)>, Fault> {
        let waits = self.read.is_empty() || (self.scan.is_none() && self.read[..] == *b"\r");
        if waits {
            return Ok(None);
        }
        let begun = self.scan.take();
        let mut scan = begun.map_or_else(|| Scan::new(section), |scan| *scan);
        match scan.advance(&self.read) {
            Ok(None) => {
                self.scan = Some(Box::new(scan));
                Ok(None)
            }
            Ok(Some(complete)) => {
                self.skipped = false;
                Ok(complete.start.map(|line| (complete, line)))
            }
            Err(refusal) => Err(self.refuse(refusal)),
        }
    }

    /// The bytes of a head. A small one is copied: it lives longer than the buffer is needed, which goes
    /// back to the worker whole.
    fn take_head(&mut self, length: usize) -> Bytes {
        if length > COPIED_HEAD {
            return self.read.split_to(length).freeze();
        }
        let head = Bytes::copy_from_slice(&self.read[..length]);
        self.read.advance(length);
        head
    }

    fn refuse(&mut self, refusal: Refusal) -> Fault {
        self.state = State::Over;
        Fault::Refused(refusal)
    }

    fn begin_content(&mut self, framing: Framing) {
        let none = matches!(framing, Framing::Empty | Framing::Length(0));
        self.state = if none { State::Idle } else { State::Content };
    }

    fn end_content(&mut self, body: &Body) {
        if body.is_done() && self.state == State::Content {
            self.state = State::Idle;
            self.room = MIN_READ;
        }
    }

    /// One read; 0 if the peer closed. Holds a buffer only while it holds bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let len = ready!(self.io.poll_fill(cx, &mut self.read, self.room))?;
        if len >= self.room.max(SIZE) {
            self.room = (self.room * 2).clamp(SIZE, MAX_READ);
        }
        Poll::Ready(Ok(len))
    }
}
