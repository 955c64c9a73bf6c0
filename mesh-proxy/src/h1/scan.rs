//! Reads a head or trailers line by line, wherever the reads split them.
//!
//! Faults are found in the order of the bytes, so a split never changes which one is reported.

use memchr::memchr3;

use crate::h1::field::Fields;
use crate::h1::line::{self, RequestLine, StatusLine};
use crate::h1::reject::Refusal;

/// Bytes a head may have.
pub const MAX_HEAD: usize = 64 * 1024;
/// Fields a head may have.
pub const MAX_FIELDS: usize = 100;
/// Bytes the trailers may have.
pub const MAX_TRAILERS: usize = 16 * 1024;
/// Fields the trailers may have.
const MAX_TRAILER_FIELDS: usize = 64;

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Request,
    Response,
    Trailers,
}

/// The first line of a head.
#[derive(Clone, Copy, Debug)]
pub(super) enum StartLine {
    Request(RequestLine),
    Status(StatusLine),
}

/// How far a section has been looked at.
#[derive(Debug)]
pub(super) struct Scan {
    section: Section,
    at: usize,
    line: usize,
    fields: Fields,
    start: Option<StartLine>,
}

/// A complete section: its length with the empty line, and what is in it.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) len: usize,
    pub(super) start: Option<StartLine>,
    pub(super) fields: Fields,
}

impl Scan {
    pub(super) fn new(section: Section) -> Self {
        Self {
            section,
            at: 0,
            line: 0,
            fields: Fields::none(),
            start: None,
        }
    }

    /// Looks on from where it stopped; `None` if the section goes on beyond `bytes`.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Option<Complete>, Refusal> {
        loop {
            let found = bytes
                .get(self.at..)
                .and_then(|rest| memchr3(b'\r', b'\n', 0, rest));
            let end = found.map_or(bytes.len(), |offset| self.at + offset);
            let line = bytes.get(self.line..end).unwrap_or_default();
            self.check_length(line, end + usize::from(found.is_some()))?;
            if found.is_none() {
                self.at = end;
                return Ok(None);
            }
            match (bytes.get(end), bytes.get(end + 1)) {
                (Some(b'\n'), _) => return Err(Refusal::BareLf),
                (Some(b'\r'), None) => {
                    self.at = end;
                    return Ok(None);
                }
                (Some(b'\r'), Some(b'\n')) => {}
                (Some(b'\r'), Some(_)) => return Err(Refusal::BareCr),
                _ => return Err(self.in_trailers(Refusal::Nul)),
            }
            self.at = end + 2;
            let first = std::mem::replace(&mut self.line, end + 2);
            if line.is_empty() && !self.expects_start() {
                return Ok(Some(Complete {
                    len: end + 2,
                    start: self.start,
                    fields: std::mem::replace(&mut self.fields, Fields::none()),
                }));
            }
            debug_assert!(first <= end, "a line starts before it ends");
            self.take_line(line, first)?;
        }
    }

    fn expects_start(&self) -> bool {
        self.section != Section::Trailers && self.start.is_none()
    }

    fn check_length(&self, line: &[u8], end: usize) -> Result<(), Refusal> {
        if self.section == Section::Request && self.expects_start() {
            line::check_start(line)?;
        }
        match self.section {
            Section::Trailers if end > MAX_TRAILERS => Err(Refusal::TrailersTooLarge),
            Section::Request | Section::Response if end > MAX_HEAD => Err(Refusal::HeadTooLarge),
            _ => Ok(()),
        }
    }

    fn take_line(&mut self, line: &[u8], at: usize) -> Result<(), Refusal> {
        if self.expects_start() {
            self.start = Some(match self.section {
                Section::Request => StartLine::Request(line::request_line(line)?),
                _ => StartLine::Status(line::status_line(line)?),
            });
            return Ok(());
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(self.in_trailers(Refusal::Fold));
        }
        match self.section {
            Section::Trailers if self.fields.len() >= MAX_TRAILER_FIELDS => {
                return Err(Refusal::TrailersTooLarge);
            }
            Section::Request | Section::Response if self.fields.len() >= MAX_FIELDS => {
                return Err(Refusal::TooManyFields);
            }
            _ => {}
        }
        let pushed = self.fields.push_line(line, at);
        pushed.map_err(|refusal| self.in_trailers(refusal))
    }

    fn in_trailers(&self, refusal: Refusal) -> Refusal {
        match self.section {
            Section::Trailers => Refusal::BadTrailer,
            Section::Request | Section::Response => refusal,
        }
    }
}
