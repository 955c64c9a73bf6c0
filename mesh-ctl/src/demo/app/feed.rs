//! `feed`: a WebSocket server that greets, then sends every message back.

use clap::Args;
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::Listen;
use super::serve::accept;
use crate::demo::socket::send;

/// `meshctl demo-app feed`.
#[derive(Clone, Debug, Args)]
pub(super) struct Settings {
    #[command(flatten)]
    listen: Listen,
}

/// Serves the app.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    accept(settings.listen.address(), |stream| async move {
        // A connection that is no WebSocket, or one that broke, concerns its peer alone.
        if let Ok(socket) = accept_async(stream).await {
            echo(socket).await.ok();
        }
    })
    .await
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> anyhow::Result<()> {
    send(&mut socket, Message::text("feed ready")).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            send(&mut socket, message).await?;
        }
    }
    Ok(())
}
