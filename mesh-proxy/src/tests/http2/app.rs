//! A scripted app that speaks HTTP/2 on a thread of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ::h2::server::{self, SendResponse};
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

/// What it does with requests.
#[derive(Clone, Copy)]
pub(super) enum Behaviour {
    /// Sends back the content and the trailers, with `x-status: 0`, and says what it saw.
    Echo,
    /// Announces 100 bytes, sends 10, and resets as if all had been said.
    Truncate,
    /// Sends content with a status that has none: another response, to whom it is passed on.
    Uninvited,
    /// Announces no content, and sends trailers.
    OnlyTrailers,
    /// Never answers.
    Silent,
    /// Sends a head and half an answer; resets once the request ends.
    BreakOff,
    /// Echoes; each connection leaves (GOAWAY) after so many requests, and processes no more.
    LeaveAfter(usize),
    /// Echoes; every other stream is refused.
    RefuseEveryOther,
}

/// The app; ends with the test's process.
pub(super) struct App {
    pub(super) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    seen: watch::Receiver<(usize, Option<Reason>)>,
}

impl App {
    pub(super) fn start(behaviour: Behaviour) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<AtomicUsize>::default();
        let (tell, seen) = watch::channel((0, None));
        let count = Arc::clone(&requests);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            LocalSet::new().block_on(&runtime, async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let mut tasks = JoinSet::new();
                while let Ok((socket, _)) = listener.accept().await {
                    tasks.spawn_local(serve(socket, behaviour, Arc::clone(&count), tell.clone()));
                }
            });
        });
        Self {
            address,
            requests,
            seen,
        }
    }

    /// Requests taken.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Waits until so many requests were taken.
    pub(super) async fn await_requests(&self, count: usize) {
        let mut seen = self.seen.clone();
        seen.wait_for(|(requests, _)| *requests >= count)
            .await
            .unwrap();
    }

    /// Waits for a reset of a request, and tells its code.
    pub(super) async fn reset(&self) -> Reason {
        let mut seen = self.seen.clone();
        let reset = seen.wait_for(|(_, reset)| reset.is_some()).await.unwrap();
        reset.1.unwrap()
    }
}

type Tell = watch::Sender<(usize, Option<Reason>)>;

async fn serve(socket: TcpStream, behaviour: Behaviour, requests: Arc<AtomicUsize>, tell: Tell) {
    let mut connection = server::handshake(socket).await.unwrap();
    let mut streams = JoinSet::new();
    let mut taken = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        taken += 1;
        match behaviour {
            Behaviour::RefuseEveryOther if taken % 2 == 1 => {
                respond.send_reset(Reason::REFUSED_STREAM);
                continue;
            }
            Behaviour::LeaveAfter(limit) if taken == limit => connection.graceful_shutdown(),
            _ => {}
        }
        let count = requests.fetch_add(1, Ordering::Relaxed) + 1;
        tell.send_modify(|seen| seen.0 = count);
        match behaviour {
            Behaviour::Silent => {
                let tell = tell.clone();
                streams.spawn_local(async move {
                    let reset = std::future::poll_fn(|task| respond.poll_reset(task)).await;
                    tell.send_modify(|seen| seen.1 = reset.ok());
                });
            }
            Behaviour::Truncate => {
                let head = Response::builder().header("content-length", "100");
                let head = head.body(()).unwrap();
                let mut send = respond.send_response(head, false).unwrap();
                send.send_data(Bytes::from_static(b"0123456789"), false)
                    .unwrap();
                streams.spawn_local(async move {
                    // Once the bytes are on their way: a reset takes back what is queued.
                    while send.capacity() < 65_535 - 10 {
                        send.reserve_capacity(65_535);
                        tokio::task::yield_now().await;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    send.send_reset(Reason::NO_ERROR);
                });
            }
            Behaviour::Uninvited => {
                let head = Response::builder().status(204).body(()).unwrap();
                let mut send = respond.send_response(head, false).unwrap();
                let forged = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
                send.send_data(Bytes::from_static(forged), true).unwrap();
            }
            Behaviour::OnlyTrailers => {
                let head = Response::builder().header("content-length", "0");
                let head = head.body(()).unwrap();
                let mut send = respond.send_response(head, false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("x-status", "0".parse().unwrap());
                send.send_trailers(trailers).unwrap();
            }
            Behaviour::BreakOff => {
                let mut send = respond.send_response(Response::new(()), false).unwrap();
                send.send_data(Bytes::from_static(b"half"), false).unwrap();
                let mut body = request.into_body();
                streams.spawn_local(async move {
                    while body.data().await.is_some() {}
                    send.send_reset(Reason::ENHANCE_YOUR_CALM);
                });
            }
            _ => {
                streams.spawn_local(echo(request, respond));
            }
        }
    }
    while streams.join_next().await.is_some() {}
}

async fn echo(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (head, mut body) = request.into_parts();
    let mut content = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        content.extend_from_slice(&data);
    }
    let received = body
        .trailers()
        .await
        .unwrap_or_default()
        .unwrap_or_default();
    let mut response = Response::builder();
    for (name, value) in [
        (
            "x-path",
            head.uri.path_and_query().map(PathAndQuery::as_str),
        ),
        ("x-authority", head.uri.authority().map(Authority::as_str)),
        (
            "x-cookie",
            head.headers.get("cookie").and_then(|v| v.to_str().ok()),
        ),
        ("x-te", head.headers.get("te").and_then(|v| v.to_str().ok())),
    ] {
        response = response.header(name, value.unwrap_or("none"));
    }
    let Ok(mut send) = respond.send_response(response.body(()).unwrap(), false) else {
        return;
    };
    send.send_data(content.into(), false).unwrap_or_default();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-status", "0".parse().unwrap());
    trailers.extend(received);
    send.send_trailers(trailers).unwrap_or_default();
}
