//! HTTP/1.1 through two sidecars: shapes, identity, retries and drain.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::harness::{App, Mesh};
use crate::identity::fixture::Authority;

const GET: &str = "GET /items HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n\r\n";

#[test]
fn a_request_crosses_two_sidecars() {
    let app = App::start(|_| {
        "HTTP/1.1 200 OK\r\nx-app: yes\r\nmesh-error: forged\r\ncontent-length: 2\r\n\r\nok".into()
    });
    let mesh = Mesh::start(&[app.address], "");
    let answer = mesh.ask(
        "GET /a/../items?x=1 HTTP/1.1\r\nHost: catalog\r\nTraceparent: 00-1-2-3\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nMesh-Error: forged\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nok") && answer.contains("x-app: yes\r\n"),
        "{answer}"
    );
    assert!(
        !answer.contains("forged"),
        "an app cannot speak for the mesh: {answer}"
    );
    let head = app.received();
    assert!(
        head.starts_with("GET /items?x=1 HTTP/1.1\r\nhost: catalog\r\n"),
        "{head}"
    );
    assert!(head.contains("Traceparent: 00-1-2-3\r\n"), "{head}");
    for absent in ["X-Hop", "forged", "Connection"] {
        assert!(!head.contains(absent), "{absent} in {head}");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let app = App::start(|head| {
        let target = head.split(' ').nth(1).unwrap_or_default();
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}",
            target.len()
        )
    });
    let mesh = Mesh::start(&[app.address], "");
    let mut stream = mesh.dial();
    let one = |n: usize| format!("GET /{n} HTTP/1.1\r\nhost: catalog\r\n\r\n");
    let batch: String = (0..20).map(one).collect();
    stream.write_all(batch.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    for n in 0..20 {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(
                reader.read_line(&mut head).unwrap(),
                0,
                "closed after {head}"
            );
        }
        let expected = format!("/{n}");
        let mut body = vec![0; expected.len()];
        reader.read_exact(&mut body).unwrap();
        assert_eq!(body, expected.as_bytes());
    }
}

#[test]
fn chunks_trailers_and_continue_pass_both_ways() {
    let app = App::start(|head| {
        let hint = if head.contains("100-continue") {
            "HTTP/1.1 100 Continue\r\n\r\n"
        } else {
            ""
        };
        format!(
            "{hint}HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"
        )
    });
    let mesh = Mesh::start(&[app.address], "");
    let answer = mesh.ask(
        "POST /echo HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-tail: t\r\n\r\n",
    );
    assert!(
        answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("transfer-encoding: chunked")
            && answer.ends_with("2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"),
        "{answer}"
    );
    let received = app.received();
    assert!(
        received.ends_with("3\r\nabc\r\n0\r\nx-tail: t\r\n\r\n"),
        "{received}"
    );
}

