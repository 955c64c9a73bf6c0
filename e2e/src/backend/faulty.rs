//! HTTP/1.1 connections that break while a request is under way.

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Seen, closing};

/// Where a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Before anything of the request is read.
    Unread,
    /// Once the request was read and its work done.
    Done,
    /// In the head of the response.
    Head,
    /// In its content.
    Content,
    /// Nowhere.
    None,
}

pub(super) async fn serve(mut stream: TcpStream, seen: Seen) -> anyhow::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let fault = match fastrand::u8(..8) {
            0 => Fault::Unread,
            1 => Fault::Done,
            2 => Fault::Head,
            3 => Fault::Content,
            _ => Fault::None,
        };
        if fault == Fault::Unread {
            // Something came: it is there, and is not looked at.
            stream.readable().await?;
            let mut peeked = [0; 1];
            ensure!(stream.peek(&mut peeked).await? > 0, "the peer closed");
            return broken(&stream, &seen);
        }
        let Some(body) = closing::next(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        seen.answered(body.as_deref());
        let answer: &[u8] = match fault {
            Fault::None => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            Fault::Head => b"HTTP/1.1 200 OK\r\nconte",
            Fault::Content => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no",
            Fault::Done | Fault::Unread => b"",
        };
        stream.write_all(answer).await?;
        if fault != Fault::None {
            return broken(&stream, &seen);
        }
    }
}

/// Ends the connection by an end or by a reset.
fn broken(stream: &TcpStream, seen: &Seen) -> anyhow::Result<()> {
    seen.broke();
    if fastrand::bool() {
        let socket = socket2::SockRef::from(stream);
        let linger = Some(std::time::Duration::ZERO);
        socket.set_linger(linger).context("a reset")?;
    }
    Ok(())
}
