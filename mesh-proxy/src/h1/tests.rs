use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::cases::{Case, Expect, requests, responses};
use super::*;
use crate::filter::{RequestChanges, ResponseChanges, write_reply, write_request, write_response};

/// A peer that sends pieces, one per read, then closes; it keeps what it is sent.
struct Script {
    pieces: std::collections::VecDeque<Bytes>,
    written: Vec<u8>,
}

impl Script {
    fn new(bytes: &[u8], step: usize) -> Self {
        let pieces = bytes
            .chunks(step.max(1))
            .map(Bytes::copy_from_slice)
            .collect();
        Self {
            pieces,
            written: Vec::new(),
        }
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.pieces.pop_front() {
            let now = piece.split_to(piece.len().min(buf.remaining()));
            buf.put_slice(&now);
            if !piece.is_empty() {
                self.pieces.push_front(piece);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Fill for Script {}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Clone, Copy)]
enum Side {
    Request,
    Response,
}

/// Everything that was read, as text: splits must not change it.
fn read_all(bytes: &[u8], step: usize, side: Side) -> (Expect, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut connection = Connection::new(Script::new(bytes, step));
        let head = match side {
            Side::Request => connection
                .read_request()
                .await
                .map(|head| head.map(|head| (head.framing(), format!("{:?}", &head.bytes)))),
            Side::Response => connection
                .read_response("GET")
                .await
                .map(|head| Some((head.framing(), format!("{:?}", &head.bytes))))
                .map_err(|error| error.fault),
        };
        let (framing, text) = match head {
            Ok(Some(head)) => head,
            Ok(None) => return (Expect::Pass(0), "closed".to_owned()),
            Err(fault) => {
                assert!(!connection.is_clean());
                let status = fault.refusal().map_or(0, Refusal::status);
                let status = if matches!(side, Side::Response) {
                    502
                } else {
                    status
                };
                return (Expect::RefuseHead(status), format!("{fault:?}"));
            }
        };
        let (mut body, mut content, mut trailers) = (Body::new(framing), Vec::new(), Vec::new());
        loop {
            match connection.read_body(&mut body).await {
                Ok(Some(BodyPart::Data(data))) => content.extend_from_slice(&data),
                Ok(Some(BodyPart::Trailers(lines))) => trailers.extend_from_slice(&lines),
                Ok(None) => break,
                Err(fault) => {
                    assert!(body.is_failed() && !body.is_done() && !connection.is_clean());
                    return (Expect::RefuseBody, format!("{text} {fault:?}"));
                }
            }
        }
        assert!(body.is_done());
        (
            Expect::Pass(content.len()),
            format!("{text} {content:?} {trailers:?}"),
        )
    })
}

fn check(cases: &[Case], side: Side) {
    for case in cases {
        let whole = read_all(&case.bytes, usize::MAX, side);
        assert_eq!(
            whole.0,
            case.expect,
            "{}: {}",
            case.name,
            whole.1.get(..200).unwrap_or(&whole.1)
        );
        for step in [1, 2, 7] {
            assert_eq!(
                whole,
                read_all(&case.bytes, step, side),
                "{} by {step}",
                case.name
            );
        }
    }
}

#[test]
fn requests_are_refused_or_pass_however_they_are_split() {
    let cases = requests();
    let pass = cases
        .iter()
        .filter(|case| matches!(case.expect, Expect::Pass(_)))
        .count();
    assert!(
        pass >= 20 && cases.len() - pass >= 60,
        "{pass} of {}",
        cases.len()
    );
    check(&cases, Side::Request);
}

#[test]
fn responses_are_refused_or_pass_however_they_are_split() {
    check(&responses(), Side::Response);
}

