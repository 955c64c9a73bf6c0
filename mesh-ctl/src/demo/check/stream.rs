//! Connections that are no requests: `WebSocket`, and TCP where the server speaks first.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt as _;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::Figure;
use crate::demo::app::ledger::BANNER;
use crate::demo::mesh::Mesh;
use crate::demo::socket::{connect, send};

/// Frames in each direction.
const FRAMES: usize = 1000;
/// Connections, and lines on each.
const CONNECTIONS: usize = 20;
const LINES: u64 = 50;
/// Longest wait for bytes.
const PATIENCE: Duration = Duration::from_secs(5);

/// 1,000 frames each way, text and binary of growing sizes.
pub(super) async fn websocket(mesh: &Mesh) -> Figure {
    let mut socket = connect(mesh.outbound("feed")?, "feed").await?;
    let greeting = next(&mut socket).await?;
    ensure!(greeting.to_text()? == "feed ready", "{greeting:?}");
    let mut bytes = 0;
    for number in 0..FRAMES {
        let message = if number % 2 == 0 {
            Message::text(format!("frame {number}"))
        } else {
            Message::binary(vec![b'x'; number * 10])
        };
        bytes += message.len();
        send(&mut socket, message.clone()).await?;
        let answer = next(&mut socket).await?;
        ensure!(answer == message, "frame {number} came back changed");
    }
    socket.close(None).await?;
    Ok(format!(
        "{FRAMES} of {FRAMES} frames each way, {bytes} bytes each way, closed in order"
    ))
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> anyhow::Result<Message> {
    let message = timeout(PATIENCE, socket.next()).await;
    let message = message.context("no frame in time")?;
    Ok(message.context("the connection ended")??)
}

/// The server's banner and then its lines, on a declared and on an undeclared port.
pub(super) async fn server_first(mesh: &Mesh) -> Figure {
    let declared = converse(mesh.outbound("ledger")?)
        .await
        .context("declared")?;
    let raw = converse(mesh.outbound("journal")?)
        .await
        .context("undeclared")?;
    let lines = u64::try_from(CONNECTIONS)? * LINES;
    Ok(format!(
        "{CONNECTIONS} of {CONNECTIONS} banners and {lines} of {lines} lines each; median time to the banner \
         {declared:.1?} declared, {raw:.1?} undeclared"
    ))
}

/// The median time to the banner.
async fn converse(address: SocketAddr) -> anyhow::Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..CONNECTIONS {
        times.push(
            timeout(PATIENCE, once(address))
                .await
                .context("too slow")??,
        );
    }
    times.sort_unstable();
    times.get(CONNECTIONS / 2).copied().context("no times")
}

async fn once(address: SocketAddr) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let took = started.elapsed();
    ensure!(line == BANNER, "{line:?} in place of the banner");
    let mut sum = 0;
    for number in 0..LINES {
        sum += number;
        stream
            .write_all(format!("add {number}\n").as_bytes())
            .await?;
        line.clear();
        stream.read_line(&mut line).await?;
        ensure!(line == format!("sum {sum}\n"), "{line:?}");
    }
    // We say that we are done; what is left still arrives, then the end.
    stream.write_all(b"add 1\n").await?;
    stream.shutdown().await?;
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await?;
    ensure!(
        rest == format!("sum {}\n", sum + 1),
        "{rest:?} after our end"
    );
    Ok(took)
}
