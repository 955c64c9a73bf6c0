//! HTTP/1.1 connections that close at random while they are idle.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Seen;

/// One of so many answers is the last of its connection.
const LIVES: u64 = 20;
/// Longest idle time before such a connection closes.
const IDLE: u64 = 3_000;

pub(super) async fn serve(mut stream: TcpStream, seen: Seen) -> anyhow::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let request = match last_of_its_connection() {
            None => next(&mut stream, &mut buffer).await?,
            Some(idle) => match timeout(idle, next(&mut stream, &mut buffer)).await {
                Ok(request) => request?,
                // Nothing of another request was read: nothing is owed.
                Err(_) if buffer.is_empty() => return Ok(()),
                Err(_) => next(&mut stream, &mut buffer).await?,
            },
        };
        let Some(body) = request else {
            return Ok(());
        };
        seen.answered(body.as_deref());
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await?;
    }
}

fn last_of_its_connection() -> Option<Duration> {
    let ends = fastrand::u64(..LIVES) == 0;
    ends.then(|| Duration::from_micros(fastrand::u64(..IDLE)))
}

/// The next request's body, `Some(None)` if it is no POST; `None` at the end of the connection.
pub(super) async fn next(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
) -> anyhow::Result<Option<Option<Vec<u8>>>> {
    loop {
        if let Some((length, body)) = whole(buffer)? {
            buffer.drain(..length);
            return Ok(Some(body));
        }
        if stream.read_buf(buffer).await? == 0 {
            ensure!(buffer.is_empty(), "a request is cut");
            return Ok(None);
        }
    }
}

/// The length of the request at the start of `buffer` and its body, once it is whole.
fn whole(buffer: &[u8]) -> anyhow::Result<Option<(usize, Option<Vec<u8>>)>> {
    let Some(head) = buffer.windows(4).position(|end| end == b"\r\n\r\n") else {
        return Ok(None);
    };
    let (text, rest) = buffer.split_at(head + 4);
    let text = std::str::from_utf8(text)?.to_ascii_lowercase();
    ensure!(!text.contains("transfer-encoding"), "a body in chunks");
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(Ok(0), |length| length.trim().parse::<usize>());
    let length = length.context("content-length")?;
    Ok(rest.get(..length).map(|body| {
        let post = text.starts_with("post ").then(|| body.to_vec());
        (head + 4 + length, post)
    }))
}
