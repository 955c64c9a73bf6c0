//! HTTP/2 through two sidecars: content, trailers, translation, resets, GOAWAY and floods.

mod app;
mod flood;

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::h2::{Reason, client};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::net::TcpStream;

use self::app::{App, Behaviour};
use super::harness::Mesh;

const LIMIT: Duration = Duration::from_secs(20);

/// A response, read to its end.
struct Answer {
    head: Response<()>,
    content: Vec<u8>,
    trailers: HeaderMap,
}

/// Runs `test` on a runtime of its own, within [`LIMIT`].
fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await.unwrap() })
}

async fn connect(mesh: &Mesh) -> (client::SendRequest<Bytes>, tokio::task::JoinSet<()>) {
    let socket = TcpStream::connect(mesh.outbound).await.unwrap();
    let (sender, connection) = client::handshake(socket).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    (sender.ready().await.unwrap(), tasks)
}

fn request(path: &str) -> Request<()> {
    let request = Request::post(format!("http://catalog{path}"));
    request.header("te", "trailers").body(()).unwrap()
}

async fn ask(
    sender: &client::SendRequest<Bytes>,
    request: Request<()>,
    content: &'static [u8],
) -> Result<Answer, ::h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (response, mut send) = sender.send_request(request, content.is_empty())?;
    if !content.is_empty() {
        send.send_data(Bytes::from_static(content), false)?;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "1".parse().unwrap());
        send.send_trailers(trailers)?;
    }
    let (head, mut body) = response.await?.into_parts();
    let mut read = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        read.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(Answer {
        head: Response::from_parts(head, ()),
        content: read,
        trailers,
    })
}

#[test]
fn content_and_trailers_cross_two_sidecars_both_ways() {
    let app = App::start(Behaviour::Echo);
    let mesh = Mesh::start_speaking(&[app.address], "appProtocol: kubernetes.io/h2c", "");
    run(async {
        let (sender, _tasks) = connect(&mesh).await;
        let mut asked = request("/a/../echo?x=1");
        for cookie in ["a=1", "b=2"] {
            asked
                .headers_mut()
                .append("cookie", cookie.parse().unwrap());
        }
        let answer = ask(&sender, asked, b"content").await.unwrap();
        assert_eq!(answer.head.status(), StatusCode::OK);
        assert_eq!(answer.content, b"content");
        assert_eq!(answer.trailers["x-status"], "0");
        // What the app saw, as it tells.
        assert_eq!(answer.head.headers()["x-path"], "/echo?x=1");
        assert_eq!(answer.head.headers()["x-authority"], "catalog");
        assert_eq!(answer.head.headers()["x-cookie"], "a=1; b=2");
        assert_eq!(answer.head.headers()["x-te"], "trailers");
        assert_eq!(answer.trailers["x-checksum"], "1");
    });
}

/// An app of HTTP/1.1 that answers one request once it has read all of it, and tells what it read.
fn old_app() -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        for mut stream in listener.incoming().flatten() {
            let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
            while !read.ends_with(b"x-checksum: 1\r\n\r\n") {
                let count = stream.read(&mut buffer).unwrap_or_default();
                if count == 0 {
                    break;
                }
                read.extend_from_slice(&buffer[..count]);
            }
            if !read.is_empty() {
                let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nold\r\n0\r\nx-end: 1\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
                return String::from_utf8(read).unwrap();
            }
        }
        String::new()
    };
    (address, thread::spawn(serve))
}

#[test]
fn a_client_of_either_version_reaches_an_app_of_the_other() {
    let (old, received) = old_app();
    let mesh = Mesh::start(&[old], "");
    run(async {
        let (sender, _tasks) = connect(&mesh).await;
        let answer = ask(&sender, request("/"), b"content").await.unwrap();
        assert_eq!(answer.content, b"old");
        assert_eq!(answer.trailers["x-end"], "1");
        assert!(!answer.head.headers().contains_key("transfer-encoding"));
    });
    let received = received.join().unwrap();
    assert!(
        received.starts_with("POST / HTTP/1.1\r\nhost: catalog\r\n"),
        "{received}"
    );
    assert!(
        received.ends_with("7\r\ncontent\r\n0\r\nx-checksum: 1\r\n\r\n"),
        "{received}"
    );

    let new = App::start(Behaviour::Echo);
    let mesh = Mesh::start_speaking(&[new.address], "appProtocol: grpc", "");
    let answer = mesh.ask(
        "POST /echo HTTP/1.1\r\nhost: catalog\r\ncontent-length: 2\r\nte: trailers\r\nconnection: close, te\r\n\r\nhi",
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.ends_with("2\r\nhi\r\n0\r\nx-status: 0\r\n\r\n"),
        "{answer}"
    );
}

#[test]
fn a_cancelled_request_is_cancelled_at_the_app() {
    let app = App::start(Behaviour::Silent);
    let mesh = Mesh::start_speaking(&[app.address], "appProtocol: http2", "");
    run(async {
        let (sender, _tasks) = connect(&mesh).await;
        let mut sender = sender.ready().await.unwrap();
        let (response, mut send) = sender.send_request(request("/"), true).unwrap();
        app.await_requests(1).await;
        send.send_reset(Reason::CANCEL);
        drop(response);
        assert_eq!(app.reset().await, Reason::CANCEL);
    });
}

