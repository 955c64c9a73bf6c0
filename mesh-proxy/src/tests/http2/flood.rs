//! Frames that do no work end a connection, and cost nobody else theirs.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::app::{App, Behaviour};
use super::{Mesh, ask, connect, request, run};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frames sent at most; the issue of a flood is known well before.
const FRAMES: usize = 10_000;

/// The frame of a flood that comes next.
type Frames<'f> = &'f dyn Fn(u32) -> Vec<u8>;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Sends `frame` over and over until the connection is closed: how many it took.
fn flood(mesh: &Mesh, before: &[u8], frame: impl Fn(u32) -> Vec<u8>) -> usize {
    let mut stream = TcpStream::connect(mesh.outbound).unwrap();
    stream.write_all(PREFACE).unwrap();
    stream
        .write_all(&super::flood::frame(4, 0, 0, &[]))
        .unwrap();
    stream.write_all(before).unwrap();
    let reader = stream.try_clone().unwrap();
    let drain = std::thread::spawn(move || drain(reader));
    for sent in 0..FRAMES {
        let next = frame(u32::try_from(sent).unwrap());
        if stream.write_all(&next).is_err() || drain.is_finished() {
            return sent;
        }
    }
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    drain.join().unwrap();
    FRAMES
}

/// Reads until the peer closes; panics if it does not within 10 s.
fn drain(mut stream: TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("still open"),
            Err(_) => return,
        }
    }
}

#[test]
fn a_flood_ends_its_connection_and_no_other() {
    let app = App::start(Behaviour::Echo);
    let mesh = Mesh::start_speaking(&[app.address], "appProtocol: http2", "");
    // A request whose content never ends, to send frames on. `:method POST`, `:scheme http`,
    // `:path /`, `:authority a`.
    let open = frame(1, 4, 1, &[0x83, 0x86, 0x84, 0x41, 1, b'a']);
    let floods: [(&str, &[u8], Frames<'_>); 7] = [
        ("SETTINGS", &[], &|_| frame(4, 0, 0, &[])),
        ("PING", &[], &|_| frame(6, 0, 0, &[0; 8])),
        ("PRIORITY", &[], &|_| frame(2, 0, 3, &[0, 0, 0, 0, 1])),
        ("WINDOW_UPDATE", &open, &|_| frame(8, 0, 1, &[0, 0, 0, 1])),
        ("empty DATA", &open, &|_| frame(0, 0, 1, &[])),
        ("unknown", &[], &|_| frame(99, 0, 0, &[0; 8])),
        ("RST_STREAM", &[], &|n| {
            let stream = 2 * n + 1;
            let mut pair = frame(1, 5, stream, &[0x82, 0x86, 0x84, 0x41, 1, b'a']);
            pair.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
            pair
        }),
    ];
    run(async {
        let (sender, _tasks) = connect(&mesh).await;
        for (name, before, next) in floods {
            let took = flood(&mesh, before, next);
            assert!(took <= FRAMES, "{name}: {took}");
            let answer = ask(&sender, request("/echo"), b"x").await.unwrap();
            assert_eq!(answer.content, b"x", "after {name}");
        }
    });
}
