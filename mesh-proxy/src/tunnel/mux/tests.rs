use std::cell::RefCell;
use std::io::IoSlice;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::frame::{self, Code, HEADER, Header, PREFACE, flag, kind, setting};
use super::{Driver, Role, State, answer, connect, hpack};
use crate::buffer::Buffer;
use crate::tunnel::WINDOWS;

/// A frame as a peer sends it.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::put(&mut out, payload.len(), kind, flags, stream);
    [&out, payload].concat()
}

fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut out = BytesMut::new();
    frame::settings(&mut out, settings);
    out.to_vec()
}

/// A CONNECT whose stream stays open.
fn head(stream: u32) -> Vec<u8> {
    let block = connect("127.0.0.1:80", None);
    frame(kind::HEADERS, flag::END_HEADERS, stream, &block)
}

fn fields(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = BytesMut::new();
    for (name, value) in fields {
        hpack::encode(name, value.as_bytes(), &mut block);
    }
    frame(kind::HEADERS, flag::END_HEADERS | flags, stream, &block)
}

/// What is queued, frame by frame.
fn queued(state: &mut State) -> Vec<(Header, Vec<u8>)> {
    let mut out = Buffer::default();
    state.take(&mut out);
    let mut rest = out.strip_prefix(PREFACE).unwrap_or(&out);
    let mut frames = Vec::new();
    while let Some(header) = Header::read(rest) {
        let (whole, next) = rest.split_at(HEADER + header.length);
        frames.push((header, whole[HEADER..].to_vec()));
        rest = next;
    }
    assert!(rest.is_empty(), "{rest:?}");
    frames
}

/// A receiver that has greeted and was greeted.
fn receiver() -> State {
    let mut state = State::new(Role::Receiver);
    let greeting = [PREFACE, &settings(&[])].concat();
    assert_eq!(state.receive(&greeting), Ok(greeting.len()));
    queued(&mut state);
    state
}

/// The codes of `RST_STREAM` and GOAWAY in what is queued.
fn codes(state: &mut State) -> (Vec<u32>, Option<u32>) {
    let (mut resets, mut goodbye) = (Vec::new(), None);
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    for (header, payload) in queued(state) {
        match header.kind {
            kind::RST_STREAM => resets.push(number(&payload)),
            kind::GOAWAY => goodbye = Some(number(&payload[4..8])),
            _ => {}
        }
    }
    (resets, goodbye)
}

