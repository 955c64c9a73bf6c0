//! The whole control plane over real sockets: join, register, deliver, administer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use mesh_api::wire::generated as wire;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tonic::codegen::Service;
use tonic::{Code, Request, Status, Streaming};
use wire::control_message::Kind as Down;
use wire::proxy_message::Kind as Up;

use super::*;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: { name: catalog, namespace: demo }
spec:
  selector: { app: catalog }
  ports: [{ name: http, port: 80, targetPort: 8080 }]
";

struct Mesh {
    folder: tempfile::TempDir,
    listen: SocketAddr,
}

impl Mesh {
    fn manifest(&self, name: &str, text: &str) {
        let folder = self.folder.path();
        std::fs::write(folder.join(".new"), text).unwrap();
        std::fs::rename(folder.join(".new"), folder.join("m").join(name)).unwrap();
    }

    /// Status and JSON of the admin socket.
    async fn admin(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let socket = self.folder.path().join("s/admin.sock");
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    async fn token(&self, account: &str, services: &[&str]) -> String {
        let wish = serde_json::json!({
            "namespace": "demo",
            "serviceAccount": account,
            "services": services,
            "oneUse": true,
        });
        let wish = wish.to_string();
        let (status, answer) = self.admin("POST", "/tokens", &wish).await;
        assert_eq!(status, 200, "{answer}");
        answer["token"].as_str().unwrap().to_owned()
    }

    /// A client with a certificate for `account`.
    async fn joined(&self, account: &str) -> Client {
        self.joined_for(account, &[]).await
    }

    /// A client whose workloads may back `services` only.
    async fn joined_for(&self, account: &str, services: &[&str]) -> Client {
        let mut stranger = Client::connect(self.listen, None).await;
        let token = self.token(account, services).await;
        let (key, request) = key_and_request();
        let answer: wire::Certificate = stranger
            .call(
                "Join",
                wire::JoinRequest {
                    token,
                    certificate_request: request,
                    ..wire::JoinRequest::default()
                },
            )
            .await
            .unwrap();
        assert_eq!(
            answer.identity,
            format!("spiffe://cluster.local/ns/demo/sa/{account}")
        );
        assert_eq!((answer.chain.len(), answer.roots.len()), (2, 1));
        let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
        Client::connect(self.listen, Some((chain, key))).await
    }
}

/// Runs `check` against a control plane with the catalog Service.
async fn with_mesh<F: Future<Output = ()>>(check: impl FnOnce(Arc<Mesh>) -> F) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("m")).unwrap();
    std::fs::write(folder.path().join("m/a.yaml"), SERVICE).unwrap();
    let mut bootstrap = Bootstrap::new(folder.path().join("m"), folder.path().join("s"));
    bootstrap.listen = "127.0.0.1:0".parse().unwrap();
    let (started, start) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = run(bootstrap, Some(started), async {
        stopped.await.unwrap();
    });
    let checking = async {
        let listen = start.await.unwrap().listen;
        Box::pin(check(Arc::new(Mesh { folder, listen }))).await;
        stop.send(()).unwrap();
    };
    let both = Box::pin(async { tokio::join!(running, checking) });
    let (ran, ()) = tokio::time::timeout(Duration::from_mins(1), both)
        .await
        .unwrap();
    ran.unwrap();
}

fn key_and_request() -> (rcgen::KeyPair, Vec<u8>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::default();
    let request = params.serialize_request(&key).unwrap().der().to_vec();
    (key, request)
}

#[test]
fn the_first_trust_domain_stays() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("m");
    std::fs::create_dir(&manifests).unwrap();
    let mut bootstrap = Bootstrap::new(manifests.clone(), folder.path().join("s"));
    let mesh = |domain: &str| {
        format!(
            "{{apiVersion: mesh.dev/v1alpha1, kind: Mesh, metadata: {{name: default}}, spec: {{{domain}}}}}"
        )
    };
    for (own, file, refused) in [
        ("first.example", "", false),
        ("other.example", "", false),
        ("first.example", "trustDomain: other.example", true),
        ("first.example", "trustDomain: first.example", false),
    ] {
        bootstrap.trust_domain = Some(own.parse().unwrap());
        std::fs::write(manifests.join("mesh.yaml"), mesh(file)).unwrap();
        let (index, _) = load_files(&bootstrap, &mut Folder::new(&manifests)).unwrap();
        assert_eq!(index.facts().trust_domain.as_str(), "first.example");
        let statuses = index.statuses();
        let is_refused = statuses
            .iter()
            .any(|one| one.conditions[0].status == "False");
        assert_eq!(is_refused, refused, "{own} {file}");
    }
}

