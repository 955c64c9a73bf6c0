//! Opaque connections through two sidecars: ends, resets, detection and its one wait, refusals.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::harness::{App, Mesh, own_address};

const DECLARED: &str = "name: db, appProtocol: tcp";
const UNDECLARED: &str = "name: db";

/// A server whose every connection is handed to `serve`.
fn server(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .unwrap();
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Closes so that the peer sees a reset.
fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
}

/// Reads to the end: what came, and whether a reset was that end.
fn read_out(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut got = Vec::new();
    match stream.read_to_end(&mut got) {
        Ok(_) => (got, false),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "after {got:?}");
            (got, true)
        }
    }
}

#[test]
fn an_end_of_the_caller_is_passed_on_and_the_answer_still_comes() {
    let app = server(|mut stream| {
        let (asked, _) = read_out(&mut stream);
        let answer = format!("{} bytes", asked.len());
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let mesh = Mesh::start_speaking(&[app], DECLARED, "");
    let mut stream = mesh.dial();
    stream.write_all(&vec![b'x'; 3_000_000]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_out(&mut stream), (b"3000000 bytes".to_vec(), false));
    for (proxy, labels) in [
        (&mesh.caller, "direction=\"outbound\""),
        (&mesh.servers[0], "direction=\"inbound\""),
    ] {
        proxy.await_count("mesh_tcp_connections_closed_total", labels, 1);
        let clean = "reason=\"\"";
        assert_eq!(proxy.counted("mesh_tcp_connections_closed_total", clean), 1);
        assert_eq!(
            proxy.counted("mesh_tcp_connections_opened_total", labels),
            1
        );
        let received = proxy.counted("mesh_tcp_received_bytes_total", labels);
        assert_eq!(received, 3_000_000);
        assert_eq!(proxy.counted("mesh_tcp_sent_bytes_total", labels), 13);
        assert_eq!(proxy.counted("mesh_detections_total", labels), 0);
    }
}

#[test]
fn an_end_of_the_app_is_passed_on_and_it_still_hears_the_caller() {
    let (tell, told) = std::sync::mpsc::channel();
    let app = server(move |mut stream| {
        stream.write_all(b"that is all").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        tell.send(read_out(&mut stream)).unwrap();
    });
    let mesh = Mesh::start_speaking(&[app], DECLARED, "");
    let mut stream = mesh.dial();
    assert_eq!(read_out(&mut stream), (b"that is all".to_vec(), false));
    // Its own direction is open: the end that came was of the other one.
    stream.write_all(b"thanks").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let heard = told.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(heard, (b"thanks".to_vec(), false));
}

#[test]
fn a_reset_is_passed_on_as_a_reset_from_either_end() {
    let (tell, told) = std::sync::mpsc::channel();
    let app = server(move |mut stream| {
        let mut first = [0; 1];
        stream.read_exact(&mut first).unwrap();
        if first == *b"r" {
            return reset(stream);
        }
        stream.write_all(b"ready").unwrap();
        tell.send(read_out(&mut stream)).unwrap();
    });
    let mesh = Mesh::start_speaking(&[app], DECLARED, "");
    let mut stream = mesh.dial();
    stream.write_all(b"r").unwrap();
    assert_eq!(read_out(&mut stream), (vec![], true));
    let closed = "mesh_tcp_connections_closed_total";
    mesh.caller.await_count(closed, "reason=\"reset\"", 1);
    mesh.servers[0].await_count(closed, "reason=\"reset\"", 1);

    let mut stream = mesh.dial();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    reset(stream);
    let heard = told.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(heard, (vec![], true));
    mesh.caller
        .await_count(closed, "reason=\"downstream-gone\"", 1);
    mesh.servers[0].await_count(closed, "reason=\"downstream-gone\"", 1);
}

#[test]
fn a_server_that_speaks_first_costs_no_wait_declared_and_one_undeclared() {
    let app = server(|mut stream| {
        stream.write_all(b"220 hello").unwrap();
        let (asked, _) = read_out(&mut stream);
        stream.write_all(&asked).unwrap();
    });
    for (port, waits) in [(DECLARED, 0), (UNDECLARED, 1)] {
        let mesh = Mesh::start_speaking(&[app], port, "");
        let mut stream = mesh.dial();
        let mut greeting = [0; 9];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"220 hello");
        stream.write_all(b"quit").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_out(&mut stream), (b"quit".to_vec(), false));
        let detections = "mesh_detections_total";
        let by = |proxy: &super::harness::Proxy, by: &str| {
            proxy.counted(detections, &format!("by=\"{by}\""))
        };
        assert_eq!(by(&mesh.caller, "timeout"), waits, "{port}");
        assert_eq!(mesh.caller.counted(detections, "{"), waits, "{port}");
        // The receiver takes the caller's word: it has no wait of its own.
        assert_eq!(by(&mesh.servers[0], "hint"), waits, "{port}");
        assert_eq!(mesh.servers[0].counted(detections, "{"), waits, "{port}");
    }
}

