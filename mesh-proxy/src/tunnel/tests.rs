use std::cell::RefCell;
use std::future::pending;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::*;
use crate::h2::connection::start;
use crate::identity::Credentials;
use crate::identity::fixture::{Authority, identity};

const LIMIT: Duration = Duration::from_secs(20);

/// A receiving end on loopback.
struct Receiver {
    address: SocketAddr,
    /// What each connection ended with, in order of their ends.
    ends: Rc<RefCell<Vec<io::Result<()>>>>,
    accepted: Rc<std::cell::Cell<usize>>,
    drain: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Receiver {
    /// Serves with `handler` on a port of its own.
    async fn start<H, F>(credentials: Credentials, handler: H) -> Self
    where
        H: Fn(ConnectRequest) -> F + Clone + 'static,
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = credentials.server_config(&[]).unwrap();
        let (drain, drained) = watch::channel(false);
        let ends = Rc::new(RefCell::new(Vec::new()));
        let accepted = Rc::new(std::cell::Cell::new(0));
        let (record, count) = (ends.clone(), accepted.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn_local(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (config, handler) = (config.clone(), handler.clone());
                let (record, count, mut drained) = (record.clone(), count.clone(), drained.clone());
                connections.spawn_local(async move {
                    let end = match handshake(socket, config).await {
                        Ok((tls, peer)) => {
                            count.set(count.get() + 1);
                            let drain = async move {
                                drained.changed().await.ok();
                            };
                            serve(tls, peer, drain, handler).await
                        }
                        Err(error) => Err(error),
                    };
                    record.borrow_mut().push(end);
                });
            }
        });
        Self {
            address,
            ends,
            accepted,
            drain,
            tasks,
        }
    }
}

async fn echo(request: ConnectRequest) {
    let stream = request.accept().unwrap();
    let (mut from, mut to) = tokio::io::split(stream);
    if tokio::io::copy(&mut from, &mut to).await.is_ok() {
        to.shutdown().await.ok();
    }
}

fn authority() -> SocketAddr {
    "127.0.0.1:9080".parse().unwrap()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let timed = async {
        tokio::time::timeout(3 * LIMIT, test)
            .await
            .expect("the test hangs");
    };
    LocalSet::new().block_on(&runtime, timed);
}

struct Caller {
    tunnels: Tunnels,
    credentials: Arc<Credentials>,
    expected: Identity,
}

impl Caller {
    fn new(authority: &Authority) -> Self {
        Self {
            tunnels: Tunnels::new(),
            credentials: Arc::new(authority.credentials("demo", "web")),
            expected: identity("demo", "shop"),
        }
    }

    async fn open(&self, address: SocketAddr) -> Result<TunnelStream, TunnelError> {
        let target = Target {
            credentials: &self.credentials,
            expected: &self.expected,
            address,
            authority: authority(),
            hint: Some(Hint::Http),
        };
        self.tunnels.open(&target, LIMIT).await
    }
}

