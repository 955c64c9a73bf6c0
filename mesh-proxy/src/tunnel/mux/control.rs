//! Frames about the connection as a whole: settings, signs of life, goodbyes, windows (RFC 9113
//! sections 6.5 and 6.7 to 6.9).

use super::fault::{Fault, Result, broken, number};
use super::frame::{self, Code, HEADER, Header, MOST, flag, kind, setting};
use super::state::{Leaving, Role, SHUTDOWN, State};
use super::stream::Reset;

impl State {
    pub(super) fn on_settings(&mut self, header: Header, payload: &[u8]) -> Result {
        if header.stream != 0 {
            return broken(Code::PROTOCOL, "settings of a stream");
        }
        if header.has(flag::ACK) {
            return if payload.is_empty() {
                Ok(())
            } else {
                broken(Code::FRAME_SIZE, "an answer to settings with settings")
            };
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return broken(Code::FRAME_SIZE, "settings cut off");
        }
        let mut window = self.initial_window;
        for entry in settings {
            let (Some(id), Some(value)) = (entry.first_chunk(), entry.last_chunk()) else {
                continue;
            };
            match (u16::from_be_bytes(*id), u32::from_be_bytes(*value)) {
                (setting::INITIAL_WINDOW, value) if value > MOST => {
                    return broken(Code::FLOW_CONTROL, "a window beyond the largest");
                }
                // All streams are resized once, however often it is said.
                (setting::INITIAL_WINDOW, value) => window = value,
                (id, value) => self.on_setting(id, value)?,
            }
        }
        self.resize(window)?;
        self.has_settings = true;
        frame::put(self.queue(HEADER).0, 0, kind::SETTINGS, flag::ACK, 0);
        Ok(())
    }

    fn on_setting(&mut self, id: u16, value: u32) -> Result {
        match id {
            setting::ENABLE_PUSH if value > 1 || (value == 1 && self.role == Role::Caller) => {
                broken(Code::PROTOCOL, "a wrong setting of pushes")
            }
            setting::MAX_STREAMS => {
                self.limit_streams(value);
                Ok(())
            }
            setting::MAX_FRAME if !(16_384..1 << 24).contains(&value) => {
                broken(Code::PROTOCOL, "a wrong longest frame")
            }
            setting::MAX_FRAME => {
                self.max_frame = value as usize;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A new initial window changes that of every stream by the difference.
    fn resize(&mut self, window: u32) -> Result {
        let more = i64::from(window) - i64::from(self.initial_window);
        if more == 0 {
            return Ok(());
        }
        self.initial_window = window;
        for stream in self.streams.iter_mut() {
            stream.send_window += more;
            if stream.send_window > i64::from(MOST) {
                return broken(Code::FLOW_CONTROL, "a window beyond the largest");
            }
            stream.wake_writer();
        }
        Ok(())
    }

    pub(super) fn on_ping(&mut self, header: Header, payload: &[u8]) -> Result {
        if header.stream != 0 {
            return broken(Code::PROTOCOL, "a ping of a stream");
        }
        let Ok(payload) = <[u8; 8]>::try_from(payload) else {
            return broken(Code::FRAME_SIZE, "a ping of a wrong size");
        };
        if !header.has(flag::ACK) {
            frame::ping(self.queue(32).0, flag::ACK, payload);
        } else if payload == SHUTDOWN && self.leaving == Leaving::Announced {
            self.goodbye(Code::NONE);
        }
        Ok(())
    }

    pub(super) fn on_goaway(&mut self, header: Header, payload: &[u8]) -> Result {
        if header.stream != 0 {
            return broken(Code::PROTOCOL, "a goodbye to a stream");
        }
        let (Some(last), Some(code)) = (
            payload.get(..4).and_then(number),
            payload.get(4..8).and_then(number),
        ) else {
            return broken(Code::FRAME_SIZE, "a goodbye cut off");
        };
        let (last, code) = (last & MOST, Code(code));
        self.gone = Some((last, code));
        if self.role == Role::Caller {
            for stream in self.streams.iter_mut().filter(|stream| stream.id > last) {
                stream.fail(Reset::Gone(code));
            }
        }
        self.wake_driver();
        Ok(())
    }

    pub(super) fn on_window(&mut self, header: Header, payload: &[u8]) -> Result {
        let Some(more) = number(payload).map(|more| more & MOST) else {
            return broken(Code::FRAME_SIZE, "a window of a wrong size");
        };
        let id = header.stream;
        if id == 0 {
            self.send_window += i64::from(more);
            if more == 0 {
                return broken(Code::PROTOCOL, "a window of nothing");
            }
            if self.send_window > i64::from(MOST) {
                return broken(Code::FLOW_CONTROL, "a window beyond the largest");
            }
            self.wake_waiting();
            return Ok(());
        }
        if self.is_idle(id) {
            return broken(Code::PROTOCOL, "a window of no stream");
        }
        let Some(stream) = self.stream(id) else {
            return Ok(());
        };
        stream.send_window += i64::from(more);
        if more == 0 {
            return Err(Fault::Stream(id, Code::PROTOCOL));
        }
        if stream.send_window > i64::from(MOST) {
            return Err(Fault::Stream(id, Code::FLOW_CONTROL));
        }
        stream.wake_writer();
        Ok(())
    }
}