#[test]
fn head_and_old_clients_get_what_they_can_read() {
    let app = App::start(|head| match head.split(' ').next() {
        Some("HEAD") => "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n".into(),
        _ => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".into(),
    });
    let mesh = Mesh::start(&[app.address], "");
    let head = mesh.ask("HEAD / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n\r\n");
    assert!(
        head.contains("content-length: 1234\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let old = mesh.ask("GET / HTTP/1.0\r\nhost: catalog\r\n\r\n");
    assert!(
        !old.contains("chunked") && old.ends_with("\r\n\r\nok"),
        "{old}"
    );
}

#[test]
fn peers_of_another_authority_or_identity_are_refused() {
    let app = App::ok();
    let (ours, theirs) = (Authority::new(), Authority::new());
    let foreign = Mesh::start_with(&[app.address], "", &ours, &theirs, "catalog");
    let answer = foreign.ask(GET);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(foreign);
    let other = Mesh::start_with(&[app.address], "", &ours, &ours, "thief");
    let answer = other.ask(GET);
    assert!(
        answer.contains("mesh-error: origin=outbound; reason=wrong-identity"),
        "{answer}"
    );
    assert_eq!(app.received(), "");
}

#[test]
fn plaintext_is_refused_in_words() {
    let app = App::ok();
    let mesh = Mesh::start(&[app.address], "");
    let address = (mesh.servers[0].bootstrap.address, app.address.port());
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(GET.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("reason=tls-required"),
        "{answer}"
    );
    assert_eq!(app.received(), "");
}

#[test]
fn a_get_is_tried_elsewhere_and_a_post_is_not() {
    let count = Arc::new(AtomicUsize::new(0));
    let broken = {
        let count = Arc::clone(&count);
        App::start(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            String::new()
        })
    };
    let port = broken.address.port();
    let good = App::start_on(([127, 78, 0, 1], port).into(), |_| {
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into()
    });
    let in_turn = "
apiVersion: mesh.dev/v1alpha1
kind: TrafficPolicy
metadata: { name: in-turn, namespace: demo }
spec: { targetRefs: [{ kind: Service, name: catalog }], loadBalancing: { algorithm: RoundRobin } }
";
    let mesh = Mesh::start(&[broken.address, good.address], in_turn);
    for _ in 0..20 {
        let answer = mesh.ask(GET);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert!(
        count.load(Ordering::Relaxed) > 0,
        "the broken one was never tried"
    );
    let post =
        "POST / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
    let answers: Vec<String> = (0..20).map(|_| mesh.ask(post)).collect();
    let failed = answers
        .iter()
        .filter(|answer| answer.starts_with("HTTP/1.1 502 "))
        .count();
    let said = answers
        .iter()
        .filter(|answer| answer.contains("reason=reset"))
        .count();
    assert!(
        failed > 0 && failed == said,
        "{failed} failed, {said} said why"
    );
}

#[test]
fn an_absent_app_is_unsent_and_any_method_goes_elsewhere() {
    let good = App::ok();
    let absent = ([127, 78, 0, 2], good.address.port()).into();
    let mesh = Mesh::start(&[absent, good.address], "");
    let post =
        "POST / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
    for _ in 0..20 {
        let answer = mesh.ask(post);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert_eq!(good.received().matches("POST / ").count(), 20);
}

/// 1.6 MB in which no two pieces are alike.
fn numbers() -> String {
    let mut text = String::new();
    for number in 0..200_000 {
        write!(text, "{number:07} ").unwrap();
    }
    text
}

#[test]
fn large_content_comes_whole() {
    let content = numbers();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{content}",
        content.len()
    );
    let app = App::start(move |_| answer.clone());
    let mesh = Mesh::start(&[app.address], "");
    for _ in 0..3 {
        let answer = mesh.ask(GET);
        let (head, got) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(got == content, "{} of {}", got.len(), content.len());
    }
}

#[test]
fn large_content_goes_up_whole() {
    let content = numbers();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mesh = Mesh::start(&[listener.local_addr().unwrap()], "");
    let request = format!(
        "POST / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{content}",
        content.len()
    );
    let app = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut all, mut buffer) = (Vec::new(), [0; 8192]);
        while !all.ends_with(b"0199999 ") {
            let read = stream.read(&mut buffer).unwrap();
            all.extend_from_slice(&buffer[..read]);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        String::from_utf8(all).unwrap()
    });
    let answer = mesh.ask(&request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let received = app.join().unwrap();
    assert!(received.ends_with(&format!("\r\n\r\n{content}")));
}

#[test]
fn one_endpoint_that_is_left_serves_every_request() {
    let good = App::ok();
    let port = good.address.port();
    let mut endpoints: Vec<_> = (2..10)
        .map(|host| ([127, 78, 0, host], port).into())
        .collect();
    endpoints.push(good.address);
    let mesh = Mesh::start(&endpoints, "");
    for request in 0..50 {
        let answer = mesh.ask(GET);
        assert!(
            answer.starts_with("HTTP/1.1 200 "),
            "request {request}: {answer}"
        );
    }
}

#[test]
fn a_draining_caller_finishes_what_is_open() {
    let app = App::ok();
    let mut mesh = Mesh::start(&[app.address], "");
    let mut stream = mesh.dial();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: catalog\r\ncontent-length: 4\r\n\r\nab")
        .unwrap();
    while !app.received().contains("ab") {
        std::thread::yield_now();
    }
    mesh.caller.stop();
    while std::net::TcpStream::connect(mesh.outbound).is_ok() {
        std::thread::yield_now();
    }
    stream.write_all(b"cd").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[test]
fn idle_connections_of_a_draining_caller_end_before_they_are_cut() {
    let app = App::ok();
    let mut mesh = Mesh::start(&[app.address], "");
    let mut streams = [mesh.dial(), mesh.dial()];
    for (requests, stream) in streams.iter_mut().enumerate() {
        for _ in 0..=requests {
            let kept = b"GET /items HTTP/1.1\r\nhost: catalog\r\n\r\n";
            stream.write_all(kept).unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\nok") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                answer.extend(byte);
            }
        }
    }
    mesh.caller.stop();
    for stream in &mut streams {
        // What is cut is reset.
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
}

#[test]
fn an_app_that_ends_first_calls_others_to_its_end() {
    let app = App::ok();
    let mut mesh = Mesh::start_outliving(&[app.address]);
    let tunnel = std::net::SocketAddr::new(mesh.outbound.ip(), 15008);
    let mut held = mesh.dial();
    held.write_all(b"GET / HTTP/1.1\r\nhost: catalog\r\n\r\n")
        .unwrap();
    held.read_exact(&mut [0; 17]).unwrap();
    mesh.caller.stop();
    while std::net::TcpStream::connect(tunnel).is_ok() {
        std::thread::yield_now();
    }
    // Nobody is taken in any more, and the app's calls still go through.
    for _ in 0..3 {
        let answer = mesh.ask(GET);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    drop(held);
    while std::net::TcpStream::connect(mesh.outbound).is_ok() {
        std::thread::yield_now();
    }
}

#[test]
fn a_truncated_answer_never_looks_whole() {
    let app = App::start(|head| {
        if head.contains("/unasked") {
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".into()
        } else {
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ncut".into()
        }
    });
    let mesh = Mesh::start(&[app.address], "");
    // To HTTP/1.0 the end of the connection is the end of the body: only a reset tells.
    let mut stream = mesh.dial();
    stream
        .write_all(b"GET / HTTP/1.0\r\nhost: catalog\r\n\r\n")
        .unwrap();
    let mut head = [0; 17];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK\r\n");
    app.hang_up();
    let ended = stream.read_to_end(&mut Vec::new());
    assert_eq!(
        ended.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );

    let answer = mesh.ask("GET /unasked HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.1 502 ") && answer.contains("bad-response"),
        "{answer}"
    );
}

#[test]
fn a_caller_that_resets_frees_the_app_at_once() {
    let app = App::start(|_| "HTTP/1.1 103 Early Hints\r\nmesh-error: forged\r\n\r\n".into());
    let mesh = Mesh::start(&[app.address], "");
    let mut stream = mesh.dial();
    stream.write_all(GET.as_bytes()).unwrap();
    let mut hint = [0; 28];
    stream.read_exact(&mut hint).unwrap();
    assert_eq!(
        &hint, b"HTTP/1.1 103 Early Hints\r\n\r\n",
        "1xx heads cannot speak for the mesh"
    );
    socket2::SockRef::from(&stream)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(stream);
    app.await_hang_up();
}