#[test]
fn bytes_pass_both_ways_and_half_close() {
    run(async {
        let ca = Authority::new();
        let receiver = Receiver::start(ca.credentials("demo", "shop"), |request| async {
            assert_eq!(request.authority, authority());
            assert_eq!(*request.peer, identity("demo", "web"));
            assert_eq!(request.headers[PROTOCOL_HEADER], "http");
            let mut stream = request.accept().unwrap();
            let mut all = Vec::new();
            // The answer starts after the end of the request: half-close.
            stream.read_to_end(&mut all).await.unwrap();
            stream.write_all(&all).await.unwrap();
            stream.shutdown().await.unwrap();
        })
        .await;
        let caller = Caller::new(&ca);
        let sent: Vec<u8> = (0..12_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut stream = caller.open(receiver.address).await.unwrap();
        assert_eq!(*stream.peer(), identity("demo", "shop"));
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(
            stream.write(b"x").await.unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        assert!(sent == back);
    });
}

#[test]
fn many_streams_take_several_connections_and_reuse_them() {
    run(async {
        let ca = Authority::new();
        let receiver = Receiver::start(ca.credentials("demo", "shop"), echo).await;
        let caller = Rc::new(Caller::new(&ca));
        let mut opened = Vec::new();
        let mut opening = JoinSet::new();
        for _ in 0..300 {
            let (caller, address) = (caller.clone(), receiver.address);
            opening.spawn_local(async move { caller.open(address).await.unwrap() });
        }
        while let Some(stream) = opening.join_next().await {
            opened.push(stream.unwrap());
        }
        assert_eq!(caller.tunnels.connections(), 3);
        for (n, stream) in opened.iter_mut().enumerate() {
            let text = n.to_string();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut back = vec![0; text.len()];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(back, text.as_bytes());
        }
        drop(opened);
        caller.open(receiver.address).await.unwrap();
        assert_eq!(receiver.accepted.get(), 3);
    });
}

#[test]
fn only_the_expected_peer_of_the_mesh_is_taken() {
    run(async {
        let (ca, other) = (Authority::new(), Authority::new());
        let receiver = Receiver::start(ca.credentials("demo", "shop"), echo).await;
        let mut caller = Caller::new(&ca);
        caller.expected = identity("demo", "bank");
        match caller.open(receiver.address).await.unwrap_err() {
            TunnelError::WrongIdentity {
                expected,
                presented,
            } => {
                assert_eq!(*expected, identity("demo", "bank"));
                assert_eq!(presented.as_deref(), Some(&identity("demo", "shop")));
            }
            error => panic!("{error:?}"),
        }
        // Another root: the caller refuses the receiver.
        let error = Caller::new(&other)
            .open(receiver.address)
            .await
            .unwrap_err();
        assert!(matches!(error, TunnelError::Handshake(_)), "{error:?}");
        // A caller of another root that would take anyone: the receiver refuses it.
        let (leaf, key) = other.leaf(&[&identity("demo", "web").to_string()]);
        let roots = vec![other.root(), ca.root()];
        let mut caller = Caller::new(&ca);
        caller.credentials = Arc::new(Credentials::new(vec![leaf], roots, key).unwrap());
        let error = caller.open(receiver.address).await.unwrap_err();
        assert!(matches!(error, TunnelError::Handshake(_)), "{error:?}");
        // The right root and a foreign trust domain.
        let (leaf, key) = ca.leaf(&["spiffe://other.test/ns/demo/sa/web"]);
        caller.credentials = Arc::new(Credentials::new(vec![leaf], vec![ca.root()], key).unwrap());
        let error = caller.open(receiver.address).await.unwrap_err();
        assert!(matches!(error, TunnelError::Handshake(_)), "{error:?}");
        // Plain text.
        let mut socket = TcpStream::connect(receiver.address).await.unwrap();
        socket
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.ok();
        assert_eq!(receiver.accepted.get(), 0);
    });
}

#[test]
fn refusals_and_absent_peers_are_told_apart() {
    run(async {
        let ca = Authority::new();
        let receiver = Receiver::start(ca.credentials("demo", "shop"), |request| async {
            let reason = "origin=inbound; reason=app-down; unsent";
            request.refuse(StatusCode::SERVICE_UNAVAILABLE, Some(reason));
        })
        .await;
        let caller = Caller::new(&ca);
        match caller.open(receiver.address).await.unwrap_err() {
            TunnelError::Refused {
                status: 503,
                unsent: true,
                reason: Some(reason),
            } => {
                assert!(reason.contains("app-down"));
            }
            error => panic!("{error:?}"),
        }
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let error = caller.open(address).await.unwrap_err();
        assert!(matches!(error, TunnelError::Connect(_)), "{error:?}");
        // Listens, and never answers.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = Target {
            credentials: &caller.credentials,
            expected: &caller.expected,
            address: silent.local_addr().unwrap(),
            authority: authority(),
            hint: None,
        };
        let opened = caller
            .tunnels
            .open(&target, Duration::from_millis(50))
            .await;
        assert!(matches!(opened, Err(TunnelError::ConnectTimeout)));
    });
}

#[test]
fn a_drained_peer_finishes_streams_and_gets_no_new_ones() {
    run(async {
        let ca = Authority::new();
        let old = Receiver::start(ca.credentials("demo", "shop"), echo).await;
        let caller = Caller::new(&ca);
        let mut stream = caller.open(old.address).await.unwrap();
        old.drain.send(true).unwrap();
        // Opened while GOAWAY is under way: on the old connection or, replayed, on a new one.
        let mut late = caller.open(old.address).await.unwrap();
        for stream in [&mut stream, &mut late] {
            stream.write_all(b"still here").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut back = String::new();
            stream.read_to_string(&mut back).await.unwrap();
            assert_eq!(back, "still here");
        }
        drop((stream, late));
        while old.ends.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(old.ends.borrow()[0].is_ok(), "{:?}", old.ends.borrow());
        let mut fresh = caller.open(old.address).await.unwrap();
        fresh.write_all(b"x").await.unwrap();
        assert_eq!(fresh.read_u8().await.unwrap(), b'x');
        assert_eq!(old.accepted.get(), 2);
    });
}

/// A peer that goes away before it processes the first CONNECT on each of its first connections.
#[test]
fn an_unprocessed_connect_is_replayed_after_goaway() {
    run(async {
        let ca = Authority::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = ca.credentials("demo", "shop").server_config(&[]).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn_local(async move {
            for round in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                let (mut tls, peer) = handshake(socket, config.clone()).await.unwrap();
                if round < 2 {
                    // SETTINGS, then GOAWAY with last stream 0 and NO_ERROR.
                    let frames = [
                        [0, 0, 0, 4, 0, 0, 0, 0, 0].as_slice(),
                        &[0, 0, 8, 7, 0, 0, 0, 0, 0],
                        &[0; 8],
                    ];
                    tls.write_all(&frames.concat()).await.unwrap();
                    tls.shutdown().await.ok();
                } else {
                    serve(tls, peer, pending(), echo).await.ok();
                }
            }
        });
        let caller = Caller::new(&ca);
        let mut stream = caller.open(address).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
    });
}