/// RFC 9113 sections 4 to 6: each breach ends the connection with its code.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of breaches")]
fn breaches_that_end_a_connection() {
    let block = connect("127.0.0.1:80", None);
    for (name, frames, code) in [
        (
            "data of stream 0",
            frame(kind::DATA, 0, 0, b"x"),
            Code::PROTOCOL,
        ),
        (
            "data of an idle stream",
            frame(kind::DATA, 0, 1, b"x"),
            Code::PROTOCOL,
        ),
        ("an even stream", head(2), Code::PROTOCOL),
        (
            "a stream used twice",
            [head(3), fields(1, 0, &[(":status", "200")])].concat(),
            Code::STREAM_CLOSED,
        ),
        ("a head of stream 0", head(0), Code::PROTOCOL),
        (
            "padding beyond its frame",
            frame(
                kind::HEADERS,
                flag::END_HEADERS | flag::PADDED,
                1,
                &[200, 1],
            ),
            Code::PROTOCOL,
        ),
        (
            "an unknown index",
            frame(kind::HEADERS, flag::END_HEADERS, 1, &[0xbe]),
            Code::COMPRESSION,
        ),
        (
            "a head cut off by another frame",
            [
                frame(kind::HEADERS, 0, 1, &block),
                frame(kind::PING, 0, 0, &[0; 8]),
            ]
            .concat(),
            Code::PROTOCOL,
        ),
        (
            "the rest of another head",
            [
                frame(kind::HEADERS, 0, 1, &block),
                frame(kind::CONTINUATION, 4, 3, &[]),
            ]
            .concat(),
            Code::PROTOCOL,
        ),
        (
            "the rest of no head",
            frame(kind::CONTINUATION, 4, 1, &[]),
            Code::PROTOCOL,
        ),
        (
            "a short priority",
            frame(kind::PRIORITY, 0, 1, &[0; 4]),
            Code::FRAME_SIZE,
        ),
        (
            "a reset of an idle stream",
            frame(kind::RST_STREAM, 0, 1, &[0; 4]),
            Code::PROTOCOL,
        ),
        (
            "a short reset",
            [head(1), frame(kind::RST_STREAM, 0, 1, &[0; 3])].concat(),
            Code::FRAME_SIZE,
        ),
        (
            "settings of a stream",
            frame(kind::SETTINGS, 0, 1, &[]),
            Code::PROTOCOL,
        ),
        (
            "settings cut off",
            frame(kind::SETTINGS, 0, 0, &[0; 5]),
            Code::FRAME_SIZE,
        ),
        (
            "an answer with settings",
            frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]),
            Code::FRAME_SIZE,
        ),
        (
            "a window of 2^31",
            settings(&[(setting::INITIAL_WINDOW, 1 << 31)]),
            Code::FLOW_CONTROL,
        ),
        (
            "frames of 16,383",
            settings(&[(setting::MAX_FRAME, 16_383)]),
            Code::PROTOCOL,
        ),
        (
            "push 2",
            settings(&[(setting::ENABLE_PUSH, 2)]),
            Code::PROTOCOL,
        ),
        (
            "a push",
            frame(kind::PUSH_PROMISE, 4, 1, &[0; 4]),
            Code::PROTOCOL,
        ),
        (
            "a ping of a stream",
            frame(kind::PING, 0, 1, &[0; 8]),
            Code::PROTOCOL,
        ),
        (
            "a short ping",
            frame(kind::PING, 0, 0, &[0; 7]),
            Code::FRAME_SIZE,
        ),
        (
            "a goodbye to a stream",
            frame(kind::GOAWAY, 0, 1, &[0; 8]),
            Code::PROTOCOL,
        ),
        (
            "a window of nothing",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
            Code::PROTOCOL,
        ),
        (
            "a short window",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]),
            Code::FRAME_SIZE,
        ),
        (
            "a window of an idle stream",
            frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            Code::PROTOCOL,
        ),
        (
            "a window beyond 2^31 - 1",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            Code::FLOW_CONTROL,
        ),
        (
            "a frame longer than allowed",
            frame(kind::DATA, 0, 1, &vec![0; 64 * 1024 + 1]),
            Code::FRAME_SIZE,
        ),
    ] {
        let mut state = receiver();
        assert!(state.receive(&frames).is_err(), "{name}");
        assert_eq!(codes(&mut state).1, Some(code.0), "{name}");
    }
}

#[test]
fn breaches_that_end_a_stream() {
    let connect: [(&str, &str); 2] = [(":method", "CONNECT"), (":authority", "127.0.0.1:80")];
    let with = |field| [connect.as_slice(), &[field]].concat();
    for (name, frames, code) in [
        (
            "a scheme",
            fields(1, 0, &with((":scheme", "https"))),
            Code::PROTOCOL,
        ),
        (
            "a path",
            fields(1, 0, &with((":path", "/"))),
            Code::PROTOCOL,
        ),
        ("no authority", fields(1, 0, &connect[..1]), Code::PROTOCOL),
        (
            "an authority twice",
            fields(1, 0, &with(connect[1])),
            Code::PROTOCOL,
        ),
        (
            "an unknown pseudo-field",
            fields(1, 0, &with((":x", "y"))),
            Code::PROTOCOL,
        ),
        (
            "a late pseudo-field",
            fields(1, 0, &[("a", "b"), connect[0], connect[1]]),
            Code::PROTOCOL,
        ),
        ("a capital", fields(1, 0, &with(("A", "b"))), Code::PROTOCOL),
        (
            "a connection field",
            fields(1, 0, &with(("connection", "close"))),
            Code::PROTOCOL,
        ),
        ("a second head", [head(1), head(1)].concat(), Code::PROTOCOL),
        (
            "data after the end",
            [
                fields(1, flag::END_STREAM, &connect),
                frame(kind::DATA, 0, 1, b"x"),
            ]
            .concat(),
            Code::STREAM_CLOSED,
        ),
        (
            "a window of nothing",
            [head(1), frame(kind::WINDOW_UPDATE, 0, 1, &[0; 4])].concat(),
            Code::PROTOCOL,
        ),
        (
            "a window beyond 2^31 - 1",
            [
                head(1),
                frame(kind::WINDOW_UPDATE, 0, 1, &[0x7f, 255, 255, 255]),
            ]
            .concat(),
            Code::FLOW_CONTROL,
        ),
    ] {
        let mut state = receiver();
        assert_eq!(state.receive(&frames), Ok(frames.len()), "{name}");
        assert_eq!(codes(&mut state), (vec![code.0], None), "{name}");
    }
}

