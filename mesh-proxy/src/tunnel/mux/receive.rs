//! What a peer sends, frame by frame, and which error each breach is (RFC 9113 sections 4 to 6).

use bytes::{BufMut, BytesMut};

use super::fault::{Fault, Result, broken, number};
use super::frame::{self, Code, HEADER, Header, MOST, PREFACE, flag, kind};
use super::head::Head;
use super::state::{ACCEPTED, Block, Leaving, Role, State};
use super::stream::{Reset, Stream};
use crate::h2::{FRAME_SIZE, HEADER_LIST};

impl State {
    /// Takes the whole frames at the start of `bytes`; says how many bytes they were.
    ///
    /// # Errors
    /// The connection is over; GOAWAY is queued.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> std::result::Result<usize, &'static str> {
        let mut taken = 0;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            match self.next_frame(rest) {
                Ok(0) => return Ok(taken),
                Ok(count) => taken += count,
                Err((count, Fault::Stream(id, code))) => {
                    taken += count;
                    self.breach(id, code)?;
                }
                Err((_, Fault::Connection(code, why))) => {
                    self.goodbye(code);
                    return Err(why);
                }
            }
        }
    }

    /// A peer that broke the rules of one stream pays for it.
    fn breach(&mut self, id: u32, code: Code) -> std::result::Result<(), &'static str> {
        if self.stream(id).is_some_and(|stream| !stream.is_open()) {
            // It was sent before the peer knew.
            return Ok(());
        }
        self.reset(id, code);
        if self.credit.charge() {
            return Ok(());
        }
        self.goodbye(Code::CALM);
        Err("the peer breaks the rules of stream after stream")
    }

    fn next_frame(&mut self, bytes: &[u8]) -> std::result::Result<usize, (usize, Fault)> {
        if !self.has_preface {
            return self.preface(bytes).map_err(|fault| (0, fault));
        }
        let Some(header) = Header::read(bytes) else {
            return Ok(0);
        };
        let size = HEADER + header.length;
        if header.length > FRAME_SIZE as usize {
            let fault = Fault::Connection(Code::FRAME_SIZE, "a frame longer than allowed");
            return Err((0, fault));
        }
        let Some(payload) = bytes.get(HEADER..size) else {
            return Ok(0);
        };
        self.frame(header, payload).map_err(|fault| (size, fault))?;
        Ok(size)
    }

    fn preface(&mut self, bytes: &[u8]) -> Result<usize> {
        let count = bytes.len().min(PREFACE.len());
        if bytes[..count] != PREFACE[..count] {
            return broken(Code::PROTOCOL, "no HTTP/2");
        }
        self.has_preface = count == PREFACE.len();
        Ok(if self.has_preface { count } else { 0 })
    }

    fn frame(&mut self, header: Header, payload: &[u8]) -> Result {
        if !self
            .credit
            .received(header.kind, header.length, header.flags)
        {
            return broken(Code::CALM, "the peer sends frames that do no work");
        }
        if !self.has_settings && (header.kind != kind::SETTINGS || header.has(flag::ACK)) {
            return broken(Code::PROTOCOL, "no settings first");
        }
        if self.block.is_some() && header.kind != kind::CONTINUATION {
            return broken(Code::PROTOCOL, "a head cut off");
        }
        self.is_answered = true;
        match header.kind {
            kind::DATA => self.on_data(header, payload),
            kind::HEADERS => self.on_headers(header, payload),
            kind::PRIORITY => on_priority(header, payload),
            kind::RST_STREAM => self.on_reset(header, payload),
            kind::SETTINGS => self.on_settings(header, payload),
            kind::PUSH_PROMISE => broken(Code::PROTOCOL, "a push"),
            kind::PING => self.on_ping(header, payload),
            kind::GOAWAY => self.on_goaway(header, payload),
            kind::WINDOW_UPDATE => self.on_window(header, payload),
            kind::CONTINUATION => self.on_continuation(header, payload),
            // What is not known is to be ignored.
            _ => Ok(()),
        }
    }

    /// A frame of a stream that is over. Of those reset here only so many are remembered.
    fn late(&self, id: u32) -> Result {
        if self.was_reset(id) {
            Ok(())
        } else {
            Err(Fault::Stream(id, Code::STREAM_CLOSED))
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most the longest frame")]
    fn on_data(&mut self, header: Header, payload: &[u8]) -> Result {
        let id = header.stream;
        let data = unpad(header, payload)?;
        if self.is_idle(id) {
            return broken(Code::PROTOCOL, "data of no stream");
        }
        let Some(room) = self.room.checked_sub(payload.len() as u32) else {
            return broken(Code::FLOW_CONTROL, "more data than the connection's window");
        };
        self.room = room;
        if data.is_empty() && !payload.is_empty() && !self.credit.charge() {
            return broken(Code::CALM, "data of nothing but padding");
        }
        if self.stream(id).is_none() {
            self.release(payload.len());
            return self.late(id);
        }
        let taken = self.take_data(id, payload.len() as u32, data, header.has(flag::END_STREAM));
        // What is not kept is read already.
        let kept = if taken.is_ok() { data.len() } else { 0 };
        self.release(payload.len() - kept);
        taken
    }

    fn take_data(&mut self, id: u32, size: u32, data: &[u8], ends: bool) -> Result {
        let Some(stream) = self.stream(id) else {
            return Ok(());
        };
        if stream.remote_ended {
            return Err(Fault::Stream(id, Code::STREAM_CLOSED));
        }
        if !stream.has_head {
            return Err(Fault::Stream(id, Code::PROTOCOL));
        }
        let Some(room) = stream.room.checked_sub(size) else {
            return Err(Fault::Stream(id, Code::FLOW_CONTROL));
        };
        stream.room = room;
        if stream.reset.is_some() {
            return Err(Fault::Stream(id, Code::STREAM_CLOSED));
        }
        stream.unread.push(data);
        stream.remote_ended = ends;
        if ends || !data.is_empty() {
            stream.wake_reader();
        }
        let padding = size as usize - data.len();
        if let Some(more) = stream.release(padding) {
            frame::number(self.queue(16).0, kind::WINDOW_UPDATE, id, more);
        }
        Ok(())
    }

    fn on_headers(&mut self, header: Header, payload: &[u8]) -> Result {
        if header.stream == 0 {
            return broken(Code::PROTOCOL, "a head of no stream");
        }
        let mut block = unpad(header, payload)?;
        if header.has(flag::PRIORITY) {
            let Some((priority, rest)) = block.split_at_checked(5) else {
                return broken(Code::FRAME_SIZE, "a head without its priority");
            };
            if depends_on(priority) == header.stream {
                return broken(Code::PROTOCOL, "a stream that depends on itself");
            }
            block = rest;
        }
        let ends = header.has(flag::END_STREAM);
        if header.has(flag::END_HEADERS) {
            return self.on_block(header.stream, ends, block);
        }
        self.block = Some(Block {
            stream: header.stream,
            ends,
            bytes: BytesMut::from(block),
        });
        Ok(())
    }

    fn on_continuation(&mut self, header: Header, payload: &[u8]) -> Result {
        let begun = self
            .block
            .take()
            .filter(|block| block.stream == header.stream);
        let Some(mut block) = begun else {
            return broken(Code::PROTOCOL, "the rest of no head");
        };
        if block.bytes.len() + payload.len() > HEADER_LIST as usize {
            return broken(Code::CALM, "a head longer than allowed");
        }
        block.bytes.put_slice(payload);
        if header.has(flag::END_HEADERS) {
            return self.on_block(block.stream, block.ends, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    fn on_block(&mut self, id: u32, ends: bool, block: &[u8]) -> Result {
        let mut head = Head::default();
        let decoded = self
            .decoder
            .decode(block, |name, value| head.field(name, value));
        if decoded.is_err() {
            return broken(Code::COMPRESSION, "a head that cannot be decoded");
        }
        let role = self.role;
        if let Some(stream) = self.stream(id) {
            return if stream.has_head {
                trailers(stream, &head, ends)
            } else {
                answer(stream, head, ends)
            };
        }
        match role {
            Role::Receiver if id.is_multiple_of(2) => broken(Code::PROTOCOL, "an even stream"),
            Role::Receiver if id > self.highest => self.on_request(id, head, ends),
            Role::Caller if self.is_idle(id) => broken(Code::PROTOCOL, "an answer to nothing"),
            Role::Receiver if !self.was_reset(id) => {
                broken(Code::STREAM_CLOSED, "a head of a stream that is over")
            }
            _ => self.late(id),
        }
    }

    fn on_request(&mut self, id: u32, head: Head, ends: bool) -> Result {
        if self.leaving == Leaving::Now {
            // GOAWAY says that it is not processed.
            return Ok(());
        }
        self.highest = id;
        if self.open() >= ACCEPTED || self.streams.len() >= 2 * ACCEPTED {
            return Err(Fault::Stream(id, Code::REFUSED));
        }
        if !head.is_request() {
            return Err(Fault::Stream(id, Code::PROTOCOL));
        }
        let mut stream = Stream::new(id, self.initial_window, false);
        stream.begin(head, ends);
        self.streams.push(stream);
        self.accepted.push_back(id);
        Ok(())
    }

    fn on_reset(&mut self, header: Header, payload: &[u8]) -> Result {
        let Some(code) = number(payload) else {
            return broken(Code::FRAME_SIZE, "a reset of a wrong size");
        };
        if header.stream == 0 || self.is_idle(header.stream) {
            return broken(Code::PROTOCOL, "a reset of no stream");
        }
        let Some(stream) = self.stream(header.stream) else {
            return Ok(());
        };
        stream.fail(Reset::Peer(Code(code)));
        if !stream.is_held {
            // Asked for and taken back before anyone looked: only this costs the peer.
            self.forget(header.stream);
            if !self.credit.charge() {
                return broken(Code::CALM, "streams taken back at once");
            }
        }
        Ok(())
    }
}

/// The answer to a stream that was opened here.
fn answer(stream: &mut Stream, head: Head, ends: bool) -> Result {
    let is_interim = head.status.is_some_and(|status| status < 200);
    if !head.is_response() || (is_interim && ends) {
        return Err(Fault::Stream(stream.id, Code::PROTOCOL));
    }
    if !is_interim {
        stream.begin(head, ends);
    }
    Ok(())
}

/// A second head may only end a stream.
fn trailers(stream: &mut Stream, head: &Head, ends: bool) -> Result {
    if stream.remote_ended {
        return Err(Fault::Stream(stream.id, Code::STREAM_CLOSED));
    }
    if !ends || !head.is_trailers() {
        return Err(Fault::Stream(stream.id, Code::PROTOCOL));
    }
    stream.remote_ended = true;
    stream.wake_reader();
    Ok(())
}

fn on_priority(header: Header, payload: &[u8]) -> Result {
    if header.stream == 0 {
        return broken(Code::PROTOCOL, "a priority of no stream");
    }
    if payload.len() != 5 {
        return broken(Code::FRAME_SIZE, "a priority of a wrong size");
    }
    if depends_on(payload) == header.stream {
        return broken(Code::PROTOCOL, "a stream that depends on itself");
    }
    Ok(())
}

fn depends_on(priority: &[u8]) -> u32 {
    priority.get(..4).and_then(number).unwrap_or(0) & MOST
}

/// A payload without its padding.
fn unpad(header: Header, payload: &[u8]) -> Result<&[u8]> {
    if !header.has(flag::PADDED) {
        return Ok(payload);
    }
    let unpadded = payload.split_first().and_then(|(padding, rest)| {
        let length = rest.len().checked_sub(usize::from(*padding))?;
        rest.get(..length)
    });
    unpadded.ok_or(Fault::Connection(
        Code::PROTOCOL,
        "padding beyond its frame",
    ))
}
