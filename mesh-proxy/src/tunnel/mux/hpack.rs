//! Header compression (RFC 7541): a whole decoder, and an encoder that keeps no state.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};

use super::huffman;

/// Bytes of the dynamic table that a peer may fill: the default, which is not announced.
const TABLE: usize = 4096;
/// What each entry of a table or a list counts beside its text.
pub(super) const OVERHEAD: usize = 32;
/// Longest text of a name or a value, decoded.
const LONGEST: usize = 64 * 1024;

/// The static table (RFC 7541 appendix A).
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// A block that cannot be decoded: the connection has lost its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Decodes the blocks of one connection, in order.
pub(super) struct Decoder {
    entries: VecDeque<(Vec<u8>, Vec<u8>)>,
    size: usize,
    limit: usize,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit: TABLE,
        }
    }

    /// Shows each field of a whole block.
    pub(super) fn decode(
        &mut self,
        mut block: &[u8],
        mut visit: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let mut is_first = true;
        while let Some(&first) = block.first() {
            match first {
                0x80.. => {
                    let index = integer(&mut block, 7)?;
                    let (name, value) = self.entry(index)?;
                    visit(name, value);
                }
                0x40.. => {
                    let (name, value) = self.literal(&mut block, 6)?;
                    visit(&name, &value);
                    let name = name.into_owned();
                    self.insert(name, value);
                }
                0x20.. => {
                    let limit = integer(&mut block, 5)?;
                    if !is_first || limit > TABLE {
                        return Err(Malformed);
                    }
                    self.limit = limit;
                    self.shrink(limit);
                    continue;
                }
                _ => {
                    let (name, value) = self.literal(&mut block, 4)?;
                    visit(&name, &value);
                }
            }
            is_first = false;
        }
        Ok(())
    }

    fn literal(
        &self,
        block: &mut &[u8],
        prefix: u32,
    ) -> Result<(Cow<'_, [u8]>, Vec<u8>), Malformed> {
        let name = match integer(block, prefix)? {
            0 => Cow::Owned(string(block)?),
            index => Cow::Borrowed(self.entry(index)?.0),
        };
        Ok((name, string(block)?))
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
        let index = index.checked_sub(1).ok_or(Malformed)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.entries.get(index - STATIC.len());
        entry
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
            .ok_or(Malformed)
    }

    fn insert(&mut self, name: Vec<u8>, value: Vec<u8>) {
        let size = name.len() + value.len() + OVERHEAD;
        self.shrink(self.limit.saturating_sub(size));
        // One that is larger than the table empties it, and is not kept.
        if size <= self.limit {
            self.size += size;
            self.entries.push_front((name, value));
        }
    }

    fn shrink(&mut self, limit: usize) {
        while self.size > limit {
            let Some((name, value)) = self.entries.pop_back() else {
                return;
            };
            self.size -= name.len() + value.len() + OVERHEAD;
        }
    }
}

fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let mask = (1_usize << prefix) - 1;
    let mut value = usize::from(byte(block)?) & mask;
    if value < mask {
        return Ok(value);
    }
    for shift in [0, 7, 14] {
        let next = usize::from(byte(block)?);
        value += (next & 0x7f) << shift;
        if next & 0x80 == 0 {
            return Ok(value);
        }
    }
    // Nothing that a peer may send is so large.
    Err(Malformed)
}

fn byte(block: &mut &[u8]) -> Result<u8, Malformed> {
    let (first, rest) = block.split_first().ok_or(Malformed)?;
    *block = rest;
    Ok(*first)
}

fn string(block: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or(Malformed)?;
    *block = rest;
    if !is_coded {
        return Ok(text.to_vec());
    }
    let mut decoded = Vec::with_capacity(length * 2);
    huffman::decode(text, &mut decoded).ok_or(Malformed)?;
    if decoded.len() > LONGEST {
        return Err(Malformed);
    }
    Ok(decoded)
}

/// Appends a field as a literal that no table keeps, its name from the static table where it is
/// there.
pub(super) fn encode(name: &str, value: &[u8], block: &mut BytesMut) {
    if let Some(index) = STATIC
        .iter()
        .position(|(known, text)| *known == name && text.as_bytes() == value)
    {
        put_integer(index + 1, 7, 0x80, block);
        return;
    }
    let known = STATIC.iter().position(|(known, _)| *known == name);
    put_integer(known.map_or(0, |index| index + 1), 4, 0, block);
    if known.is_none() {
        put_integer(name.len(), 7, 0, block);
        block.put_slice(name.as_bytes());
    }
    put_integer(value.len(), 7, 0, block);
    block.put_slice(value);
}

#[expect(clippy::cast_possible_truncation, reason = "each value fits its bits")]
fn put_integer(value: usize, prefix: u32, flags: u8, block: &mut BytesMut) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        block.put_u8(flags | value as u8);
        return;
    }
    block.put_u8(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        block.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.put_u8(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits
            .chunks(2)
            .map(|digits| pair(digits).unwrap())
            .collect()
    }

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<String, Malformed> {
        let mut all = String::new();
        decoder.decode(block, |name, value| {
            let text = [name, b"=", value, b";"].concat();
            all.push_str(std::str::from_utf8(&text).unwrap());
        })?;
        Ok(all)
    }

    /// RFC 7541 appendix C.4 and C.6: Huffman, the dynamic table, and its eviction.
    #[test]
    fn examples_of_the_standard() {
        let mut decoder = Decoder::new();
        for (block, expected) in [
            (
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                ":method=GET;:scheme=http;:path=/;:authority=www.example.com;",
            ),
            (
                "8286 84be 5886 a8eb 1064 9cbf",
                ":method=GET;:scheme=http;:path=/;:authority=www.example.com;cache-control=no-cache;",
            ),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                ":method=GET;:scheme=https;:path=/index.html;:authority=www.example.com;custom-key=custom-value;",
            ),
        ] {
            assert_eq!(fields(&mut decoder, &hex(block)).unwrap(), expected);
        }
        assert_eq!(decoder.size, 164);
        // Two size updates, down to one entry and up again.
        assert_eq!(
            fields(&mut decoder, &hex("3f18 3fe1 1fbe")).unwrap(),
            "custom-key=custom-value;"
        );
        assert_eq!((decoder.entries.len(), decoder.limit), (1, 4096));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for block in [
            "80",                   // index 0
            "be",                   // nothing in the dynamic table
            "ffff ffff ff0f",       // an index beyond all
            "3fe2 1f",              // a table larger than ours
            "82 20",                // a size update after a field
            "00",                   // cut off
            "00 0561",              // a string cut off
            "00 0161 8100",         // padding of zeros
            "00 0161 82 fcff",      // eight bits or more of padding
            "00 0161 84 ffff ffff", // the end of the string, coded
        ] {
            assert_eq!(
                fields(&mut Decoder::new(), &hex(block)),
                Err(Malformed),
                "{block}"
            );
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let long = "v".repeat(300);
        let mut block = BytesMut::new();
        for (name, value) in [
            (":status", "200"),
            (":status", "503"),
            ("mesh-error", &long),
        ] {
            encode(name, value.as_bytes(), &mut block);
        }
        let expected = format!(":status=200;:status=503;mesh-error={long};");
        assert_eq!(block[0], 0x88);
        assert_eq!(fields(&mut Decoder::new(), &block).unwrap(), expected);
    }
}
