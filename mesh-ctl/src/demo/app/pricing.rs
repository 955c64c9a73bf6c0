//! `pricing`: a gRPC server with a call of each kind.
//!
//! It enforces no deadline: what ends a call in time is the mesh or the caller.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};
use tower_service::Service as _;

use super::Listen;
use super::serve::accept;
use crate::demo::pricing::generated::pricing_server::{Pricing, PricingServer};
use crate::demo::pricing::generated::{
    QuoteReply, QuoteRequest, SeenReply, SeenRequest, TotalReply, WatchRequest,
};

/// Most answers to one question.
const MAX_COUNT: u32 = 100_000;
/// Longest that an answer is held back, in milliseconds.
const MAX_DELAY: u32 = 60_000;

/// `meshctl demo-app pricing`.
#[derive(Clone, Debug, Args)]
pub(super) struct Settings {
    #[command(flatten)]
    listen: Listen,
}

#[derive(Clone, Debug, Default)]
struct Prices {
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    cancelled: AtomicU64,
    at_once: AtomicU64,
    most: AtomicU64,
}

/// A call that takes its time; dropped before its answer, it was given up.
struct InHand {
    seen: Arc<Seen>,
    is_answered: bool,
}

type Answers = Pin<Box<dyn Stream<Item = Result<QuoteReply, Status>> + Send>>;

/// Serves the app.
pub(super) async fn run(settings: Settings) -> anyhow::Result<()> {
    let server = PricingServer::new(Prices::default());
    accept(settings.listen.address(), move |stream| {
        connection(stream, server.clone())
    })
    .await
}

async fn connection(stream: TcpStream, server: PricingServer<Prices>) {
    let service = service_fn(move |request| {
        let mut server = server.clone();
        async move { server.call(request).await }
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

#[tonic::async_trait]
impl Pricing for Prices {
    async fn quote(&self, request: Request<QuoteRequest>) -> Result<Response<QuoteReply>, Status> {
        let deadline_ms = deadline(&request);
        let question = request.into_inner();
        if question.delay_ms > 0 {
            let mut hand = InHand::new(&self.seen);
            let delay = question.delay_ms.min(MAX_DELAY);
            tokio::time::sleep(Duration::from_millis(delay.into())).await;
            hand.is_answered = true;
        }
        let mut answer = price(question.item);
        answer.deadline_ms = deadline_ms;
        Ok(Response::new(answer))
    }

    type WatchStream = Answers;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Answers>, Status> {
        let WatchRequest { item, count } = request.into_inner();
        let count = count.min(MAX_COUNT);
        let answers = (0..count).map(move |step| Ok(price(item + u64::from(step))));
        let end = std::iter::once(Err(counted(count.into())));
        Ok(Response::new(Box::pin(tokio_stream::iter(
            answers.chain(end),
        ))))
    }

    async fn total(
        &self,
        request: Request<Streaming<QuoteRequest>>,
    ) -> Result<Response<TotalReply>, Status> {
        let mut questions = request.into_inner();
        let mut total = TotalReply { items: 0, cents: 0 };
        while let Some(question) = questions.message().await? {
            total.items += 1;
            total.cents += price(question.item).cents;
        }
        Ok(Response::new(total))
    }

    type HaggleStream = Answers;

    async fn haggle(
        &self,
        request: Request<Streaming<QuoteRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let count = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&count);
        let answers = request.into_inner().map(move |question| {
            counting.fetch_add(1, Ordering::Relaxed);
            question.map(|question| price(question.item))
        });
        // Made when it is polled: after the last question.
        let end = tokio_stream::iter(std::iter::once_with(move || {
            Err(counted(count.load(Ordering::Relaxed)))
        }));
        Ok(Response::new(Box::pin(answers.chain(end))))
    }

    async fn seen(&self, _request: Request<SeenRequest>) -> Result<Response<SeenReply>, Status> {
        Ok(Response::new(SeenReply {
            cancelled: self.seen.cancelled.load(Ordering::Relaxed),
            most_at_once: self.seen.most.load(Ordering::Relaxed),
        }))
    }
}

impl InHand {
    fn new(seen: &Arc<Seen>) -> Self {
        let now = seen.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        seen.most.fetch_max(now, Ordering::Relaxed);
        Self {
            seen: Arc::clone(seen),
            is_answered: false,
        }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.seen.at_once.fetch_sub(1, Ordering::Relaxed);
        if !self.is_answered {
            self.seen.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn price(item: u64) -> QuoteReply {
    QuoteReply {
        item,
        cents: 100 + item % 900,
        deadline_ms: 0,
    }
}

/// The good end of a stream, with a trailer of its own.
fn counted(count: u64) -> Status {
    let mut end = Status::new(Code::Ok, "");
    end.metadata_mut().insert("x-count", count.into());
    end
}

/// What `grpc-timeout` says, in milliseconds.
fn deadline<T>(request: &Request<T>) -> u32 {
    let text = request.metadata().get("grpc-timeout");
    let text = text.and_then(|text| text.to_str().ok()).unwrap_or_default();
    let unit = text.chars().last().unwrap_or_default();
    let number: f64 = text
        .trim_end_matches(unit)
        .parse::<u32>()
        .unwrap_or_default()
        .into();
    let seconds = match unit {
        'H' => number * 3600.0,
        'M' => number * 60.0,
        'S' => number,
        'm' => number * 1e-3,
        'u' => number * 1e-6,
        _ => number * 1e-9,
    };
    let millis = Duration::from_secs_f64(seconds).as_millis();
    u32::try_from(millis).unwrap_or(u32::MAX)
}
