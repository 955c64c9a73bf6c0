//! HTTP/2 by hand: frames as bytes, for peers that break rules or count what others hide.
//!
//! Knows no header compression but a fixed block of its own. May use nothing of this crate.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Largest frame taken; the protocol's default.
const MAX_FRAME: usize = 16_384;
/// Longest wait for one frame.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kinds of frames.
pub mod kind {
    /// A part of a body.
    pub const DATA: u8 = 0;
    /// A head.
    pub const HEADERS: u8 = 1;
    /// A wish, which everyone ignores.
    pub const PRIORITY: u8 = 2;
    /// The end of a stream without its end.
    pub const RST_STREAM: u8 = 3;
    /// Limits.
    pub const SETTINGS: u8 = 4;
    /// Asks for an answer.
    pub const PING: u8 = 6;
    /// The end of a connection.
    pub const GOAWAY: u8 = 7;
    /// Room for more.
    pub const WINDOW_UPDATE: u8 = 8;
    /// The rest of a head.
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    /// No more of this stream.
    pub const END_STREAM: u8 = 1;
    /// The answer to SETTINGS or PING.
    pub const ACK: u8 = 1;
    /// The head is whole.
    pub const END_HEADERS: u8 = 4;
}

/// A frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame of a stream.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// Appends the frame as bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(length.to_be_bytes().get(1..).unwrap_or_default());
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.extend_from_slice(&self.payload);
    }

    /// True if the flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The head of a request to `path`, uncompressed; `method` is `GET` or `POST`.
pub fn request(method: &str, path: &str, authority: &str) -> Vec<u8> {
    // Indexed: `:method GET` or `POST`, `:scheme http`. Literal, not indexed: `:path`, `:authority`.
    let mut block = vec![if method == "POST" { 0x83 } else { 0x82 }, 0x86];
    for (index, value) in [(4, path), (1, authority)] {
        block.push(index);
        block.push(u8::try_from(value.len()).unwrap_or(0).min(0x7e));
        block.extend(value.bytes().take(0x7e));
    }
    block
}

/// A field without compression, to append to a head.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name, value] {
        block.push(u8::try_from(text.len()).unwrap_or(0).min(0x7e));
        block.extend(text.bytes().take(0x7e));
    }
    block
}

/// A connection to a server, past the preface and both SETTINGS.
pub struct Client {
    /// The reading half.
    pub reader: Reader,
    /// The writing half.
    pub writer: OwnedWriteHalf,
}

/// Frames from a peer.
pub struct Reader(BufReader<OwnedReadHalf>);

impl Client {
    /// Connects and says hello; no SETTINGS of ours differ from the defaults.
    ///
    /// # Errors
    ///
    /// If the other end is no HTTP/2 server.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.into_split();
        let mut hello = PREFACE.to_vec();
        Frame::new(kind::SETTINGS, 0, 0, []).write(&mut hello);
        Frame::new(kind::SETTINGS, flag::ACK, 0, []).write(&mut hello);
        writer.write_all(&hello).await?;
        let mut reader = Reader::new(reader);
        let first = reader.next().await?.context("closed at once")?;
        ensure!(first.kind == kind::SETTINGS, "no SETTINGS but {first:?}");
        Ok(Self { reader, writer })
    }

    /// Sends frames.
    ///
    /// # Errors
    ///
    /// If the connection is closed.
    pub async fn send(&mut self, frames: &[Frame]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.write(&mut bytes);
        }
        self.writer.write_all(&bytes).await
    }
}

impl Reader {
    /// Reads from a half of a connection.
    pub fn new(half: OwnedReadHalf) -> Self {
        Self(BufReader::with_capacity(64 * 1024, half))
    }

    /// Reads the preface of a client.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub async fn preface(&mut self) -> anyhow::Result<()> {
        let mut bytes = [0; PREFACE.len()];
        self.0.read_exact(&mut bytes).await?;
        ensure!(bytes == PREFACE, "no preface");
        Ok(())
    }

    /// The next frame; `None` at the end of the connection, however it came.
    ///
    /// # Errors
    ///
    /// If none came in time, or it is too long.
    pub async fn next(&mut self) -> anyhow::Result<Option<Frame>> {
        timeout(PATIENCE, self.wait())
            .await
            .context("no frame in time")?
    }

    /// As [`Reader::next`], without a limit of time.
    ///
    /// # Errors
    ///
    /// If it is too long.
    pub async fn wait(&mut self) -> anyhow::Result<Option<Frame>> {
        let mut head = [0; 9];
        if self.0.read_exact(&mut head).await.is_err() {
            return Ok(None);
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c]))?;
        ensure!(length <= MAX_FRAME, "a frame of {length} bytes");
        let mut payload = vec![0; length];
        if self.0.read_exact(&mut payload).await.is_err() {
            return Ok(None);
        }
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Ok(Some(Frame {
            kind,
            flags,
            stream,
            payload,
        }))
    }
}
