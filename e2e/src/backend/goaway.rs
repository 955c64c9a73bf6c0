//! HTTP/2 connections that end by GOAWAY at their 100th stream.

use std::collections::HashMap;

use anyhow::Context;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::Seen;
use crate::frame::{Frame, Reader, flag, kind};

/// Streams that a connection answers.
const STREAMS: u32 = 100;
/// `:status: 200`, from the static table.
const OK: [u8; 1] = [0x88];
/// The window is opened again after this many bytes.
const WINDOW: usize = 16 * 1024;

struct Connection {
    writer: OwnedWriteHalf,
    seen: Seen,
    /// Bodies of requests that are not whole yet.
    open: HashMap<u32, Vec<u8>>,
    started: u32,
    answered: u32,
    /// The last stream that is answered, once known.
    last: Option<u32>,
    unacknowledged: usize,
}

pub(super) async fn serve(stream: TcpStream, seen: Seen) -> anyhow::Result<()> {
    let (reader, writer) = stream.into_split();
    let mut reader = Reader::new(reader);
    reader.preface().await?;
    let mut connection = Connection {
        writer,
        seen,
        open: HashMap::new(),
        started: 0,
        answered: 0,
        last: None,
        unacknowledged: 0,
    };
    connection
        .send(&[Frame::new(kind::SETTINGS, 0, 0, [])])
        .await?;
    while connection.answered < STREAMS {
        let Some(frame) = reader.wait().await? else {
            return Ok(());
        };
        connection.take(frame).await?;
    }
    connection.writer.shutdown().await?;
    // What still comes is read: closing on unread bytes would be a reset, and lose answers.
    while reader.next().await?.is_some() {}
    Ok(())
}

impl Connection {
    async fn take(&mut self, frame: Frame) -> anyhow::Result<()> {
        let is_late = self.last.is_some_and(|last| frame.stream > last);
        match frame.kind {
            kind::SETTINGS if !frame.has(flag::ACK) => {
                self.send(&[Frame::new(kind::SETTINGS, flag::ACK, 0, [])])
                    .await
            }
            kind::PING if !frame.has(flag::ACK) => {
                self.send(&[Frame::new(kind::PING, flag::ACK, 0, frame.payload)])
                    .await
            }
            kind::HEADERS if !is_late => self.head(&frame).await,
            kind::DATA => self.data(&frame, is_late).await,
            _ => Ok(()),
        }
    }

    async fn head(&mut self, frame: &Frame) -> anyhow::Result<()> {
        if self.open.contains_key(&frame.stream) {
            // Trailers.
            return self.answer(frame.stream).await;
        }
        self.started += 1;
        if self.started == STREAMS {
            self.last = Some(frame.stream);
            let mut payload = frame.stream.to_be_bytes().to_vec();
            payload.extend([0; 4]);
            self.seen.note(|counts| counts.goaways += 1);
            self.send(&[Frame::new(kind::GOAWAY, 0, 0, payload)])
                .await?;
        }
        if frame.has(flag::END_STREAM) {
            self.seen.answered(None);
            return self.respond(frame.stream).await;
        }
        self.open.insert(frame.stream, Vec::new());
        Ok(())
    }

    async fn data(&mut self, frame: &Frame, is_late: bool) -> anyhow::Result<()> {
        self.unacknowledged += frame.payload.len();
        if self.unacknowledged >= WINDOW {
            let more = u32::try_from(self.unacknowledged)?.to_be_bytes();
            self.unacknowledged = 0;
            self.send(&[Frame::new(kind::WINDOW_UPDATE, 0, 0, more)])
                .await?;
        }
        if is_late {
            return Ok(());
        }
        let body = self.open.get_mut(&frame.stream);
        body.context("DATA of no stream")?.extend(&frame.payload);
        if frame.has(flag::END_STREAM) {
            return self.answer(frame.stream).await;
        }
        Ok(())
    }

    async fn answer(&mut self, stream: u32) -> anyhow::Result<()> {
        let body = self.open.remove(&stream).unwrap_or_default();
        self.seen.answered(Some(&body));
        self.respond(stream).await
    }

    async fn respond(&mut self, stream: u32) -> anyhow::Result<()> {
        self.answered += 1;
        self.send(&[
            Frame::new(kind::HEADERS, flag::END_HEADERS, stream, OK),
            Frame::new(kind::DATA, flag::END_STREAM, stream, *b"ok"),
        ])
        .await
    }

    async fn send(&mut self, frames: &[Frame]) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.write(&mut bytes);
        }
        Ok(self.writer.write_all(&bytes).await?)
    }
}
