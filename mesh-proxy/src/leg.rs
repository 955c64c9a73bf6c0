//! The two legs of an exchange, whatever version each speaks: one towards the peer that asked, one
//! towards the endpoint. Content comes in and goes out on both.
//!
//! HTTP/1.1 and HTTP/2 differ in how heads are written and content is framed; nothing behind this
//! module tells them apart. May use `buffer`, `h1`, `h2`, `upstream` and `filter`.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncWrite;

use crate::buffer::Fill;
use crate::filter::{self, RequestChanges, ResponseChanges, http2};
use crate::h1::{
    Body, BodyFault, BodyPart, Connection, Framing, RequestHead, ResponseFault, ResponseHead,
    Version,
};
use crate::h2::{ClientStream, ServerStream};
use crate::upstream::{Reset, Stream};

/// Content in both directions.
pub trait Leg {
    /// The next part of the content that comes in; `None` at its end.
    fn poll_part(
        &mut self,
        body: &mut Body,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<BodyPart>, BodyFault>>;

    /// Queues content that goes out.
    fn queue_data(&mut self, part: BodyPart, framing: Framing);

    /// Queues the end of what goes out.
    fn queue_end(&mut self, framing: Framing);

    /// True if so much is queued that it must be flushed before more is.
    fn needs_flush(&self) -> bool;

    /// Sends what is queued.
    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// True if nothing is unread or unsent and the message has ended.
    fn is_clean(&self) -> bool;
}

/// The leg towards the peer that asked.
pub trait Downstream: Leg {
    /// Ready once the peer broke off.
    fn poll_broken(&mut self, task: &mut Context<'_>) -> Poll<()>;

    /// Queues a 1xx head.
    fn queue_informational(&mut self, head: &ResponseHead);

    /// Queues the head of the response.
    fn queue_response(&mut self, head: &ResponseHead, changes: &ResponseChanges<'_>);

    /// Queues a whole answer of the mesh's own to a request with `method`.
    fn queue_reply(&mut self, method: &str, status: u16, fields: &[(&str, &str)], body: &[u8]);

    /// The bytes of the connection itself, where it can go on with another protocol.
    fn upgrade(&mut self) -> Option<(&mut dyn Bytestream, BytesMut)>;
}

/// A byte stream, whatever carries it.
pub trait Bytestream: Fill + AsyncWrite {}

impl<T: Fill + AsyncWrite> Bytestream for T {}

impl<T: Fill + AsyncWrite> Leg for Connection<T> {
    fn poll_part(
        &mut self,
        body: &mut Body,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<BodyPart>, BodyFault>> {
        // The codec's futures hold no state of their own, so each poll may make them anew.
        pin!(self.read_body(body)).poll(task)
    }

    fn queue_data(&mut self, part: BodyPart, framing: Framing) {
        Connection::queue_data(self, part, framing);
    }

    fn queue_end(&mut self, framing: Framing) {
        Connection::queue_end(self, framing);
    }

    fn needs_flush(&self) -> bool {
        Connection::needs_flush(self)
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(self.flush()).poll(task)
    }

    fn is_clean(&self) -> bool {
        Connection::is_clean(self)
    }
}

impl<T: Fill + AsyncWrite> Downstream for Connection<T> {
    fn poll_broken(&mut self, task: &mut Context<'_>) -> Poll<()> {
        Connection::poll_broken(self, task)
    }

    fn queue_informational(&mut self, head: &ResponseHead) {
        filter::write_informational(head, self.queue_tail());
    }

    fn queue_response(&mut self, head: &ResponseHead, changes: &ResponseChanges<'_>) {
        filter::write_response(head, changes, self.queue_tail());
    }

    fn queue_reply(&mut self, method: &str, status: u16, fields: &[(&str, &str)], body: &[u8]) {
        let out = self.queue_tail();
        filter::write_reply(status, fields, body, out);
        if method == "HEAD" {
            out.truncate(out.len().saturating_sub(body.len()));
        }
    }

    fn upgrade(&mut self) -> Option<(&mut dyn Bytestream, BytesMut)> {
        let read = self.take_read();
        Some((self.get_mut(), read))
    }
}

impl Leg for ServerStream {
    fn poll_part(
        &mut self,
        _body: &mut Body,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<BodyPart>, BodyFault>> {
        ServerStream::poll_part(self, task)
    }

    fn queue_data(&mut self, part: BodyPart, _framing: Framing) {
        self.queue(part);
    }

    fn queue_end(&mut self, _framing: Framing) {
        ServerStream::queue_end(self);
    }

    fn needs_flush(&self) -> bool {
        self.is_full()
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        ServerStream::poll_flush(self, task)
    }

    fn is_clean(&self) -> bool {
        true
    }
}

impl Downstream for ServerStream {
    fn poll_broken(&mut self, task: &mut Context<'_>) -> Poll<()> {
        self.poll_reset(task)
    }

    fn queue_informational(&mut self, head: &ResponseHead) {
        self.send_informational(http2::informational(head));
    }

    fn queue_response(&mut self, head: &ResponseHead, changes: &ResponseChanges<'_>) {
        let ended = matches!(changes.framing, Framing::Empty | Framing::Length(0));
        self.send_response(http2::response(head, changes), ended);
    }

    fn queue_reply(&mut self, method: &str, status: u16, fields: &[(&str, &str)], body: &[u8]) {
        let ended = body.is_empty() || method == "HEAD";
        self.send_response(http2::reply(status, fields), ended);
        if !ended {
            self.queue(BodyPart::Data(bytes::Bytes::copy_from_slice(body)));
            ServerStream::queue_end(self);
        }
    }

    fn upgrade(&mut self) -> Option<(&mut dyn Bytestream, BytesMut)> {
        None
    }
}

/// The leg towards an endpoint.
pub enum Upstream {
    /// A connection of its own.
    Http1(Box<Connection<Stream>>),
    /// A stream of a shared one.
    Http2(Box<ClientStream>),
}

impl Upstream {
    /// Queues the head of a request.
    ///
    /// # Errors
    /// HTTP/2 cannot carry it.
    pub fn queue_request(
        &mut self,
        head: &RequestHead,
        changes: &RequestChanges<'_>,
    ) -> Result<(), http::Error> {
        match self {
            Self::Http1(connection) => {
                filter::write_request(head, changes, connection.queue_tail());
            }
            Self::Http2(stream) => {
                let ended = matches!(changes.framing, Framing::Empty | Framing::Length(0));
                stream.queue_request(http2::request(head, changes)?, ended);
            }
        }
        Ok(())
    }

    /// The next head of the response to `method`; after a 1xx, call it again.
    pub fn poll_response(
        &mut self,
        method: &str,
        task: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, ResponseFault>> {
        match self {
            Self::Http1(connection) => pin!(connection.read_response(method)).poll(task),
            Self::Http2(stream) => stream.poll_response(method, task),
        }
    }

    /// What the leg speaks.
    pub fn version(&self) -> Version {
        match self {
            Self::Http1(_) => Version::Http11,
            Self::Http2(_) => Version::Http2,
        }
    }

    /// The bytes of the connection itself, where it can go on with another protocol.
    pub fn upgrade(&mut self) -> Option<(&mut Stream, BytesMut)> {
        match self {
            Self::Http1(connection) => {
                let read = connection.take_read();
                Some((connection.get_mut(), read))
            }
            Self::Http2(_) => None,
        }
    }

    /// Ends it as an error: the other end sees a reset.
    pub fn reset(self) {
        match self {
            Self::Http1(connection) => connection.into_inner().0.reset(),
            Self::Http2(stream) => drop(stream),
        }
    }
}

impl Leg for Upstream {
    fn poll_part(
        &mut self,
        body: &mut Body,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<BodyPart>, BodyFault>> {
        match self {
            Self::Http1(connection) => connection.poll_part(body, task),
            Self::Http2(stream) => stream.poll_part(task),
        }
    }

    fn queue_data(&mut self, part: BodyPart, framing: Framing) {
        match self {
            Self::Http1(connection) => connection.queue_data(part, framing),
            Self::Http2(stream) => stream.queue(part),
        }
    }

    fn queue_end(&mut self, framing: Framing) {
        match self {
            Self::Http1(connection) => connection.queue_end(framing),
            Self::Http2(stream) => stream.queue_end(),
        }
    }

    fn needs_flush(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.needs_flush(),
            Self::Http2(stream) => stream.is_full(),
        }
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1(connection) => Leg::poll_flush(&mut **connection, task),
            Self::Http2(stream) => stream.poll_flush(task),
        }
    }

    fn is_clean(&self) -> bool {
        match self {
            Self::Http1(connection) => Connection::is_clean(connection),
            Self::Http2(_) => true,
        }
    }
}