#[test]
fn floods_end_in_enhance_your_calm() {
    let block = connect("127.0.0.1:80", None);
    for (name, first, step) in [
        ("settings", Vec::new(), settings(&[])),
        ("ping", Vec::new(), frame(kind::PING, 0, 0, &[0; 8])),
        (
            "window",
            head(1),
            frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
        ),
        (
            "priority",
            Vec::new(),
            frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 0, 16]),
        ),
        ("empty data", head(1), frame(kind::DATA, 0, 1, b"")),
        (
            "continuation",
            frame(kind::HEADERS, 0, 1, &block),
            frame(kind::CONTINUATION, 0, 1, &[0]),
        ),
        ("unknown", Vec::new(), frame(99, 0, 0, b"")),
        ("padding", head(1), frame(kind::DATA, flag::PADDED, 1, &[0])),
    ] {
        let mut state = receiver();
        state.receive(&first).unwrap();
        let steps = (0..10_000)
            .take_while(|_| state.receive(&step).is_ok())
            .count();
        assert!(steps < 5_000, "{steps} {name}");
        assert_eq!(codes(&mut state).1, Some(Code::CALM.0), "{name}");
    }
    let mut state = receiver();
    let reset = |n: u32| {
        [
            head(2 * n + 1),
            frame(kind::RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]),
        ]
        .concat()
    };
    let steps = (0..10_000)
        .take_while(|n| state.receive(&reset(*n)).is_ok())
        .count();
    assert!(steps < 5_000, "{steps}");
    assert_eq!(codes(&mut state).1, Some(Code::CALM.0));
    // Data of streams that were never opened, one after the other.
    let mut state = receiver();
    state.receive(&head(20_001)).unwrap();
    let steps = (0..10_000)
        .take_while(|n| {
            let data = frame(kind::DATA, 0, 2 * n + 1, b"x");
            state.receive(&data).is_ok()
        })
        .count();
    assert!(steps < 5_000, "{steps}");
    assert_eq!(codes(&mut state).1, Some(Code::CALM.0));
}