#[test]
fn a_dead_connection_is_a_reset_and_never_an_end() {
    run(async {
        let ca = Authority::new();
        let mut receiver = Receiver::start(ca.credentials("demo", "shop"), echo).await;
        let caller = Caller::new(&ca);
        let mut streams = Vec::new();
        for _ in 0..3 {
            let mut stream = caller.open(receiver.address).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
            assert!(stream.is_open_and_silent());
            streams.push(stream);
        }
        receiver.tasks.shutdown().await;
        for mut stream in streams {
            let error = stream.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert!(!stream.is_open_and_silent());
            let error = stream.write_all(b"x").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        assert_eq!(caller.tunnels.connections(), 0);
    });
}

#[test]
fn resets_pass_in_both_directions() {
    run(async {
        let ca = Authority::new();
        let (seen, mut sees) = tokio::sync::mpsc::unbounded_channel();
        let receiver = Receiver::start(ca.credentials("demo", "shop"), move |request| {
            let seen = seen.clone();
            async move {
                let mut stream = request.accept().unwrap();
                match stream.read_u8().await {
                    Ok(b'r') => stream.reset(),
                    Ok(b'd') => drop(stream),
                    other => {
                        let next = stream.read_u8().await;
                        seen.send(other.and(next).map_err(|error| error.kind()))
                            .unwrap();
                    }
                }
            }
        })
        .await;
        let caller = Caller::new(&ca);
        for order in [b"r", b"d"] {
            let mut stream = caller.open(receiver.address).await.unwrap();
            stream.write_all(order).await.unwrap();
            let error = stream.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        for explicit in [true, false] {
            let mut stream = caller.open(receiver.address).await.unwrap();
            stream.write_all(b"w").await.unwrap();
            if explicit {
                stream.reset();
            } else {
                drop(stream);
            }
            assert_eq!(sees.recv().await.unwrap(), Err(ErrorKind::ConnectionReset));
        }
        assert_eq!(
            receiver.accepted.get(),
            1,
            "a stream's reset leaves the others alone"
        );
    });
}

#[test]
fn a_hundred_thousand_single_bytes_pass() {
    run(async {
        let ca = Authority::new();
        let receiver = Receiver::start(ca.credentials("demo", "shop"), |request| async {
            let mut stream = request.accept().unwrap();
            // Nothing is read before all is sent: the worst case for the receiver's budget.
            let mut all = Vec::new();
            let mut first = [0];
            stream.read_exact(&mut first).await.unwrap();
            stream.read_to_end(&mut all).await.unwrap();
            stream
                .write_u32(u32::try_from(all.len()).unwrap())
                .await
                .unwrap();
            stream.shutdown().await.unwrap();
        })
        .await;
        let caller = Caller::new(&ca);
        let mut stream = caller.open(receiver.address).await.unwrap();
        for _ in 0..=100_000 {
            stream.write_all(b"x").await.unwrap();
        }
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read_u32().await.unwrap(), 100_000);
    });
}

#[test]
fn new_credentials_retire_old_connections() {
    run(async {
        let ca = Authority::new();
        let receiver = Receiver::start(ca.credentials("demo", "shop"), echo).await;
        let mut caller = Caller::new(&ca);
        let mut before = caller.open(receiver.address).await.unwrap();
        caller.credentials = Arc::new(ca.credentials("demo", "web"));
        let _after = caller.open(receiver.address).await.unwrap();
        assert_eq!(
            (caller.tunnels.connections(), receiver.accepted.get()),
            (1, 2)
        );
        before.write_all(b"x").await.unwrap();
        assert_eq!(before.read_u8().await.unwrap(), b'x');
    });
}

#[test]
fn only_connect_to_an_address_is_taken() {
    run(async {
        let ca = Authority::new();
        let receiver = Receiver::start(ca.credentials("demo", "shop"), echo).await;
        let credentials = ca.credentials("demo", "web");
        let config = credentials
            .client_config(&identity("demo", "shop"))
            .unwrap();
        let socket = connect(receiver.address).await.unwrap();
        let name = rustls::pki_types::ServerName::IpAddress(receiver.address.ip().into());
        let tls = tokio_rustls::TlsConnector::from(config)
            .connect(name, socket)
            .await
            .unwrap();
        let (mut sender, frames) = start(tls, WINDOWS).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn_local(async move { frames.await.unwrap() });
        for (method, uri, expected) in [
            ("CONNECT", "127.0.0.1:80", 200),
            ("CONNECT", "[::1]:80", 200),
            ("CONNECT", "shop.demo.svc:80", 400),
            ("CONNECT", "127.0.0.1", 400),
            ("GET", "https://127.0.0.1:80/", 400),
        ] {
            let request = http::Request::builder()
                .method(method)
                .uri(uri)
                .body(())
                .unwrap();
            let (response, _send) = sender.send_request(request, false).unwrap();
            assert_eq!(response.await.unwrap().status(), expected, "{method} {uri}");
        }
    });
}

/// The crate `h2`, which others build their tunnels on, as the peer that receives: data both ways
/// beyond its windows, half-close, its refusal and its reset.
#[test]
fn a_receiver_on_h2_is_understood() {
    run(async {
        let ca = Authority::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = ca.credentials("demo", "shop").server_config(&[]).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn_local(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let (tls, _) = handshake(socket, config).await.unwrap();
            let mut connection = ::h2::server::handshake(tls).await.unwrap();
            let mut streams = JoinSet::new();
            for turn in 0.. {
                let Some(asked) = connection.accept().await else {
                    return;
                };
                let (request, respond) = asked.unwrap();
                streams.spawn_local(h2_stream(turn, request, respond));
            }
        });
        let caller = Caller::new(&ca);
        let refused = caller.open(address).await.unwrap_err();
        assert!(matches!(
            refused,
            TunnelError::Refused {
                status: 503,
                unsent: true,
                ..
            }
        ));
        let mut reset = caller.open(address).await.unwrap();
        reset.write_u8(0).await.unwrap();
        let error = reset.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let stream = caller.open(address).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let sending = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut back = Vec::new();
        let (read, ()) = tokio::join!(read.read_to_end(&mut back), sending);
        read.unwrap();
        assert!(back == sent);
    });
}

/// Refuses the first, resets the second, echoes the third.
async fn h2_stream(
    turn: u32,
    request: http::Request<::h2::RecvStream>,
    mut respond: ::h2::server::SendResponse<bytes::Bytes>,
) {
    assert_eq!(request.method(), http::Method::CONNECT);
    assert_eq!(request.uri().to_string(), authority().to_string());
    let mut response = http::Response::new(());
    if turn == 0 {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let reason = http::HeaderValue::from_static("origin=inbound; reason=app-down; unsent");
        response.headers_mut().insert(ERROR_HEADER, reason);
        respond.send_response(response, true).unwrap();
        return;
    }
    let mut send = respond.send_response(response, false).unwrap();
    let mut body = request.into_body();
    if turn == 1 {
        // Not at once: that takes back the answer too.
        body.data().await.unwrap().unwrap();
        send.send_reset(::h2::Reason::CONNECT_ERROR);
        return;
    }
    while let Some(bytes) = body.data().await {
        let bytes = bytes.unwrap();
        body.flow_control().release_capacity(bytes.len()).unwrap();
        send.send_data(bytes, false).unwrap();
    }
    send.send_data(bytes::Bytes::new(), true).unwrap();
}
