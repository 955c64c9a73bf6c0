//! Clients that send what nobody needs, frame by frame, until the other end has had enough.
//!
//! May use `frame`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use crate::frame::{Client, Frame, Reader, field, flag, kind, request};

/// Frames after which the connection must be closed.
pub const LIMIT: u32 = 10_000;
/// Frames sent at once; between two batches the other end may speak.
const BATCH: u32 = 50;
/// Time for the other end to close after the last frame.
const GRACE: Duration = Duration::from_secs(5);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Settings that each want an acknowledgement.
    Settings,
    /// Questions that each want an answer.
    Ping,
    /// Wishes for a stream that there is not.
    Priority,
    /// Room of one byte at a time.
    WindowUpdate,
    /// Requests that are taken back at once.
    Reset,
    /// A head that does not end.
    Continuation,
    /// A body that brings nothing.
    EmptyData,
}

impl Flood {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Settings,
        Self::Ping,
        Self::Priority,
        Self::WindowUpdate,
        Self::Reset,
        Self::Continuation,
        Self::EmptyData,
    ];

    /// What precedes the flood.
    fn opening(self) -> Vec<Frame> {
        match self {
            Self::Continuation => vec![head(1, "POST", 0)],
            Self::EmptyData | Self::WindowUpdate => vec![head(1, "POST", flag::END_HEADERS)],
            _ => Vec::new(),
        }
    }

    /// The frames of one step. Their number is what the flood counts.
    fn step(self, number: u32) -> Vec<Frame> {
        match self {
            Self::Settings => vec![Frame::new(kind::SETTINGS, 0, 0, [])],
            Self::Ping => vec![Frame::new(
                kind::PING,
                0,
                0,
                u64::from(number).to_be_bytes(),
            )],
            Self::Priority => vec![Frame::new(kind::PRIORITY, 0, 3, [0, 0, 0, 0, 16])],
            Self::WindowUpdate => vec![Frame::new(kind::WINDOW_UPDATE, 0, 1, [0, 0, 0, 1])],
            Self::Reset => {
                let stream = 2 * number + 1;
                let whole = flag::END_HEADERS | flag::END_STREAM;
                vec![
                    head(stream, "GET", whole),
                    Frame::new(kind::RST_STREAM, 0, stream, [0, 0, 0, 8]),
                ]
            }
            Self::Continuation => {
                let more = field("x-more", "0123456789");
                vec![Frame::new(kind::CONTINUATION, 0, 1, more)]
            }
            Self::EmptyData => vec![Frame::new(kind::DATA, 0, 1, [])],
        }
    }
}

fn head(stream: u32, method: &str, flags: u8) -> Frame {
    Frame::new(
        kind::HEADERS,
        flags,
        stream,
        request(method, "/flood", "echo"),
    )
}

/// How a flood ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Frames that were sent when the end was seen.
    pub frames: u32,
    /// The code of GOAWAY, if one came.
    pub goaway: Option<u32>,
}

/// Sends a flood of at most [`LIMIT`] frames to `address`.
///
/// # Errors
///
/// If the connection is still open after that.
pub async fn run(address: SocketAddr, flood: Flood) -> anyhow::Result<Closed> {
    let Client { reader, mut writer } = Client::connect(address).await?;
    let mut watching = tokio::task::JoinSet::new();
    watching.spawn(watch(reader));
    let mut frames = 0;
    let mut step = 0;
    let mut batch = flood.opening();
    while frames < LIMIT {
        while batch.len() < BATCH as usize {
            batch.extend(flood.step(step));
            step += 1;
        }
        let mut bytes = Vec::new();
        for frame in batch.drain(..) {
            frame.write(&mut bytes);
            frames += 1;
        }
        let written = timeout(GRACE, writer.write_all(&bytes)).await;
        if written
            .context("it reads no more, and does not close")?
            .is_err()
        {
            break;
        }
        // The other end runs on the same cores: without this its answer would be seen too late.
        if let Ok(ended) = timeout(Duration::from_micros(200), watching.join_next()).await {
            let goaway = ended.context("one task")??;
            return Ok(Closed { frames, goaway });
        }
    }
    match timeout(GRACE, watching.join_next()).await {
        Ok(ended) => Ok(Closed {
            frames,
            goaway: ended.context("one task")??,
        }),
        Err(_) => bail!("open after {frames} frames of {flood:?} and {GRACE:?}"),
    }
}

/// Reads to the end of the connection; the code of GOAWAY, if one came.
async fn watch(mut reader: Reader) -> Option<u32> {
    let mut goaway = None;
    while let Ok(Some(frame)) = reader.wait().await {
        if frame.kind == kind::GOAWAY {
            let code = frame
                .payload
                .get(4..8)
                .and_then(|code| code.try_into().ok());
            goaway = code.map(u32::from_be_bytes);
        }
    }
    goaway
}

/// Attacks `address` with rapid resets, reconnecting `rate` times a second, until dropped or `until`.
/// The number of connections that the other end closed.
pub async fn attack(address: SocketAddr, flood: Flood, rate: u32, until: Instant) -> u32 {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    let mut closed = 0;
    let mut attackers = tokio::task::JoinSet::new();
    while Instant::now() < until {
        ticks.tick().await;
        attackers.spawn(run(address, flood));
        while let Some(ended) = attackers.try_join_next() {
            closed += u32::from(matches!(ended, Ok(Ok(_))));
        }
    }
    closed
}
