//! What the shop asks of others beside the catalog: a price by gRPC, a frame by WebSocket, a sum by TCP.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use tokio_stream::StreamExt as _;
use tokio_tungstenite::tungstenite::Message;

use crate::demo::pricing::Connection;
use crate::demo::pricing::generated::QuoteRequest;
use crate::demo::socket::{connect, send};

/// Between two questions to each.
const PERIOD: Duration = Duration::from_secs(1);
/// Wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the sidecar takes calls to others.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Others {
    /// Calls to the prices.
    #[arg(long)]
    pricing: Option<SocketAddr>,
    /// Calls to the feed.
    #[arg(long)]
    feed: Option<SocketAddr>,
    /// Calls to the ledger.
    #[arg(long)]
    ledger: Option<SocketAddr>,
}

/// Asks each once a second for as long as it is polled, and tells `note` the protocol and the answer.
pub(super) async fn ask(others: Others, note: impl Fn(&'static str, String)) {
    let mut ticks = interval(PERIOD);
    for number in 0.. {
        ticks.tick().await;
        if let Some(address) = others.pricing {
            note("gRPC", told(price(address, number)).await);
        }
        if let Some(address) = others.feed {
            note("WebSocket", told(frame(address, number)).await);
        }
        if let Some(address) = others.ledger {
            note("TCP", told(sum(address, number)).await);
        }
    }
}

/// The answer, or why there is none.
async fn told(asked: impl Future<Output = anyhow::Result<String>>) -> String {
    match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => format!("failed: {error:#}"),
        Err(_) => format!("failed: no answer within {PATIENCE:?}"),
    }
}

async fn price(address: SocketAddr, item: u64) -> anyhow::Result<String> {
    let connection = Connection::open(address).await?;
    let question = QuoteRequest { item, delay_ms: 0 };
    let answer = connection.client().quote(question).await?;
    Ok(format!("item {item}: {} cents", answer.get_ref().cents))
}

async fn frame(address: SocketAddr, number: u64) -> anyhow::Result<String> {
    let mut socket = connect(address, "feed").await?;
    let greeting = socket.next().await.context("no greeting")??;
    send(&mut socket, Message::text(number.to_string())).await?;
    let answer = socket.next().await.context("no frame")??;
    socket.close(None).await?;
    Ok(format!("{greeting}, frame {answer}"))
}

async fn sum(address: SocketAddr, number: u64) -> anyhow::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let (mut banner, mut answer) = (String::new(), String::new());
    stream.read_line(&mut banner).await?;
    let line = format!("add {number}\n");
    stream.write_all(line.as_bytes()).await?;
    stream.read_line(&mut answer).await?;
    Ok(format!("{}, {}", banner.trim(), answer.trim()))
}