#[tokio::test]
async fn joining_needs_a_good_token_and_calls_need_a_certificate() {
    with_mesh(|mesh| async move {
        let mut stranger = Client::connect(mesh.listen, None).await;
        let refused = stranger
            .call::<_, wire::RegisterResponse>("Register", registration("c1"))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        let token = mesh.token("catalog", &[]).await;
        for (token, request, code) in [
            ("x".to_owned(), key_and_request().1, Code::InvalidArgument),
            (
                format!("{token}00"),
                key_and_request().1,
                Code::Unauthenticated,
            ),
            (token.clone(), vec![1], Code::InvalidArgument),
            (token.clone(), key_and_request().1, Code::Ok),
            (token, key_and_request().1, Code::PermissionDenied),
        ] {
            let join = wire::JoinRequest {
                token,
                certificate_request: request,
                ..wire::JoinRequest::default()
            };
            let answer = stranger.call::<_, wire::Certificate>("Join", join).await;
            assert_eq!(answer.err().map_or(Code::Ok, |status| status.code()), code);
        }
        let mut catalog = mesh.joined("catalog").await;
        let renewal = wire::RenewRequest {
            certificate_request: key_and_request().1,
        };
        let renewed: wire::Certificate = catalog.call("Renew", renewal).await.unwrap();
        assert_eq!(
            renewed.identity,
            "spiffe://cluster.local/ns/demo/sa/catalog"
        );
    })
    .await;
}

#[tokio::test]
async fn entries_are_delivered_acknowledged_and_resumed() {
    with_mesh(|mesh| async move {
        let mut catalog = mesh.joined("catalog").await;
        let registered: wire::RegisterResponse =
            catalog.call("Register", registration("c1")).await.unwrap();
        assert_eq!(
            (registered.lease_seconds, registered.shadowed_by_file),
            (10, false)
        );

        let names = [
            "destination/demo/catalog:80",
            "destination/demo/later:80",
            "inbound/demo/c1",
        ];
        let mut proxy = catalog
            .deliver("demo/c1", &names.map(|name| (name, "")))
            .await
            .unwrap();
        let batch = proxy.batch().await;
        let sent: Vec<_> = batch
            .upsert
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        assert_eq!(
            sent,
            ["mesh", "destination/demo/catalog:80", "inbound/demo/c1"]
        );
        assert_eq!(batch.remove, ["destination/demo/later:80"]);
        let destination = batch.upsert[1].clone();
        proxy
            .acknowledge(&batch, &[("inbound/demo/c1", "odd")])
            .await;

        // What did not exist is pushed once it does; a refused entry shows up as such.
        mesh.manifest("b.yaml", &SERVICE.replace("name: catalog", "name: later"));
        let batch = proxy.batch().await;
        let sent: Vec<_> = batch
            .upsert
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        assert!(sent.contains(&"destination/demo/later:80"), "{sent:?}");
        let (_, rows) = mesh.admin("GET", "/proxies", "").await;
        assert_eq!(rows[0]["workload"], "demo/c1");
        proxy.acknowledge(&batch, &[]).await;

        // A relayed question.
        let relay = mesh.admin("POST", "/proxy/demo/c1/explain?x=1", "{}");
        let answer = proxy.answer_one();
        let ((status, body), asked) = tokio::join!(relay, answer);
        assert_eq!((status, asked.as_str()), (200, "/explain?x=1"));
        assert_eq!(body["fine"], true);

        // The same version is not sent again.
        drop(proxy);
        let held = [("destination/demo/catalog:80", destination.version.as_str())];
        let mut again = catalog.deliver("demo/c1", &held).await.unwrap();
        let batch = again.batch().await;
        let sent: Vec<_> = batch
            .upsert
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        assert_eq!(sent, ["mesh"]);
        let gone = wire::DeregisterRequest { name: "c1".into() };
        again.acknowledge(&batch, &[]).await;
        let _: wire::DeregisterResponse = catalog.call("Deregister", gone).await.unwrap();
        let batch = again.batch().await;
        assert_eq!(batch.upsert[0].name, "destination/demo/catalog:80");
    })
    .await;
}

