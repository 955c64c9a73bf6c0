//! The fields of a head, as offsets into its bytes, each with what the codec must do about it.

use std::cell::RefCell;

use httparse::{EMPTY_HEADER, Status};

use crate::h1::line::Span;
use crate::h1::reject::Refusal;
use crate::h1::scan::MAX_FIELDS;

/// Heads whose tables of fields a worker keeps for reuse.
const KEPT: usize = 64;
/// Fields that most heads do not exceed.
const FEW: usize = 16;

thread_local! {
    static TABLES: RefCell<Vec<Vec<Field>>> = const { RefCell::new(Vec::new()) };
}

/// What a field means to the codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: it is forwarded.
    Other,
    Authorization,
    Expect,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    KeepAlive,
    ProxyConnection,
    Te,
    Upgrade,
    Http2Settings,
    /// `Connection` names it.
    Option,
}

impl Kind {
    /// True for what is never forwarded, but written anew where needed.
    pub(crate) fn is_own(self) -> bool {
        !matches!(self, Self::Other | Self::Authorization | Self::Expect)
    }

    /// The kind of a field named `name`, in any case.
    pub(crate) fn of(name: &[u8]) -> Self {
        let known: &[(&[u8], Self)] = match name.len() {
            2 => &[(b"te", Self::Te)],
            4 => &[(b"host", Self::Host)],
            6 => &[(b"expect", Self::Expect)],
            7 => &[(b"upgrade", Self::Upgrade)],
            10 => &[
                (b"connection", Self::Connection),
                (b"keep-alive", Self::KeepAlive),
            ],
            13 => &[(b"authorization", Self::Authorization)],
            14 => &[
                (b"content-length", Self::ContentLength),
                (b"http2-settings", Self::Http2Settings),
            ],
            16 => &[(b"proxy-connection", Self::ProxyConnection)],
            17 => &[(b"transfer-encoding", Self::TransferEncoding)],
            _ => &[],
        };
        let same = known
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known));
        same.map_or(Self::Other, |(_, kind)| *kind)
    }
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) kind: Kind,
    /// True if its line is `name: value` and CRLF, byte for byte.
    pub(crate) canonical: bool,
}

/// The fields of a head, in order.
#[derive(Debug)]
pub(crate) struct Fields(Vec<Field>);

impl Fields {
    /// No fields yet, in a table of the worker's.
    pub(crate) fn none() -> Self {
        Self(
            TABLES
                .try_with(|tables| tables.borrow_mut().pop())
                .ok()
                .flatten()
                .unwrap_or_default(),
        )
    }

    /// Adds a field that lies in `head` as a canonical line.
    pub(crate) fn push(&mut self, head: &[u8], name: Span, value: Span) -> Result<(), Refusal> {
        let legal = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        if !value.of(head).iter().all(legal) {
            return Err(Refusal::BadFieldValue);
        }
        self.0.push(field(head, name, value));
        Ok(())
    }

    /// Reads the field lines of `head`, `count` of them, from `start` to its empty line.
    pub(crate) fn read(head: &[u8], start: usize, count: usize) -> Result<Self, Refusal> {
        let lines = head.get(start..).unwrap_or_default();
        // A table is written whole before it is used: most heads need a small one.
        if count <= FEW {
            Self::parse(head, lines, &mut [EMPTY_HEADER; FEW])
        } else {
            Self::parse(head, lines, &mut [EMPTY_HEADER; MAX_FIELDS])
        }
    }

    fn parse<'h>(
        head: &'h [u8],
        lines: &'h [u8],
        table: &mut [httparse::Header<'h>],
    ) -> Result<Self, Refusal> {
        let parsed = match httparse::parse_headers(lines, table) {
            Ok(Status::Complete((_, parsed))) => parsed,
            Err(httparse::Error::HeaderValue) => return Err(Refusal::BadFieldValue),
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyFields),
            Err(httparse::Error::NewLine) => return Err(Refusal::BareCr),
            Ok(Status::Partial) | Err(_) => return Err(Refusal::BadFieldName),
        };
        let mut fields = Self::none();
        fields.0.extend(parsed.iter().map(|header| {
            let name = offset(head, header.name.as_bytes());
            let value = offset(head, header.value.trim_ascii());
            field(head, name, value)
        }));
        Ok(fields)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Field> {
        self.0.iter()
    }

    pub(crate) fn as_slice(&self) -> &[Field] {
        &self.0
    }

    /// Marks the fields named `name` as belonging to this connection alone.
    pub(crate) fn mark_option(&mut self, head: &[u8], name: &[u8]) {
        for field in &mut self.0 {
            if !field.kind.is_own() && field.name.of(head).eq_ignore_ascii_case(name) {
                field.kind = Kind::Option;
            }
        }
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        let mut table = std::mem::take(&mut self.0);
        table.clear();
        // The thread is ending if this fails, and the table is freed.
        let _ended = TABLES.try_with(|tables| {
            let mut tables = tables.borrow_mut();
            if tables.len() < KEPT {
                tables.push(table);
            }
        });
    }
}

fn field(head: &[u8], name: Span, value: Span) -> Field {
    let byte = |at: u32| head.get(at as usize).copied();
    let canonical = value.start == name.end + 2
        && byte(name.end + 1) == Some(b' ')
        && byte(value.end) == Some(b'\r');
    Field {
        name,
        value,
        kind: Kind::of(name.of(head)),
        canonical,
    }
}

/// Where `part`, a slice of `head`, lies in it; an empty one outside lies at its start.
fn offset(head: &[u8], part: &[u8]) -> Span {
    let start = (part.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
    match start
        .checked_add(part.len())
        .filter(|end| *end <= head.len())
    {
        Some(end) => Span::new(start..end),
        None => Span::default(),
    }
}
