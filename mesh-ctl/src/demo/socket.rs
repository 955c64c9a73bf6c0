//! WebSocket ends of the demo: what client and server share.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::Context;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Connects to a WebSocket server behind `address`.
pub(crate) async fn connect(
    address: SocketAddr,
    host: &str,
) -> anyhow::Result<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (socket, _) = client_async(format!("ws://{host}/"), stream)
        .await
        .context("the WebSocket was refused")?;
    Ok(socket)
}

/// Sends one message and flushes it.
pub(crate) async fn send(
    socket: &mut WebSocketStream<TcpStream>,
    message: Message,
) -> anyhow::Result<()> {
    use futures_sink::Sink as _;
    let mut socket = Pin::new(socket);
    poll_fn(|context| socket.as_mut().poll_ready(context)).await?;
    socket.as_mut().start_send(message)?;
    poll_fn(|context| socket.as_mut().poll_flush(context)).await?;
    Ok(())
}