#[tokio::test]
async fn refusals_and_states_are_shown() {
    with_mesh(|mesh| async move {
        let mut catalog = mesh.joined("catalog").await;
        let mut proxy = catalog
            .deliver("demo/c1", &[("destination/demo/catalog:80", "")])
            .await
            .unwrap();
        let batch = proxy.batch().await;
        proxy
            .acknowledge(&batch, &[("destination/demo/catalog:80", "spec is odd")])
            .await;
        // The answer is taken in order: the next batch proves that the refusal was.
        proxy.subscribe("destination/demo/none:1").await;
        let batch = proxy.batch().await;
        assert_eq!(batch.remove, ["destination/demo/none:1"]);
        let (_, rows) = mesh.admin("GET", "/proxies", "").await;
        assert_eq!(rows[0]["state"], "NACKED");
        assert_eq!(rows[0]["entries"][1]["faults"][0]["reason"], "spec is odd");
        assert_eq!(rows[0]["build"], "test");
        let (status, _) = mesh.admin("GET", "/proxy/demo/nobody/x", "").await;
        assert_eq!(status, 404);
        let (_, ready) = mesh.admin("GET", "/ready", "").await;
        assert_eq!(ready["listen"], mesh.listen.to_string());
        let (_, resources) = mesh.admin("GET", "/resources", "").await;
        assert_eq!(resources[0]["kind"], "Service");
    })
    .await;
}

#[tokio::test]
async fn a_workload_belongs_to_its_identity() {
    with_mesh(|mesh| async move {
        let mut catalog = mesh.joined("catalog").await;
        let _: wire::RegisterResponse = catalog.call("Register", registration("c1")).await.unwrap();
        let mut thief = mesh.joined("thief").await;
        let refused = thief
            .call::<_, wire::RegisterResponse>("Register", registration("c1"))
            .await;
        assert_eq!(refused.unwrap_err().code(), Code::AlreadyExists);
        let mut stock = mesh.joined_for("stock", &["stock"]).await;
        let refused = stock
            .call::<_, wire::RegisterResponse>("Register", registration("s1"))
            .await;
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
        for workload in ["demo/c1", "other/t1"] {
            let mut stream = thief.deliver(workload, &[]).await.unwrap();
            let status = stream.down.message().await.unwrap_err();
            assert_eq!(status.code(), Code::PermissionDenied, "{workload}");
        }
        let mut own = thief
            .deliver("demo/t1", &[("inbound/demo/c1", "")])
            .await
            .unwrap();
        assert_eq!(own.batch().await.remove, ["inbound/demo/c1"]);
    })
    .await;
}

fn registration(name: &str) -> wire::RegisterRequest {
    wire::RegisterRequest {
        name: name.into(),
        address: "127.0.0.9".into(),
        labels: vec![wire::Label {
            key: "app".into(),
            value: "catalog".into(),
        }],
        ports: vec![wire::NamedPort {
            name: "http".into(),
            port: 8080,
        }],
        tunnel_port: 15008,
        weight: 0,
    }
}

/// A gRPC client over TLS 1.3.
struct Client {
    grpc: tonic::client::Grpc<tonic::transport::Channel>,
}

