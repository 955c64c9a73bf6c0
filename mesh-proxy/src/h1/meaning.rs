//! What the fields of a head say about its connection and its content.

use crate::h1::field::{Fields, Kind};
use crate::h1::head::Framing;
use crate::h1::line::{Span, Version};
use crate::h1::reject::Refusal;

/// Options that all Connection fields of a head may list.
const MAX_OPTIONS: usize = 32;

/// What the fields of either head say about its connection and its content.
#[derive(Clone, Debug)]
pub(super) struct Meaning {
    pub(super) framing: Framing,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) keep_alive: bool,
    pub(super) trailers: bool,
    upgrade: Option<Span>,
}

impl Meaning {
    pub(super) fn read(
        head: &[u8],
        fields: &mut Fields,
        version: Version,
    ) -> Result<Self, Refusal> {
        let mut meaning = Self {
            framing: Framing::Empty,
            length: None,
            chunked: false,
            keep_alive: version != Version::Http10,
            trailers: false,
            upgrade: None,
        };
        let mut authorised = false;
        for field in fields.iter() {
            let value = field.value.of(head);
            match field.kind {
                Kind::ContentLength => meaning.take_length(value)?,
                Kind::TransferEncoding => meaning.take_encoding(value, version)?,
                Kind::Te => {
                    meaning.trailers |= tokens(value).any(|t| t.eq_ignore_ascii_case(b"trailers"));
                }
                Kind::Authorization if std::mem::replace(&mut authorised, true) => {
                    return Err(Refusal::SeveralCredentials);
                }
                Kind::Upgrade => meaning.upgrade = Some(field.value),
                _ => {}
            }
        }
        meaning.take_options(head, fields)?;
        Ok(meaning)
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::SeveralLengths);
        }
        if value.is_empty() {
            return Err(Refusal::BadLength);
        }
        let length = value.iter().try_fold(0_u64, |sum, byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            sum.checked_mul(10)?
                .checked_add(digit)
                .filter(|sum| *sum <= i64::MAX.unsigned_abs())
        });
        self.length = Some(length.ok_or(Refusal::BadLength)?);
        Ok(())
    }

    fn take_encoding(&mut self, value: &[u8], version: Version) -> Result<(), Refusal> {
        if version == Version::Http10 {
            return Err(Refusal::EncodingInOld);
        }
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::BadEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    /// Connection: whether it stays open, and which fields are for this connection alone.
    fn take_options(&mut self, head: &[u8], fields: &mut Fields) -> Result<(), Refusal> {
        let (mut close, mut keep, mut upgrade, mut options) = (false, false, false, 0);
        for at in 0..fields.as_slice().len() {
            let Some(field) = fields
                .as_slice()
                .get(at)
                .filter(|f| f.kind == Kind::Connection)
            else {
                continue;
            };
            for option in tokens(field.value.of(head)) {
                options += 1;
                if options > MAX_OPTIONS {
                    return Err(Refusal::ManyOptions);
                }
                match option.to_ascii_lowercase_in(&mut [0; 16]) {
                    b"close" => close = true,
                    b"keep-alive" => keep = true,
                    b"upgrade" => upgrade = true,
                    _ if is_protected(option) => return Err(Refusal::ProtectedOption),
                    _ => fields.mark_option(head, option),
                }
            }
        }
        self.keep_alive = !close && (self.keep_alive || keep);
        self.upgrade = self.upgrade.filter(|_| upgrade);
        Ok(())
    }

    pub(super) fn upgrade<'a>(&self, head: &'a [u8]) -> Option<&'a [u8]> {
        let value = self.upgrade?.of(head);
        let refused = value.is_empty() || tokens(value).any(|t| t.eq_ignore_ascii_case(b"h2c"));
        (!refused).then_some(value)
    }
}

/// Lower case without a heap: longer names are returned as they are.
trait LowerCase {
    fn to_ascii_lowercase_in<'a>(&'a self, room: &'a mut [u8; 16]) -> &'a [u8];
}

impl LowerCase for [u8] {
    fn to_ascii_lowercase_in<'a>(&'a self, room: &'a mut [u8; 16]) -> &'a [u8] {
        match room.get_mut(..self.len()) {
            Some(lower) => {
                lower.copy_from_slice(self);
                lower.make_ascii_lowercase();
                lower
            }
            None => self,
        }
    }
}

/// Fields that decide who asks for what: dropping them would change the request's meaning.
fn is_protected(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 7] = [
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"authorization",
        b"cookie",
        b"set-cookie",
        b"forwarded",
    ];
    let starts = |prefix: &[u8]| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
        || starts(b"x-forwarded-")
        || starts(b"mesh-")
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}
