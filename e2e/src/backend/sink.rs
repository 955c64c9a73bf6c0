//! HTTP/2 that counts bodies and keeps none.

use anyhow::Context;
use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Seen;

pub(super) async fn serve(stream: TcpStream, seen: Seen) -> anyhow::Result<()> {
    let mut connection = h2::server::Builder::new()
        // Pieces of any size are what this app is for.
        .data_frame_budget(usize::MAX)
        .handshake(stream)
        .await?;
    let mut answering = JoinSet::new();
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        answering.spawn(answer(request.into_body(), respond, seen.clone()));
        while answering.try_join_next().is_some() {}
    }
    Ok(())
}

async fn answer(
    mut body: h2::RecvStream,
    mut respond: h2::server::SendResponse<Bytes>,
    seen: Seen,
) -> anyhow::Result<()> {
    let mut length = 0;
    while let Some(piece) = body.data().await {
        let piece = piece?;
        length += piece.len();
        body.flow_control().release_capacity(piece.len())?;
    }
    seen.answered(None);
    let mut send = respond.send_response(http::Response::new(()), false)?;
    let text = Bytes::from(length.to_string());
    send.send_data(text, true).context("the answer")
}