#[test]
fn a_response_that_breaks_off_is_reset_with_the_same_code() {
    let app = App::start(Behaviour::BreakOff);
    let mesh = Mesh::start_speaking(&[app.address], "appProtocol: http2", "");
    run(async {
        let (sender, _tasks) = connect(&mesh).await;
        let mut sender = sender.ready().await.unwrap();
        let (response, mut send) = sender.send_request(request("/"), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "half");
        send.send_data(Bytes::new(), true).unwrap();
        let error = body.data().await.unwrap().unwrap_err();
        assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM), "{error}");
    });
}

#[test]
fn what_an_app_did_not_announce_or_finish_is_no_whole_response() {
    let get = "GET / HTTP/1.1\r\nhost: catalog\r\n\r\n";
    let app = App::start(Behaviour::Truncate);
    let mesh = Mesh::start_speaking(&[app.address], "appProtocol: http2", "");
    let mut stream = mesh.dial();
    stream.write_all(get.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(ended.is_err(), "a reset, not an end: {answer}");
    assert!(
        !answer.contains("\r\n\r\n") || answer.contains("content-length: 100"),
        "{answer}"
    );

    let app = App::start(Behaviour::Uninvited);
    let mesh = Mesh::start_speaking(&[app.address], "appProtocol: http2", "");
    let mut stream = mesh.dial();
    stream.write_all(get.as_bytes()).unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(!answer.contains("forged"), "{answer}");
}

#[test]
fn trailers_come_through_behind_content_that_is_empty() {
    let app = App::start(Behaviour::OnlyTrailers);
    let mesh = Mesh::start_speaking(&[app.address], "appProtocol: grpc", "");
    run(async {
        let (sender, _tasks) = connect(&mesh).await;
        let answer = ask(&sender, request("/"), b"").await.unwrap();
        assert_eq!(answer.trailers["x-status"], "0");
    });
}

#[test]
fn requests_that_a_leaving_connection_did_not_process_are_sent_again() {
    let app = App::start(Behaviour::LeaveAfter(7));
    let mesh = Mesh::start_speaking(&[app.address], "appProtocol: http2", "");
    run(async {
        let (sender, _tasks) = connect(&mesh).await;
        let mut asked = Vec::new();
        for _ in 0..20 {
            let batch = (0..20).map(|_| ask(&sender, request("/echo"), b"x"));
            for answer in futures(batch).await {
                asked.push(answer.unwrap().head.status());
            }
        }
        assert!(
            asked.iter().all(|status| *status == StatusCode::OK),
            "{asked:?}"
        );
        assert_eq!(
            (asked.len(), app.requests()),
            (400, 400),
            "none is sent twice"
        );
    });
}

#[test]
fn a_refused_stream_is_tried_again() {
    let app = App::start(Behaviour::RefuseEveryOther);
    let mesh = Mesh::start_speaking(&[app.address], "appProtocol: http2", "");
    run(async {
        let (sender, _tasks) = connect(&mesh).await;
        for _ in 0..10 {
            let answer = ask(&sender, request("/echo"), b"x").await.unwrap();
            assert_eq!(answer.head.status(), StatusCode::OK);
        }
    });
}

#[test]
fn a_request_that_no_rule_of_http_allows_is_refused_with_words() {
    let app = App::start(Behaviour::Echo);
    let mesh = Mesh::start_speaking(&[app.address], "appProtocol: http2", "");
    run(async {
        let (sender, _tasks) = connect(&mesh).await;
        let mut wrong = request("/");
        wrong.headers_mut().insert("host", "other".parse().unwrap());
        let answer = ask(&sender, wrong, b"").await.unwrap();
        assert_eq!(answer.head.status(), StatusCode::BAD_REQUEST);
        let said = answer.head.headers()["mesh-error"].to_str().unwrap();
        assert!(said.starts_with("origin=outbound; reason="), "{said}");
        let answer = ask(&sender, request("/../.."), b"").await.unwrap();
        assert_eq!(answer.head.status(), StatusCode::BAD_REQUEST);
        assert_eq!(app.requests(), 0);
    });
}

#[test]
fn content_that_comes_after_the_answer_is_taken_within_a_bound() {
    let app = App::start(Behaviour::Echo);
    let mesh = Mesh::start_speaking(&[app.address], "appProtocol: http2", "");
    run(async {
        let (sender, _tasks) = connect(&mesh).await;
        for (parts, reset) in [(3, None), (70, Some(::h2::Reason::NO_ERROR))] {
            let mut sender = sender.clone().ready().await.unwrap();
            let (response, mut send) = sender.send_request(request("/../.."), false).unwrap();
            let answer = response.await.unwrap();
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
            for part in 0..parts {
                let content = Bytes::from_static(&[0; 1024]);
                // Only content within the bound ends; what was reset takes no more.
                drop(send.send_data(content, part + 1 == parts && reset.is_none()));
                tokio::task::yield_now().await;
            }
            let seen = tokio::time::timeout(
                Duration::from_secs(1),
                poll_fn(|task| send.poll_reset(task)),
            );
            assert_eq!(seen.await.ok().map(Result::unwrap), reset, "{parts}");
        }
        let (mut sender, _tasks) = connect(&mesh).await;
        let (response, mut send) = sender.send_request(request("/../.."), false).unwrap();
        response.await.unwrap();
        // Nothing more comes, and no end.
        let seen = poll_fn(|task| send.poll_reset(task)).await;
        assert_eq!(seen.unwrap(), ::h2::Reason::NO_ERROR);
    });
}

/// Waits for all, side by side.
async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = all.map(Box::pin).map(Some).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    poll_fn(|task| {
        for (waiting, done) in waiting.iter_mut().zip(&mut done) {
            if let Some(future) = waiting
                && let std::task::Poll::Ready(output) = future.as_mut().poll(task)
            {
                *done = Some(output);
                *waiting = None;
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}
