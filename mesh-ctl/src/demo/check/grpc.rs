//! gRPC through two sidecars: each kind of call with its trailers, deadlines, cancels.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

use super::Figure;
use crate::demo::mesh::Mesh;
use crate::demo::pricing::generated::{QuoteRequest, SeenRequest, WatchRequest};
use crate::demo::pricing::{Connection, Stubs};

/// Calls of one question and one answer.
const UNARY: u64 = 200;
/// Messages of each stream.
const MESSAGES: u32 = 100;
/// Calls with a deadline, and calls given up.
const ENDED: u64 = 20;
/// Longest wait for what must happen at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// One call of each kind, and the trailers that end it.
pub(super) async fn kinds(mesh: &Mesh) -> Figure {
    let connection = Connection::open(mesh.outbound("pricing")?).await?;
    let mut client = connection.client();
    for item in 0..UNARY {
        let answer = client.quote(quote(item, 0)).await?;
        ensure!(answer.get_ref().item == item, "another call's answer");
    }
    let count = watch(&mut client).await.context("server streaming")?;
    total(&mut client).await.context("client streaming")?;
    let rounds = haggle(&mut client).await.context("both streaming")?;
    Ok(format!(
        "{UNARY} of {UNARY} unary; {count} of {MESSAGES} streamed down, {MESSAGES} of {MESSAGES} streamed up, \
         {rounds} of {MESSAGES} in turns, each stream with its trailers"
    ))
}

async fn watch(client: &mut Stubs) -> anyhow::Result<u32> {
    let request = WatchRequest {
        item: 7,
        count: MESSAGES,
    };
    let mut answers = client.watch(request).await?.into_inner();
    let mut count = 0;
    while let Some(answer) = answers.message().await? {
        ensure!(answer.item == 7 + u64::from(count), "out of order");
        count += 1;
    }
    ensure!(count == MESSAGES, "{count} of {MESSAGES} messages");
    trailer(answers).await?;
    Ok(count)
}

async fn total(client: &mut Stubs) -> anyhow::Result<()> {
    let questions = (0..MESSAGES).map(|item| quote(item.into(), 0));
    let answer = client.total(tokio_stream::iter(questions)).await?;
    let items = answer.get_ref().items;
    ensure!(items == u64::from(MESSAGES), "{items} arrived");
    Ok(())
}

/// Each question waits for the answer before it: neither direction may be held back.
async fn haggle(client: &mut Stubs) -> anyhow::Result<u32> {
    let (ask, questions) = mpsc::channel(1);
    ask.send(quote(0, 0)).await?;
    let mut answers = client
        .haggle(ReceiverStream::new(questions))
        .await?
        .into_inner();
    for round in 0..MESSAGES {
        let answer = timeout(PATIENCE, answers.message()).await??;
        let answer = answer.context("the stream ended early")?;
        ensure!(answer.item == u64::from(round), "out of turn");
        if round + 1 < MESSAGES {
            ask.send(quote(u64::from(round) + 1, 0)).await?;
        }
    }
    drop(ask);
    ensure!(answers.message().await?.is_none(), "one message too many");
    trailer(answers).await?;
    Ok(MESSAGES)
}

/// The app's own trailer, which says how many messages there were.
async fn trailer<T>(mut answers: tonic::Streaming<T>) -> anyhow::Result<()> {
    let trailers = answers.trailers().await?.context("no trailers")?;
    let count = trailers.get("x-count").context("no trailer x-count")?;
    let expected = MESSAGES.to_string();
    ensure!(count.as_bytes() == expected.as_bytes(), "x-count {count:?}");
    Ok(())
}

/// The app sees the time that is left, and a call that runs out of it ends with `DEADLINE_EXCEEDED`.
pub(super) async fn deadline(mesh: &Mesh) -> Figure {
    let connection = Connection::open(mesh.outbound("pricing")?).await?;
    let mut client = connection.client();
    let mut request = Request::new(quote(1, 0));
    request.set_timeout(Duration::from_secs(5));
    let left = client.quote(request).await?.get_ref().deadline_ms;
    ensure!((1..=5000).contains(&left), "the app saw {left} ms of 5 s");
    let mut slowest = Duration::ZERO;
    for item in 0..ENDED {
        let mut request = Request::new(quote(item, 10_000));
        request.set_timeout(Duration::from_millis(100));
        let started = Instant::now();
        let answer = timeout(PATIENCE, client.quote(request)).await;
        let ended = answer.context("no end in time")?.err();
        let ended = ended.context("answered after its deadline")?;
        ensure!(ended.code() == Code::DeadlineExceeded, "{ended}");
        slowest = slowest.max(started.elapsed());
    }
    Ok(format!(
        "the app saw {left} ms of 5 s left; {ENDED} of {ENDED} calls ended with DEADLINE_EXCEEDED, the \
         slowest {slowest:.0?} after it was made with 100 ms"
    ))
}

/// The app sees that a caller gave up.
pub(super) async fn cancel(mesh: &Mesh) -> Figure {
    let address = mesh.outbound("pricing")?;
    let connection = Connection::open(address).await?;
    let before = cancelled(address).await?;
    for item in 0..ENDED {
        let mut client = connection.client();
        let call = client.quote(quote(item, 30_000));
        ensure!(
            timeout(Duration::from_millis(50), call).await.is_err(),
            "answered at once"
        );
    }
    let given_up = Instant::now();
    loop {
        let seen = cancelled(address).await? - before;
        if seen == ENDED {
            break;
        }
        ensure!(
            given_up.elapsed() < PATIENCE,
            "the app saw {seen} of {ENDED} cancels"
        );
        sleep(Duration::from_millis(10)).await;
    }
    // The connection lives on.
    connection.client().quote(quote(1, 0)).await?;
    Ok(format!(
        "the app saw {ENDED} of {ENDED} cancels, the last within {:.0?}",
        given_up.elapsed()
    ))
}

async fn cancelled(address: SocketAddr) -> anyhow::Result<u64> {
    let connection = Connection::open(address).await?;
    let seen = connection.client().seen(SeenRequest {}).await?;
    Ok(seen.get_ref().cancelled)
}

/// A question whose answer takes a while.
pub(super) fn quote(item: u64, delay_ms: u32) -> QuoteRequest {
    QuoteRequest { item, delay_ms }
}