#[test]
fn a_compressed_bomb_is_one_refused_stream() {
    let mut state = receiver();
    let mut block = connect("127.0.0.1:80", None).to_vec();
    // An entry of 4,000 bytes, and 15,000 references to it.
    block.extend_from_slice(&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend_from_slice(&[b'v'; 4000]);
    block.extend_from_slice(&[0xbe; 15_000]);
    let bomb = frame(kind::HEADERS, flag::END_HEADERS, 1, &block);
    assert_eq!(state.receive(&bomb), Ok(bomb.len()));
    assert_eq!(codes(&mut state), (vec![Code::PROTOCOL.0], None));
    state.receive(&head(3)).unwrap();
    assert_eq!(state.accept().map(|(id, _)| id), Some(3));
}

#[test]
fn the_201st_stream_is_refused() {
    let mut state = receiver();
    for n in 0..201 {
        state.receive(&head(2 * n + 1)).unwrap();
    }
    assert_eq!(codes(&mut state), (vec![Code::REFUSED.0], None));
}

#[test]
fn data_beyond_a_window_is_refused() {
    let mut state = receiver();
    state.receive(&head(1)).unwrap();
    let data = frame(kind::DATA, 0, 1, &vec![0; 64 * 1024]);
    for _ in 0..WINDOWS.stream / (64 * 1024) {
        state.receive(&data).unwrap();
    }
    assert_eq!(codes(&mut state), (vec![], None));
    state.receive(&frame(kind::DATA, 0, 1, b"x")).unwrap();
    assert_eq!(codes(&mut state), (vec![Code::FLOW_CONTROL.0], None));
}

/// All that a turn has to say of one stream is one frame, and its end is a flag on it.
#[test]
fn writes_of_a_turn_are_one_frame() {
    let mut state = receiver();
    state.receive(&head(1)).unwrap();
    state.accept().unwrap();
    state.head(1, &answer(200, None), false);
    let mut task = Context::from_waker(Waker::noop());
    for byte in b"turn" {
        let slices = [IoSlice::new(std::slice::from_ref(byte))];
        let written = state.poll_write(1, &slices, &mut task);
        assert!(matches!(written, Poll::Ready(Ok(1))));
    }
    state.end(1).unwrap();
    let frames = queued(&mut state);
    let kinds: Vec<_> = frames
        .iter()
        .map(|(header, _)| (header.kind, header.flags))
        .collect();
    assert_eq!(kinds, [(kind::HEADERS, 4), (kind::DATA, flag::END_STREAM)]);
    assert_eq!(frames[1].1, b"turn");
}

#[test]
fn a_writer_waits_for_both_windows() {
    let mut state = receiver();
    state.receive(&head(1)).unwrap();
    state.accept().unwrap();
    let mut task = Context::from_waker(Waker::noop());
    let bytes = vec![0; 100_000];
    let mut write = |state: &mut State| {
        let mut sent = 0;
        while let Poll::Ready(Ok(count)) = state.poll_write(1, &[IoSlice::new(&bytes)], &mut task) {
            sent += count;
        }
        sent
    };
    assert_eq!(write(&mut state), 65_535);
    state
        .receive(&frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]))
        .unwrap();
    assert_eq!(write(&mut state), 0, "the connection's window is shut");
    state
        .receive(&frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 5]))
        .unwrap();
    assert_eq!(write(&mut state), 5);
    // A smaller initial window takes back what was given.
    state
        .receive(&settings(&[(setting::INITIAL_WINDOW, 0)]))
        .unwrap();
    state
        .receive(&frame(kind::WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]))
        .unwrap();
    assert_eq!(write(&mut state), 0);
}

/// Streams of a connection that nobody may starve: one that always has more to say, and one that
/// comes later.
#[test]
fn a_greedy_stream_leaves_room() {
    let mut state = receiver();
    for id in [1, 3] {
        state.receive(&head(id)).unwrap();
        state.accept().unwrap();
    }
    let wide = settings(&[(setting::INITIAL_WINDOW, 1 << 30)]);
    state.receive(&wide).unwrap();
    let mut task = Context::from_waker(Waker::noop());
    let bytes = vec![0; 64 * 1024];
    let mut write = |state: &mut State, id| {
        let mut sent = 0;
        while let Poll::Ready(Ok(count)) = state.poll_write(id, &[IoSlice::new(&bytes)], &mut task)
        {
            sent += count;
        }
        sent
    };
    // The queue is the limit, then the connection's window; the greedy one is always first.
    for step in [1 << 20, 1000] {
        state
            .receive(&frame(kind::WINDOW_UPDATE, 0, 0, &u32::to_be_bytes(step)))
            .unwrap();
        let (mut greedy, mut other) = (0, 0);
        for _ in 0..10 {
            greedy += write(&mut state, 1);
            other += write(&mut state, 3);
            queued(&mut state);
            if step == 1000 {
                state
                    .receive(&frame(kind::WINDOW_UPDATE, 0, 0, &u32::to_be_bytes(step)))
                    .unwrap();
            }
        }
        assert!(3 * other > greedy && greedy > 0, "{step} {greedy} {other}");
    }
}