proptest! {
    #[test]
    fn mutated_messages_read_the_same_in_any_split(
        index in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"\r\n \t:;,0aG\0\xff".to_vec()),
        step in 1_usize..9,
    ) {
        let cases = requests();
        let mut bytes = index.get(&cases).bytes.clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for side in [Side::Request, Side::Response] {
            prop_assert_eq!(read_all(&bytes, usize::MAX, side), read_all(&bytes, step, side));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1_usize..9) {
        read_all(&bytes, step, Side::Request);
        read_all(&bytes, step, Side::Response);
        let content = [&b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"[..], &bytes].concat();
        prop_assert_eq!(read_all(&content, usize::MAX, Side::Request), read_all(&content, step, Side::Request));
    }
}

#[tokio::test]
async fn pipelined_requests_stay_buffered_and_end_clean() {
    let text = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabGET /2 HTTP/1.0\r\n\r\n";
    let mut connection = Connection::new(Script::new(text, usize::MAX));
    assert!(poll_fn(|cx| connection.poll_readable(cx)).await.unwrap());
    let first = connection.read_request().await.unwrap().unwrap();
    assert_eq!(
        (first.target(), first.keep_alive(), first.authority()),
        ("/1", true, "a")
    );
    assert!(!connection.is_clean());
    let mut body = Body::new(first.framing());
    let part = connection.read_body(&mut body).await.unwrap();
    assert_eq!(part, Some(BodyPart::Data(Bytes::from_static(b"ab"))));
    assert_eq!(connection.read_body(&mut body).await.unwrap(), None);
    assert_eq!(connection.buffered(), b"GET /2 HTTP/1.0\r\n\r\n".len());
    let second = connection.read_request().await.unwrap().unwrap();
    assert_eq!((second.target(), second.keep_alive()), ("/2", false));
    assert!(connection.is_clean());
    assert!(connection.read_request().await.unwrap().is_none());
}

#[tokio::test]
async fn an_idle_connection_tells_when_it_is_unusable() {
    let (ours, mut peer) = tokio::io::duplex(64);
    let mut connection = Connection::new(ours);
    let idle = poll_fn(|cx| Poll::Ready(connection.poll_idle(cx))).await;
    assert!(idle.is_pending() && connection.is_clean());
    peer.write_all(b"HTTP/1.1 408 x\r\n\r\n").await.unwrap();
    poll_fn(|cx| connection.poll_idle(cx)).await;
    assert!(!connection.is_clean());
    drop(peer);
    let mut closed = Connection::new(Script::new(b"", 1));
    let fault = closed.read_response("GET").await.unwrap_err();
    assert!(!fault.started);
}

#[tokio::test]
async fn content_is_written_in_the_outgoing_framing() {
    let (ours, mut peer) = tokio::io::duplex(1 << 20);
    let mut connection = Connection::new(ours);
    let data = |len: usize| BodyPart::Data(Bytes::from(vec![b'x'; len]));
    connection.queue(b"head\r\n");
    connection.queue_data(data(17), Framing::Chunked);
    connection.queue_data(data(5_000), Framing::Chunked);
    connection.queue_data(
        BodyPart::Trailers(Bytes::from_static(b"t: 1\r\n")),
        Framing::Chunked,
    );
    connection.queue_end(Framing::Chunked);
    connection.queue_end(Framing::Chunked);
    connection.queue_data(data(3), Framing::Length(3));
    connection.queue_end(Framing::Length(3));
    assert!(!connection.is_clean() && !connection.needs_flush());
    connection.queue_data(data(64 * 1024), Framing::UntilClose);
    assert!(connection.needs_flush());
    connection.flush().await.unwrap();
    assert!(connection.is_clean());
    connection.shutdown().await.unwrap();
    let mut read = Vec::new();
    peer.read_to_end(&mut read).await.unwrap();
    let expected = format!(
        "head\r\n11\r\n{}\r\n1388\r\n{}\r\n0\r\nt: 1\r\n\r\n0\r\n\r\nxxx{}",
        "x".repeat(17),
        "x".repeat(5_000),
        "x".repeat(64 * 1024),
    );
    assert!(
        read == expected.as_bytes(),
        "{}",
        String::from_utf8_lossy(&read[..100])
    );
}

async fn request(text: &str) -> RequestHead {
    let mut connection = Connection::new(Script::new(text.as_bytes(), usize::MAX));
    connection.read_request().await.unwrap().unwrap()
}

#[tokio::test]
async fn heads_are_written_anew_only_where_they_must() {
    use mesh_api::model::route::HeaderChanges;
    let head = request(
        "GET http://a/b HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-two:2 \r\nConnection: x-hop, upgrade\r\n\
         X-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip, trailers\r\nUpgrade: websocket\r\nx-one: 3\r\n\
         mesh-error: x\r\nTrailer: t\r\nContent-Length: 2\r\n\r\n",
    )
    .await;
    assert_eq!(
        (head.path_and_query(), head.upgrade()),
        ("/b", Some(&b"websocket"[..]))
    );
    let none = HeaderChanges::default();
    let plain = RequestChanges {
        target: "/c",
        host: "b",
        changes: [&none, &none],
        framing: Framing::Length(2),
        append: &[("x-mesh", "1")],
        strip: &["mesh-error"],
    };
    let mut out = BytesMut::new();
    write_request(&head, &plain, &mut out);
    assert_eq!(
        out,
        "GET /c HTTP/1.1\r\nhost: b\r\nX-One: 1\r\nx-two: 2\r\nx-one: 3\r\nTrailer: t\r\n\
         te: trailers\r\nconnection: te\r\ncontent-length: 2\r\nx-mesh: 1\r\n\r\n"
    );
    let pair = |name: &str, value: &str| (name.parse().unwrap(), value.parse().unwrap());
    let rule = HeaderChanges {
        set: vec![pair("x-one", "9"), pair("x-new", "8"), pair("host", "evil")],
        add: vec![pair("x-two", "7")],
        remove: vec!["trailer".parse().unwrap()],
    };
    let backend = HeaderChanges {
        set: vec![pair("x-new", "6")],
        ..HeaderChanges::default()
    };
    out.clear();
    let changed = RequestChanges {
        changes: [&rule, &backend],
        framing: Framing::Chunked,
        append: &[],
        ..plain
    };
    write_request(&head, &changed, &mut out);
    assert_eq!(
        out,
        "GET /c HTTP/1.1\r\nhost: b\r\nX-One: 9\r\nx-two: 2\r\nx-new: 6\r\nx-two: 7\r\n\
         te: trailers\r\nconnection: te\r\ntransfer-encoding: chunked\r\n\r\n"
    );
}

#[tokio::test]
async fn responses_keep_the_length_that_head_asks_for() {
    let none = mesh_api::model::route::HeaderChanges::default();
    for (method, text, framing, expected) in [
        (
            "HEAD",
            "HTTP/1.0 200\r\nContent-Length: 5\r\nServer: x\r\n\r\n",
            Framing::Empty,
            "HTTP/1.1 200 \r\nServer: x\r\ncontent-length: 5\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n",
            Framing::Empty,
            "HTTP/1.1 204 None\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
            Framing::UntilClose,
            "HTTP/1.1 200 OK\r\n\r\n",
        ),
        (
            "CONNECT",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Framing::UntilClose,
            "HTTP/1.1 200 OK\r\n\r\n",
        ),
    ] {
        let mut connection = Connection::new(Script::new(text.as_bytes(), 3));
        let head = connection.read_response(method).await.unwrap();
        assert_eq!(head.framing(), framing, "{text}");
        let changes = ResponseChanges {
            changes: [&none, &none],
            framing,
            append: &[],
            strip: &[],
        };
        let mut out = BytesMut::new();
        write_response(&head, &changes, &mut out);
        assert_eq!(out, expected);
    }
    let mut out = BytesMut::new();
    write_reply(503, &[("mesh-error", "origin=proxy")], b"no\n", &mut out);
    assert_eq!(
        out,
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\nmesh-error: origin=proxy\r\n\r\nno\n"
    );
}
