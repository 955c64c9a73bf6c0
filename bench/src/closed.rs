//! Closed loop: each connection sends its next request once the last was answered.
//!
//! May use `message`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::message;

/// Bytes of one message of `Echo`.
const MESSAGE: usize = 128;
/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// What is sent over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Requests of HTTP/1.1.
    Http,
    /// The same, each on a connection of its own.
    Connect,
    /// Bytes that come back.
    Echo,
    /// Bytes without end; a request is each 64 KiB of them.
    Bulk,
    /// Requests of HTTP/2.
    H2,
    /// Unary calls in the shape of gRPC.
    Grpc,
    /// Handshakes of mutual TLS on X25519, each on a connection of its own.
    Handshake,
    /// The same on the hybrid of X25519 and ML-KEM-768.
    HandshakeHybrid,
}

/// What connections share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    phase: AtomicU8,
    next: AtomicU64,
    /// Requests that failed.
    pub(crate) failed: AtomicU64,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not counted.
    Warm = 0,
    /// Counted.
    Measured = 1,
    /// No further request.
    Ended = 2,
}

impl Shared {
    /// Goes on to `phase`.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// A number that no other request has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Numbers given so far.
    pub(crate) fn given(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    /// True while another request may start.
    pub(crate) fn goes_on(&self) -> bool {
        !self.is(Phase::Ended)
    }

    /// Notes one answered request in `times`, in microseconds, if it counts.
    pub(crate) fn answered(&self, begun: Instant, times: &mut Vec<u32>) {
        if self.is(Phase::Measured) {
            times.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
}

/// One connection's requests to the end of the run; the time that each counted one took.
pub(crate) async fn run(kind: Kind, to: SocketAddr, size: usize, shared: Arc<Shared>) -> Vec<u32> {
    let mut times = Vec::with_capacity(1 << 14);
    while shared.goes_on() {
        let ended = match kind {
            Kind::Http => http(to, size, &shared, &mut times).await,
            Kind::Connect => connect(to, size, &shared, &mut times).await,
            Kind::Echo => echo(to, &shared, &mut times).await,
            Kind::Bulk => bulk(to, &shared, &mut times).await,
            _ => Err(anyhow::anyhow!("{kind:?} is not sent here")),
        };
        if let Err(error) = ended {
            if shared.failed.fetch_add(1, Ordering::Relaxed) < 3 {
                crate::voice::tell(format!("{kind:?}: {error:#}"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    times
}

async fn http(
    to: SocketAddr,
    size: usize,
    shared: &Shared,
    times: &mut Vec<u32>,
) -> anyhow::Result<()> {
    let mut stream = dial(to).await?;
    let mut buffers = Buffers::default();
    while shared.goes_on() {
        let begun = Instant::now();
        exchange(&mut stream, size, shared.number(), false, &mut buffers).await?;
        shared.answered(begun, times);
    }
    Ok(())
}

async fn connect(
    to: SocketAddr,
    size: usize,
    shared: &Shared,
    times: &mut Vec<u32>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut stream = dial(to).await?;
    let number = shared.number();
    exchange(&mut stream, size, number, true, &mut Buffers::default()).await?;
    shared.answered(begun, times);
    Ok(())
}

async fn echo(to: SocketAddr, shared: &Shared, times: &mut Vec<u32>) -> anyhow::Result<()> {
    let mut stream = dial(to).await?;
    let (mut message, mut back) = ([0; MESSAGE], [0; MESSAGE]);
    while shared.goes_on() {
        let begun = Instant::now();
        for (byte, of_number) in message.iter_mut().zip(shared.number().to_le_bytes()) {
            *byte = of_number;
        }
        stream.write_all(&message).await?;
        stream.read_exact(&mut back).await?;
        ensure!(message == back, "other bytes came back");
        shared.answered(begun, times);
    }
    Ok(())
}

async fn bulk(to: SocketAddr, shared: &Shared, times: &mut Vec<u32>) -> anyhow::Result<()> {
    let mut stream = dial(to).await?;
    stream.write_all(b"x").await?;
    let mut buffer = vec![0; CHUNK];
    while shared.goes_on() {
        let begun = Instant::now();
        stream.read_exact(&mut buffer).await?;
        shared.answered(begun, times);
    }
    Ok(())
}

async fn dial(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What a connection reads into and writes from.
struct Buffers {
    output: Vec<u8>,
    input: Vec<u8>,
    body: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            output: Vec::with_capacity(256),
            input: Vec::with_capacity(16 * 1024),
            body: vec![0; CHUNK],
        }
    }
}

/// One request and its whole answer, which must carry the request's number.
async fn exchange(
    stream: &mut TcpStream,
    size: usize,
    number: u64,
    close: bool,
    buffers: &mut Buffers,
) -> anyhow::Result<()> {
    buffers.output.clear();
    buffers.input.clear();
    message::request(&mut buffers.output, size, number, close);
    stream.write_all(&buffers.output).await?;
    let head = loop {
        if let Some(length) = message::head_length(&buffers.input) {
            break length;
        }
        ensure!(
            stream.read_buf(&mut buffers.input).await? > 0,
            "closed before an answer"
        );
    };
    let told = message::read_answer(buffers.input.get(..head).unwrap_or_default())?;
    if told.number != number || told.size != size {
        bail!("asked for {size} bytes of {number}, told {told:?}");
    }
    let mut left = (head + size).saturating_sub(buffers.input.len());
    while left > 0 {
        let most = left.min(CHUNK);
        let room = buffers.body.get_mut(..most).unwrap_or_default();
        let length = stream.read(room).await?;
        ensure!(length > 0, "closed within an answer");
        left -= length;
    }
    Ok(())
}
