//! Numbered requests and their answers, as bytes of HTTP/1.1. Pure.
//!
//! `GET /SIZE/NUMBER` asks for SIZE bytes and gets NUMBER back in `x-number`. May use nothing of
//! this crate.

use anyhow::{Context, bail};

/// What a head of a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Bytes of the body.
    pub(crate) size: usize,
    /// To be told back.
    pub(crate) number: u64,
    /// No request follows on this connection.
    pub(crate) close: bool,
}

/// What a head of an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Bytes of the body that follows.
    pub(crate) size: usize,
    /// The number of the request.
    pub(crate) number: u64,
}

/// Writes a request.
pub(crate) fn request(into: &mut Vec<u8>, size: usize, number: u64, close: bool) {
    let last = if close { "connection: close\r\n" } else { "" };
    let text = format!(
        "GET /{size}/{number} HTTP/1.1\r\nhost: app\r\nuser-agent: bench\r\naccept: */*\r\n{last}\r\n"
    );
    into.extend_from_slice(text.as_bytes());
}

/// Writes the head of an answer.
pub(crate) fn answer(into: &mut Vec<u8>, asked: &Asked) {
    let last = if asked.close {
        "connection: close\r\n"
    } else {
        ""
    };
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nx-number: {}\r\n{last}\r\n",
        asked.size, asked.number
    );
    into.extend_from_slice(text.as_bytes());
}

/// The length of the head that `bytes` start with, once it is whole.
pub(crate) fn head_length(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// Reads the head of a request.
pub(crate) fn read_request(head: &[u8]) -> anyhow::Result<Asked> {
    let text = std::str::from_utf8(head)?;
    let target = text.strip_prefix("GET /").context("no GET")?;
    let target = target.split(' ').next().context("no target")?;
    let (size, number) = target.split_once('/').context("no number")?;
    Ok(Asked {
        size: size.parse()?,
        number: number.parse()?,
        close: field(text, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
    })
}

/// Reads the head of an answer; anything but 200 with a length and a number is an error.
pub(crate) fn read_answer(head: &[u8]) -> anyhow::Result<Told> {
    let text = std::str::from_utf8(head)?;
    if !text.starts_with("HTTP/1.1 200") {
        bail!("{}", text.lines().next().unwrap_or_default());
    }
    Ok(Told {
        size: field(text, "content-length")
            .context("no length")?
            .parse()?,
        number: field(text, "x-number").context("no number")?.parse()?,
    })
}

fn field<'t>(head: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_told() {
        for close in [false, true] {
            let mut bytes = Vec::new();
            request(&mut bytes, 10, 77, close);
            assert_eq!(head_length(&bytes), Some(bytes.len()));
            let asked = read_request(&bytes).unwrap();
            let expected = Asked {
                size: 10,
                number: 77,
                close,
            };
            assert_eq!(asked, expected);
            let mut bytes = Vec::new();
            answer(&mut bytes, &asked);
            assert_eq!(head_length(&bytes), Some(bytes.len()));
            let told = read_answer(&bytes).unwrap();
            assert_eq!((told.size, told.number), (10, 77));
        }
    }

    #[test]
    fn parts_and_refusals_are_no_answers() {
        assert_eq!(head_length(b"HTTP/1.1 200 OK\r\n\r"), None);
        let refused = b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nx-number: 1\r\n\r\n";
        assert!(read_answer(refused).is_err());
        assert!(read_answer(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err());
    }
}
