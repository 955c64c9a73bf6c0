//! HTTP/2 in the clear, both ends: numbered requests, and calls in the shape of gRPC.
//!
//! May use `closed`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::closed::{Kind, Shared};

/// Bytes that a peer may send unasked on a stream; four times as much on a connection.
const WINDOW: u32 = 1 << 20;
/// Bytes given to the connection at once.
const CHUNK: usize = 64 * 1024;
/// Frame of a message of gRPC: not compressed, 123 bytes follow.
const FRAME: [u8; 5] = [0, 0, 0, 0, 123];
/// Bytes of a message with its frame.
const MESSAGE: usize = 128;

/// Serves one connection to its end.
pub(crate) async fn serve(stream: TcpStream) -> anyhow::Result<()> {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW);
    let mut connection = builder.handshake::<_, Bytes>(stream).await?;
    let body = Bytes::from(vec![b'x'; CHUNK]);
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond) = accepted?;
                streams.spawn(answer(request, respond, body.clone()));
            }
            Some(_) = streams.join_next() => {}
        }
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    body: Bytes,
) -> anyhow::Result<()> {
    let response = Response::builder().status(200);
    if request.method() == Method::POST {
        let message = whole(request.into_body()).await?;
        let response = response
            .header("content-type", "application/grpc")
            .body(())?;
        let mut send = respond.send_response(response, false)?;
        write(&mut send, message.len(), &message, false).await?;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        return Ok(send.send_trailers(trailers)?);
    }
    let path = request.uri().path().to_owned();
    let (size, number) = path
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'))
        .context("not /SIZE/NUMBER")?;
    let size: usize = size.parse()?;
    let response = response
        .header("x-number", number)
        .header("content-length", size)
        .body(())?;
    let mut send = respond.send_response(response, size == 0)?;
    if size > 0 {
        write(&mut send, size, &body, true).await?;
    }
    Ok(())
}

/// Sends `size` bytes, as often `body` as it takes, as the window allows.
async fn write(
    send: &mut SendStream<Bytes>,
    size: usize,
    body: &Bytes,
    end: bool,
) -> anyhow::Result<()> {
    let mut left = size;
    while left > 0 {
        send.reserve_capacity(left.min(body.len()));
        while send.capacity() == 0 {
            std::future::poll_fn(|context| send.poll_capacity(context))
                .await
                .context("the stream ended")??;
        }
        let next = send.capacity().min(left).min(body.len());
        left -= next;
        send.send_data(body.slice(..next), end && left == 0)?;
    }
    Ok(())
}

async fn whole(mut body: RecvStream) -> anyhow::Result<Bytes> {
    let mut all = Vec::with_capacity(MESSAGE);
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        all.extend_from_slice(&chunk);
    }
    Ok(all.into())
}

/// One connection with `streams` requests at once, to the end of the run.
pub(crate) async fn run(
    kind: Kind,
    to: SocketAddr,
    size: usize,
    streams: u32,
    shared: Arc<Shared>,
) -> Vec<u32> {
    let mut times = Vec::new();
    while shared.goes_on() {
        if let Err(error) = connection(kind, to, size, streams, &shared, &mut times).await {
            if shared.failed.fetch_add(1, Ordering::Relaxed) < 3 {
                crate::voice::tell(format!("{kind:?}: {error:#}"));
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    times
}

async fn connection(
    kind: Kind,
    to: SocketAddr,
    size: usize,
    streams: u32,
    shared: &Arc<Shared>,
    times: &mut Vec<u32>,
) -> anyhow::Result<()> {
    let (sender, connection) = open(to).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut all = JoinSet::new();
    for _ in 0..streams {
        all.spawn(requests(kind, sender.clone(), size, shared.clone()));
    }
    while let Some(ended) = all.join_next().await {
        times.extend(ended??);
    }
    Ok(())
}

/// Opens a connection, sends one request, and gives what keeps it open.
pub(crate) async fn held(to: SocketAddr, number: u64) -> anyhow::Result<Held> {
    let (sender, connection) = open(to).await?;
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let mut sender = sender.ready().await?;
    get(&mut sender, 0, number).await?;
    Ok(Held {
        _sender: sender,
        _driver: driver,
    })
}

/// A connection that stays open as long as this.
pub(crate) struct Held {
    _sender: SendRequest<Bytes>,
    _driver: JoinSet<Result<(), h2::Error>>,
}

async fn open(
    to: SocketAddr,
) -> anyhow::Result<(SendRequest<Bytes>, h2::client::Connection<TcpStream>)> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW);
    Ok(builder.handshake::<_, Bytes>(stream).await?)
}

async fn requests(
    kind: Kind,
    mut sender: SendRequest<Bytes>,
    size: usize,
    shared: Arc<Shared>,
) -> anyhow::Result<Vec<u32>> {
    let mut times = Vec::new();
    while shared.goes_on() {
        let begun = Instant::now();
        sender = sender.ready().await?;
        let number = shared.number();
        match kind {
            Kind::Grpc => call(&mut sender, number).await?,
            _ => get(&mut sender, size, number).await?,
        }
        shared.answered(begun, &mut times);
    }
    Ok(times)
}

async fn get(sender: &mut SendRequest<Bytes>, size: usize, number: u64) -> anyhow::Result<()> {
    let request = Request::get(format!("http://app/{size}/{number}")).body(())?;
    let (response, _) = sender.send_request(request, true)?;
    let response = response.await?;
    ensure!(response.status() == 200, "{}", response.status());
    let told = response.headers().get("x-number").context("no number")?;
    ensure!(
        told.to_str()? == number.to_string(),
        "another request's answer"
    );
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        length += chunk.len();
    }
    ensure!(length == size, "{length} bytes of {size}");
    Ok(())
}

/// A unary call; its number is in the message, which comes back.
async fn call(sender: &mut SendRequest<Bytes>, number: u64) -> anyhow::Result<()> {
    let request = Request::post("http://app/bench.Echo/Call")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let mut message = FRAME.to_vec();
    message.extend_from_slice(&number.to_le_bytes());
    message.resize(MESSAGE, 0);
    let message = Bytes::from(message);
    let (response, mut send) = sender.send_request(request, false)?;
    send.send_data(message.clone(), true)?;
    let response = response.await?;
    ensure!(response.status() == 200, "{}", response.status());
    let mut body = response.into_body();
    let mut back = Vec::with_capacity(MESSAGE);
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        back.extend_from_slice(&chunk);
    }
    ensure!(back == message, "another message came back");
    let trailers = body.trailers().await?.context("no trailers")?;
    ensure!(
        trailers
            .get("grpc-status")
            .is_some_and(|status| status == "0"),
        "{trailers:?}"
    );
    Ok(())
}