#[test]
fn first_bytes_tell_http_from_others_on_an_undeclared_port() {
    let app = App::ok();
    let mesh = Mesh::start_speaking(&[app.address], UNDECLARED, "");
    let answer = mesh.ask("GET / HTTP/1.1\r\nhost: catalog\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let detections = "mesh_detections_total";
    let http = mesh
        .caller
        .counted(detections, "result=\"http1\",by=\"bytes\"");
    let hinted = mesh.servers[0].counted(detections, "result=\"http1\",by=\"hint\"");
    assert_eq!((http, hinted), (1, 1));
    let mut stream = mesh.dial();
    stream.write_all(b"\x00binary").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_out(&mut stream), (vec![], false));
    assert!(app.received().ends_with("\0binary"), "{}", app.received());
    let opaque = mesh
        .caller
        .counted(detections, "result=\"tcp\",by=\"bytes\"");
    let hinted = mesh.servers[0].counted(detections, "result=\"tcp\",by=\"hint\"");
    assert_eq!((opaque, hinted), (1, 1));
}

#[test]
fn an_absent_app_is_passed_over_and_none_at_all_is_a_reset() {
    let present = server(|mut stream| stream.write_all(b"here").unwrap());
    let absent = SocketAddr::new(own_address(), present.port());
    let mesh = Mesh::start_speaking(&[absent, present], DECLARED, "");
    for _ in 0..8 {
        assert_eq!(read_out(&mut mesh.dial()), (b"here".to_vec(), false));
    }
    drop(mesh);
    let mesh = Mesh::start_speaking(&[absent], DECLARED, "");
    assert_eq!(read_out(&mut mesh.dial()), (vec![], true));
    let refused = "mesh_connections_refused_total";
    mesh.caller.await_count(refused, "reason=\"refused\"", 1);
    let opened = mesh
        .caller
        .counted("mesh_tcp_connections_opened_total", "{");
    assert_eq!(opened, 0);
}

#[test]
fn plaintext_to_a_strict_port_is_refused_and_counted() {
    let app = server(|mut stream| stream.write_all(b"secret").unwrap());
    let mesh = Mesh::start_speaking(&[app], DECLARED, "");
    let plain = SocketAddr::new(mesh.servers[0].bootstrap.address, app.port());
    let mut stream = TcpStream::connect(plain).unwrap();
    stream.write_all(b"\0").unwrap();
    let (got, _) = read_out(&mut stream);
    assert_eq!(got, b"");
    let refused = "mesh_connections_refused_total";
    mesh.servers[0].await_count(refused, "reason=\"tls-required\"", 1);
}

#[test]
fn a_drain_leaves_an_open_connection_until_its_cut() {
    let app = server(|mut stream| {
        let mut byte = [0; 1];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
        }
    });
    let mut mesh = Mesh::start_speaking(&[app], DECLARED, "");
    let mut stream = mesh.dial();
    let echo = |stream: &mut TcpStream| {
        stream.write_all(b"e").unwrap();
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).unwrap();
    };
    echo(&mut stream);
    mesh.servers[0].stop();
    mesh.caller.stop();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(mesh.outbound).is_ok_and(|probe| probe.peer_addr().is_ok()) {
        assert!(std::time::Instant::now() < deadline, "still listening");
        thread::yield_now();
    }
    echo(&mut stream);
    // The harness gives a drain 5 s: then whoever is left sees a reset, not an end.
    assert_eq!(read_out(&mut stream), (vec![], true));
}

/// A server that ends TLS as `name` and says so.
fn tls_server(name: &str) -> SocketAddr {
    let key = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let chain = vec![key.cert.der().clone()];
    let secret = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, secret.unwrap())
        .unwrap();
    let (config, name) = (std::sync::Arc::new(config), name.to_owned());
    server(move |mut stream| {
        let mut tls = rustls::ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
        let mut tls = rustls::Stream::new(&mut tls, &mut stream);
        // The probe of a broken client ends here.
        if tls.write_all(name.as_bytes()).is_ok() {
            tls.conn.send_close_notify();
            tls.flush().unwrap_or_default();
        }
    })
}