/// A peer that asks and never reads: its answers are bounded, since nothing more is read of it.
#[test]
fn answers_that_are_not_taken_stop_the_reading() {
    let mut state = receiver();
    let mut asked = 0;
    while !state.is_clogged() {
        let id = 2 * asked + 1;
        let get = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ];
        state.receive(&fields(id, flag::END_STREAM, &get)).unwrap();
        let (id, _) = state.accept().unwrap();
        state.head(id, &answer(400, Some(("mesh-error", "x"))), true);
        state.drop_handle(id);
        asked += 1;
        assert!(asked < 100_000);
    }
    queued(&mut state);
    assert!(!state.is_clogged());
}

/// After the last GOAWAY, what a peer sends on streams that it opened too late is no fault.
#[test]
fn streams_after_the_last_goaway_are_ignored() {
    let mut state = receiver();
    state.receive(&head(1)).unwrap();
    state.accept().unwrap();
    state.leave();
    let seen = frame(kind::PING, flag::ACK, 0, &super::state::SHUTDOWN);
    state.receive(&seen).unwrap();
    let late = [
        head(3),
        frame(kind::DATA, 0, 3, b"late"),
        frame(kind::WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1]),
        frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]),
        frame(kind::DATA, 0, 1, b"in time"),
    ];
    for late in late {
        state.receive(&late).unwrap();
    }
    assert!(state.accept().is_none());
    let mut read = Vec::new();
    state.read(1, 100, |bytes| read.extend_from_slice(bytes));
    assert_eq!(read, b"in time");
    assert_eq!(codes(&mut state), (vec![], Some(Code::NONE.0)));
}

/// A socket that is closed with bytes unread takes back what it sent: an end that leaves reads on
/// until the other has all.
#[test]
fn what_was_sent_arrives_though_its_end_leaves() {
    const WINDOW: usize = 65_535;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let state = Rc::new(RefCell::new(State::new(Role::Caller)));
        let id = state
            .borrow_mut()
            .connect(&connect("127.0.0.1:80", None))
            .unwrap();
        let bytes = vec![7; WINDOW];
        let mut sent = 0;
        while sent < WINDOW {
            let mut task = Context::from_waker(Waker::noop());
            let slices = [IoSlice::new(&bytes[sent..])];
            match state.borrow_mut().poll_write(id, &slices, &mut task) {
                Poll::Ready(count) => sent += count.unwrap(),
                Poll::Pending => unreachable!("the window and the queue have room"),
            }
        }
        state.borrow_mut().end(id).unwrap();
        let mut driver = Driver::new(tokio::io::BufReader::new(near), Rc::clone(&state));
        // Leaves as soon as it has its answer.
        let leaving = driver.next(|| {
            let mut state = state.borrow_mut();
            let mut task = Context::from_waker(Waker::noop());
            if let Poll::Ready(Some(_)) = state.poll_answer(id, &mut task) {
                state.drop_handle(id);
            }
            true
        });
        let peer = async {
            let answer = fields(id, flag::END_STREAM, &[(":status", "200")]);
            far.write_all(&[settings(&[]), answer].concat())
                .await
                .unwrap();
            let (mut all, mut part) = (Vec::new(), [0; 4096]);
            loop {
                // Says something whenever it read something.
                far.write_all(&frame(kind::PING, 0, 0, &[0; 8])).await.ok();
                match far.read(&mut part).await.unwrap() {
                    0 => break,
                    count => all.extend_from_slice(&part[..count]),
                }
            }
            drop(far);
            all
        };
        let (left, all) = tokio::join!(leaving, peer);
        assert!(left.unwrap().is_none());
        let mut rest = all.strip_prefix(PREFACE).unwrap();
        let mut received = 0;
        while let Some(header) = Header::read(rest) {
            if header.kind == kind::DATA {
                received += header.length;
            }
            rest = &rest[HEADER + header.length..];
        }
        assert_eq!(received, WINDOW);
    });
}
