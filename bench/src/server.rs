//! The app behind the proxies: HTTP/1.1 and HTTP/2, bytes sent back, bytes without end.
//!
//! May use `message` and `h2`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::message;

/// Bytes written at once.
const CHUNK: usize = 64 * 1024;

/// What an address of the server does.
#[derive(Clone, Copy)]
enum Kind {
    Http,
    Echo,
    Bulk,
    H2,
}

/// Serves the addresses until it is ended.
pub(crate) async fn run(
    http: SocketAddr,
    echo: SocketAddr,
    bulk: SocketAddr,
    h2: SocketAddr,
) -> anyhow::Result<()> {
    let mut all = JoinSet::new();
    for (address, kind) in [
        (http, Kind::Http),
        (echo, Kind::Echo),
        (bulk, Kind::Bulk),
        (h2, Kind::H2),
    ] {
        let listener = TcpListener::bind(address).await?;
        all.spawn(accept(listener, kind));
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    Ok(())
}

async fn accept(listener: TcpListener, kind: Kind) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn(serve(stream, kind));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Whatever ends a connection is the client's to report.
async fn serve(stream: TcpStream, kind: Kind) -> anyhow::Result<()> {
    match kind {
        Kind::Http => http(stream).await,
        Kind::Echo => echo(stream).await,
        Kind::Bulk => bulk(stream).await,
        Kind::H2 => crate::h2::serve(stream).await,
    }
}

async fn http(mut stream: TcpStream) -> anyhow::Result<()> {
    let (mut input, mut output) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
    let body = vec![b'x'; CHUNK];
    loop {
        let Some(length) = message::head_length(&input) else {
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let asked = message::read_request(input.get(..length).unwrap_or_default())?;
        input.drain(..length);
        output.clear();
        message::answer(&mut output, &asked);
        let mut left = asked.size;
        let room = CHUNK - output.len();
        let first = left.min(room);
        output.extend_from_slice(body.get(..first).unwrap_or_default());
        left -= first;
        stream.write_all(&output).await?;
        while left > 0 {
            let next = left.min(CHUNK);
            let chunk = body.get(..next).unwrap_or_default();
            stream.write_all(chunk).await?;
            left -= next;
        }
        if asked.close {
            return Ok(stream.shutdown().await?);
        }
    }
}

async fn echo(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let read = buffer.get(..length).unwrap_or_default();
        stream.write_all(read).await?;
    }
}

/// Bytes without end, once the client said something.
async fn bulk(mut stream: TcpStream) -> anyhow::Result<()> {
    let chunk = vec![b'x'; CHUNK];
    let mut first = [0; 1];
    stream.read_exact(&mut first).await?;
    loop {
        stream.write_all(&chunk).await?;
    }
}
