//! Connections that are opened, used once, and then held.
//!
//! May use `message`, `h2` and `handshake`.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::closed::Kind;
use crate::h2;
use crate::handshake;
use crate::message;

/// What is held, and keeps its connection open.
#[allow(
    dead_code,
    clippy::large_enum_variant,
    reason = "held, never read; all of a run are of one kind"
)]
enum Held {
    Http(TcpStream),
    H2(h2::Held),
    Tls(TlsStream<TcpStream>),
}

/// Opens `count` connections, uses each once, says `held`, and holds them until standard input
/// closes.
pub(crate) async fn run(
    to: SocketAddr,
    count: usize,
    kind: Kind,
    identity: Option<&Path>,
) -> anyhow::Result<()> {
    let connector = match identity {
        Some(folder) => Some(TlsConnector::from(handshake::settings(folder, kind)?)),
        None => None,
    };
    let mut all = Vec::with_capacity(count);
    for number in 0..count {
        let held = match (kind, &connector) {
            (Kind::Http, _) => http(to, number).await.map(Held::Http),
            (Kind::H2, _) => h2::held(to, number as u64).await.map(Held::H2),
            (Kind::Handshake, Some(connector)) => {
                handshake::open(to, connector).await.map(Held::Tls)
            }
            _ => anyhow::bail!("connections of {kind:?} are not held"),
        };
        all.push(held.with_context(|| format!("connection {number} of {count}"))?);
    }
    crate::voice::print("held");
    // On a thread of its own: connections of HTTP/2 have things to answer meanwhile.
    let mut end = JoinSet::new();
    end.spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    end.join_next().await;
    drop(all);
    Ok(())
}

async fn http(to: SocketAddr, number: usize) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(to).await?;
    let mut output = Vec::new();
    message::request(&mut output, 0, number as u64, false);
    stream.write_all(&output).await?;
    let mut input = Vec::new();
    while message::head_length(&input).is_none() {
        let length = stream.read_buf(&mut input).await?;
        ensure!(length > 0, "closed before an answer");
    }
    message::read_answer(&input)?;
    Ok(stream)
}
