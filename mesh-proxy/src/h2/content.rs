//! Content of one stream: taken from the peer as it comes, and sent as far as its window allows.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::HeaderMap;

use super::{broken, head};
use crate::h1::{BodyPart, Fault};

/// Bytes that may be queued before they must be sent.
const FULL: usize = 64 * 1024;
/// Parts up to here are joined with what is queued.
const COPIED: usize = 2 * 1024;

/// What the peer sends.
pub(super) struct Incoming {
    receive: RecvStream,
    state: State,
}

enum State {
    Data,
    Trailers,
    Ended,
}

impl Incoming {
    pub(super) fn new(receive: RecvStream) -> Self {
        Self {
            receive,
            state: State::Data,
        }
    }

    /// Whether the peer's end came.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended) || self.receive.is_end_stream()
    }

    /// The next part; `None` at the end. What was taken, the peer may send again: the caller takes
    /// no more than the other side takes from it.
    pub(super) fn poll_part(
        &mut self,
        task: &mut Context<'_>,
    ) -> Poll<Result<Option<BodyPart>, Fault>> {
        loop {
            match self.state {
                State::Ended => return Poll::Ready(Ok(None)),
                State::Data => match ready!(self.receive.poll_data(task)) {
                    None => self.state = State::Trailers,
                    Some(Ok(data)) if data.is_empty() => {}
                    Some(Ok(data)) => {
                        let flow = self.receive.flow_control();
                        flow.release_capacity(data.len()).map_err(broken)?;
                        return Poll::Ready(Ok(Some(BodyPart::Data(data))));
                    }
                    Some(Err(error)) => return Poll::Ready(Err(broken(error).into())),
                },
                State::Trailers => {
                    let trailers = ready!(self.receive.poll_trailers(task));
                    self.state = State::Ended;
                    let trailers = trailers.map_err(broken)?;
                    let lines = trailers.map(|map| head::trailer_lines(&map));
                    let part = lines.filter(|lines| !lines.is_empty());
                    return Poll::Ready(Ok(part.map(BodyPart::Trailers)));
                }
            }
        }
    }
}

/// What is queued for the peer.
#[derive(Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Bytes>,
    /// Small parts, joined: a part of a byte must not cost a frame and a place in the queue.
    tail: BytesMut,
    queued: usize,
    end: Option<End>,
    /// True once the end was queued: nothing may follow.
    closed: bool,
}

enum End {
    Plain,
    Trailers(HeaderMap),
}

impl Outgoing {
    pub(super) fn is_full(&self) -> bool {
        self.queued >= FULL
    }

    pub(super) fn queue(&mut self, part: BodyPart) {
        match part {
            _ if self.closed => {}
            BodyPart::Data(data) => {
                self.queued += data.len();
                if data.len() <= COPIED && self.queued > data.len() {
                    self.tail.extend_from_slice(&data);
                } else {
                    self.join();
                    self.pieces.push_back(data);
                }
            }
            BodyPart::Trailers(lines) => {
                self.closed = true;
                let trailers = head::trailer_map(&lines);
                self.end = Some(if trailers.is_empty() {
                    End::Plain
                } else {
                    End::Trailers(trailers)
                });
            }
        }
    }

    /// What was joined is a piece from now on.
    fn join(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    pub(super) fn queue_end(&mut self) {
        if !std::mem::replace(&mut self.closed, true) {
            self.end = Some(End::Plain);
        }
    }

    /// True once the end was queued.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// The head itself ended the stream.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Hands what is queued to the connection's task, as far as the window allows.
    pub(super) fn poll_flush(
        &mut self,
        send: &mut SendStream<Bytes>,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.join();
        while let Some(piece) = self.pieces.front_mut() {
            send.reserve_capacity(piece.len());
            while send.capacity() == 0 {
                match ready!(send.poll_capacity(task)) {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(broken(error))),
                    None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                }
            }
            let part = piece.split_to(piece.len().min(send.capacity()));
            self.queued -= part.len();
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            // The last bytes and the end travel in one frame.
            let last = self.pieces.is_empty() && matches!(self.end, Some(End::Plain));
            if last {
                self.end = None;
            }
            send.send_data(part, last).map_err(broken)?;
        }
        let sent = match self.end.take() {
            None => Ok(()),
            Some(End::Plain) => send.send_data(Bytes::new(), true),
            Some(End::Trailers(trailers)) => send.send_trailers(trailers),
        };
        Poll::Ready(sent.map_err(broken))
    }
}
