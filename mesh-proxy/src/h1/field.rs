//! The fields of a head, as offsets into its bytes, each with what the codec must do about it.

use std::cell::RefCell;

use crate::h1::line::{Span, is_token};
use crate::h1::reject::Refusal;

/// Heads whose tables of fields a worker keeps for reuse.
const KEPT: usize = 64;

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
#[derive(Clone, Debug)]
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
        if !is_value(value.of(head)) {
            return Err(Refusal::BadFieldValue);
        }
        self.0.push(Field {
            name,
            value,
            kind: Kind::of(name.of(head)),
            canonical: true,
        });
        Ok(())
    }

    /// Adds the field of a line, without its end, that starts `at` bytes into its head (RFC 9112 section 5).
    pub(super) fn push_line(&mut self, line: &[u8], at: usize) -> Result<(), Refusal> {
        let end = line.iter().position(|byte| !is_token(*byte));
        let colon = end.filter(|end| *end > 0 && line.get(*end) == Some(&b':'));
        let (name, rest) = line.split_at(colon.ok_or(Refusal::BadFieldName)?);
        let rest = rest.get(1..).unwrap_or_default();
        if !is_value(rest) {
            return Err(Refusal::BadFieldValue);
        }
        let value = rest.trim_ascii_start();
        let before = rest.len() - value.len();
        let value = value.trim_ascii_end();
        let start = at + name.len() + 1 + before;
        self.0.push(Field {
            name: Span::new(at..at + name.len()),
            value: Span::new(start..start + value.len()),
            kind: Kind::of(name),
            canonical: rest.first() == Some(&b' ') && rest.len() == value.len() + 1,
        });
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
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

/// Visible characters, spaces and tabs, and bytes beyond ASCII (RFC 9110 section 5.5). Looks at all of
/// them, so that the compiler can take many at a time.
fn is_value(bytes: &[u8]) -> bool {
    let is_control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    !bytes
        .iter()
        .fold(false, |found, byte| found | is_control(*byte))
}

#[cfg(test)]
mod tests {
    use httparse::{EMPTY_HEADER, Status};
    use proptest::prelude::*;

    use super::*;

    /// Lines near what is legal, and some that are not.
    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let name = prop_oneof!["[!-~]{0,8}", "[a-zA-Z-]{1,12}", "[ a-z]{1,6}"];
        let value = prop_oneof![
            "[ \t]{0,2}[ -~\t]{0,40}[ \t]{0,2}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..24),
        ];
        (name, prop::bool::weighted(0.9), value).prop_map(|(name, colon, value)| {
            let colon: &[u8] = if colon { b":" } else { b"" };
            let mut line = [name.as_bytes(), colon, &value].concat();
            // Where lines end is the scan's to say.
            line.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
            line
        })
    }

    proptest! {
        #[test]
        fn lines_are_read_as_httparse_reads_them(line in lines()) {
            prop_assume!(!matches!(line.first(), None | Some(b' ' | b'\t')));
            let mut fields = Fields::none();
            let read = fields.push_line(&line, 0);
            let text = [&line[..], b"\r\n\r\n"].concat();
            let mut table = [EMPTY_HEADER; 2];
            match httparse::parse_headers(&text, &mut table) {
                Ok(Status::Complete((_, [header]))) => {
                    prop_assert_eq!(read, Ok(()));
                    let field = fields.as_slice()[0];
                    prop_assert_eq!(field.name.of(&line), header.name.as_bytes());
                    prop_assert_eq!(field.value.of(&line), header.value.trim_ascii());
                    let canonical = [header.name.as_bytes(), b": ", field.value.of(&line)].concat();
                    prop_assert_eq!(field.canonical, canonical == line);
                }
                Err(httparse::Error::HeaderValue) => {
                    prop_assert_eq!(read, Err(Refusal::BadFieldValue));
                }
                other => prop_assert_eq!(read, Err(Refusal::BadFieldName), "{:?}", other),
            }
        }
    }
}