type Credential = (Vec<CertificateDer<'static>>, rcgen::KeyPair);

impl Client {
    async fn connect(listen: SocketAddr, credential: Option<Credential>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting));
        let mut config = match credential {
            Some((chain, key)) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let dialer = Dialer {
            listen,
            config: Arc::new(config),
        };
        let channel = tonic::transport::Endpoint::from_static("http://control")
            .connect_with_connector(dialer)
            .await
            .unwrap();
        Self {
            grpc: tonic::client::Grpc::new(channel),
        }
    }

    async fn call<Q, A>(&mut self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await.unwrap();
        let path = format!("/mesh.v1.Control/{method}").parse().unwrap();
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let answer = self.grpc.unary(Request::new(request), path, codec).await?;
        Ok(answer.into_inner())
    }

    async fn deliver(&mut self, workload: &str, held: &[(&str, &str)]) -> Result<Proxy, Status> {
        let (up, messages) = mpsc::channel(16);
        let held = held.iter().map(|(name, version)| wire::HeldEntry {
            name: (*name).into(),
            version: (*version).into(),
        });
        let hello = wire::Hello {
            workload: workload.into(),
            build: "test".into(),
            features: vec![],
            held: held.collect(),
        };
        up.send(wire::ProxyMessage {
            kind: Some(Up::Hello(hello)),
        })
        .await
        .unwrap();
        self.grpc.ready().await.unwrap();
        let path = "/mesh.v1.Control/Deliver".parse().unwrap();
        let codec = tonic_prost::ProstCodec::<wire::ProxyMessage, wire::ControlMessage>::default();
        let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
        let down = self
            .grpc
            .streaming(Request::new(messages), path, codec)
            .await?;
        Ok(Proxy {
            up,
            down: down.into_inner(),
        })
    }
}

/// The proxy's end of a stream.
struct Proxy {
    up: mpsc::Sender<wire::ProxyMessage>,
    down: Streaming<wire::ControlMessage>,
}

impl Proxy {
    async fn batch(&mut self) -> wire::Batch {
        loop {
            let message = self.down.message().await.unwrap().unwrap();
            match message.kind.unwrap() {
                Down::Batch(batch) => return batch,
                Down::Roots(roots) => assert_eq!(roots.roots.len(), 1),
                Down::AdminRequest(_) => panic!("nobody asked"),
            }
        }
    }

    async fn acknowledge(&self, batch: &wire::Batch, refused: &[(&str, &str)]) {
        let refused = refused.iter().map(|(name, reason)| wire::Refusal {
            name: (*name).into(),
            version: String::new(),
            faults: vec![wire::Fault {
                path: "spec".into(),
                reason: (*reason).into(),
            }],
        });
        let answer = wire::Acknowledge {
            nonce: batch.nonce,
            refused: refused.collect(),
        };
        self.send(Up::Acknowledge(answer)).await;
    }

    async fn subscribe(&self, name: &str) {
        let add = vec![name.to_owned()];
        self.send(Up::Subscribe(wire::Subscribe {
            add,
            remove: vec![],
        }))
        .await;
    }

    /// Answers one admin request and returns its path.
    async fn answer_one(&mut self) -> String {
        let message = self.down.message().await.unwrap().unwrap();
        let Some(Down::AdminRequest(asked)) = message.kind else {
            panic!("not a question: {message:?}");
        };
        let reply = wire::AdminReply {
            id: asked.id,
            status: 200,
            body: br#"{"fine":true}"#.to_vec(),
        };
        self.send(Up::AdminReply(reply)).await;
        asked.path
    }

    async fn send(&self, kind: Up) {
        self.up
            .send(wire::ProxyMessage { kind: Some(kind) })
            .await
            .unwrap();
    }
}

/// Takes any server: who it is, is not what these tests are about.
#[derive(Debug)]
struct Trusting;

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        assert_eq!(others.len(), 2, "intermediate and root");
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let algorithms = &provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[derive(Clone)]
struct Dialer {
    listen: SocketAddr,
    config: Arc<rustls::ClientConfig>,
}

type Dialed = hyper_util::rt::TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;

impl Service<tonic::codegen::http::Uri> for Dialer {
    type Response = Dialed;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Dialed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: tonic::codegen::http::Uri) -> Self::Future {
        let (listen, config) = (self.listen, Arc::clone(&self.config));
        Box::pin(async move {
            let stream = TcpStream::connect(listen).await?;
            let name = ServerName::try_from("control").unwrap();
            let stream = tokio_rustls::TlsConnector::from(config)
                .connect(name, stream)
                .await?;
            Ok(hyper_util::rt::TokioIo::new(stream))
        })
    }
}