fn provider() -> std::sync::Arc<rustls::crypto::CryptoProvider> {
    std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Takes any certificate: which server answers is what the test asks.
#[derive(Debug)]
struct Anyone(std::sync::Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A client that asks for `name`, and its first message.
fn tls_client(name: &str) -> (rustls::ClientConnection, Vec<u8>) {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(Anyone(provider())))
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    (client, hello)
}

/// Which server answers a client that asks for `name`; its first message goes out in two segments.
fn answers(mesh: &Mesh, name: &str) -> Result<String, ErrorKind> {
    let (mut client, hello) = tls_client(name);
    let mut stream = mesh.dial();
    stream.set_nodelay(true).unwrap();
    let (head, tail) = hello.split_at(hello.len() / 2);
    stream.write_all(head).unwrap();
    stream.write_all(tail).unwrap();
    let mut answer = Vec::new();
    let read = rustls::Stream::new(&mut client, &mut stream).read_to_end(&mut answer);
    read.map_err(|error| error.kind())?;
    Ok(String::from_utf8(answer).unwrap())
}

const BY_NAME: &str = "
apiVersion: v1
kind: Service
metadata: { name: blue, namespace: demo }
spec: { selector: { app: catalog }, ports: [{ port: 80, targetPort: PORT, DECLARED }] }
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: { name: blue, namespace: demo }
spec:
  parentRefs: [{ group: '', kind: Service, name: catalog }]
  hostnames: ['blue.example.com', '*.blue.example.com']
  rules: [{ backendRefs: [{ name: blue, port: 80 }] }]
";

#[test]
fn tls_goes_by_its_server_name_without_being_opened() {
    let app = tls_server("blue");
    for (port, declared) in [("name: tls, appProtocol: tls", true), (UNDECLARED, false)] {
        let routes = BY_NAME.replace("PORT", &app.port().to_string());
        let routes = routes.replace("DECLARED", port);
        let mesh = Mesh::start_speaking(&[app], port, &routes);
        assert_eq!(
            answers(&mesh, "blue.example.com"),
            Ok("blue".into()),
            "{port}"
        );
        assert_eq!(
            answers(&mesh, "a.BLUE.example.com"),
            Ok("blue".into()),
            "{port}"
        );
        // A reset where no route takes the name.
        assert_eq!(
            answers(&mesh, "red.example.com"),
            Err(ErrorKind::ConnectionReset)
        );
        let refused = "mesh_connections_refused_total";
        mesh.caller.await_count(refused, "reason=\"no-route\"", 1);
        let mut stream = mesh.dial();
        stream.write_all(b"\x16\x03\x01\x00\x00").unwrap();
        assert_eq!(read_out(&mut stream), (vec![], true));
        mesh.caller
            .await_count(refused, "reason=\"bad-client-hello\"", 1);
        let hinted = mesh.servers[0].counted("mesh_detections_total", "result=\"tls\",by=\"hint\"");
        assert_eq!(hinted, if declared { 0 } else { 2 }, "{port}");
    }
}

#[test]
fn a_tcproute_splits_by_weight_and_refuses_in_words_of_its_own() {
    let app = server(|mut stream| stream.write_all(b"here").unwrap());
    let route = |backends: &str| {
        format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {{ name: r, namespace: demo }}
spec:
  parentRefs: [{{ group: '', kind: Service, name: catalog }}]
  rules: [{{ backendRefs: [{backends}] }}]
"
        )
    };
    let to_self = "{ name: catalog, port: 80, weight: 1 }, { name: catalog, port: 80, weight: 0 }";
    let mesh = Mesh::start_speaking(&[app], DECLARED, &route(to_self));
    assert_eq!(read_out(&mut mesh.dial()), (b"here".to_vec(), false));
    drop(mesh);
    for (backends, reason) in [
        ("{ name: nobody, port: 80 }", "broken-backend"),
        ("{ name: catalog, port: 80, weight: 0 }", "no-backend"),
    ] {
        let mesh = Mesh::start_speaking(&[app], DECLARED, &route(backends));
        assert_eq!(read_out(&mut mesh.dial()), (vec![], true), "{reason}");
        let labels = format!("reason=\"{reason}\"");
        mesh.caller
            .await_count("mesh_connections_refused_total", &labels, 1);
    }
}
