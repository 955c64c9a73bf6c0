//! Upgrades: after a 101 both legs carry bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use super::harness::{App, Mesh};

pub(super) const ASK: &str = "GET /feed HTTP/1.1\r\nhost: catalog\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n";

/// Answers 101 and sends back what it gets; with its first bytes in the segment of the head.
pub(super) fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let asked = head.contains("connection: upgrade\r\nupgrade: websocket\r\n");
    assert!(asked, "the app was not asked: {head}");
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    stream.write_all(answer.as_bytes()).unwrap();
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        stream.write_all(&buffer[..read]).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap_or_default();
}

#[test]
fn bytes_cross_both_ways_after_an_upgrade() {
    let mesh = Mesh::start(&[echo()], "");
    let mut stream = mesh.dial();
    // The client may speak before it has seen the answer.
    stream.write_all(ASK.as_bytes()).unwrap();
    stream.write_all(b"early").unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"helloearly") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    let head = String::from_utf8(answer).unwrap();
    assert!(
        head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{head}"
    );
    assert!(
        head.contains("connection: upgrade\r\nupgrade: websocket\r\n"),
        "{head}"
    );

    let sent: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut reader = stream.try_clone().unwrap();
    let reading = thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(reading.join().unwrap() == sent, "the echo differs");
}

#[test]
fn an_answer_that_is_no_upgrade_is_a_response_like_any() {
    let app = App::ok();
    let mesh = Mesh::start(&[app.address], "");
    let mut stream = mesh.dial();
    for _ in 0..2 {
        stream.write_all(ASK.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !answer.ends_with(b"ok") {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "{:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

#[test]
fn a_switch_that_nobody_asked_for_is_refused_and_h2c_is_never_asked_for() {
    let app = App::start(|_| {
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n".into()
    });
    let mesh = Mesh::start(&[app.address], "");
    let answer = mesh.ask(
        "GET / HTTP/1.1\r\nhost: catalog\r\nconnection: upgrade, http2-settings, close\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("reason=bad-response"), "{answer}");
    let head = app.received().to_lowercase();
    assert!(
        !head.contains("upgrade") && !head.contains("http2-settings"),
        "{head}"
    );
}
