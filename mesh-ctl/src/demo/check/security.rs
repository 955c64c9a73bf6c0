//! What passes between sidecars, and who is refused.

mod tape;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use super::Figure;
use super::shapes::exchange;
use crate::demo::mesh::{Mesh, object};
use crate::source::address::{TUNNEL_PORT, free_port};
use crate::source::http::{Answer, Connection, request};

/// What must never be seen between two sidecars.
const MARKER: &str = "plaintext-marker-5ab1e";
/// Longest wait for a refusal or an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Whose sidecar is tried.
const TARGET: &str = "catalog-v1-0";
const IDENTITY: &str = "spiffe://cluster.local/ns/demo/sa/visitor";
const FILE: &str = "security.yaml";

/// Where a workload is reached.
struct Reached {
    address: IpAddr,
    port: u16,
}

/// Sends a marker through a relay that keeps every byte between two sidecars.
pub(super) async fn tape(mesh: &Mesh) -> Figure {
    let target = reached(mesh)?;
    let relay: SocketAddr = (target.address, free_port(target.address)?).into();
    let tape = tape::Relay::start(relay, (target.address, TUNNEL_PORT).into()).await?;
    mesh.write_manifest(FILE, &beside(&target, relay.port(), "catalog"))?;
    let answer = through(mesh, 200).await;
    mesh.remove_manifest(FILE)?;
    let answer = answer?;
    ensure!(
        answer.json()?.to_string().contains(MARKER),
        "the marker did not reach the app"
    );
    let summary = tape.read()?;
    Ok(format!(
        "{summary}; the marker in path, header and body is in none of it"
    ))
}

/// Speaks plaintext to both ports of a sidecar.
pub(super) async fn plaintext(mesh: &Mesh) -> Figure {
    let target = reached(mesh)?;
    let text = format!(
        "GET /items/1 HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        target.address
    );
    for port in [target.port, TUNNEL_PORT] {
        let address = (target.address, port).into();
        // Refused by a reset or by a close: either way no answer of the app comes.
        let answer = exchange(address, text.as_bytes()).await.unwrap_or_default();
        ensure!(
            !answer.contains("\"item\""),
            "{address} served a plaintext peer: {answer:?}"
        );
    }
    Ok(format!(
        "no answer at {0}:{1} and {0}:{TUNNEL_PORT}",
        target.address, target.port
    ))
}

/// Shakes hands with certificates that the mesh did not issue, and with none.
pub(super) async fn foreign(mesh: &Mesh) -> Figure {
    let target = reached(mesh)?;
    let address = (target.address, TUNNEL_PORT).into();
    let mut reasons = Vec::new();
    for (who, config) in [
        ("another CA", foreign_config()?),
        ("no certificate", anonymous_config()?),
    ] {
        let refused = refused(address, config).await;
        reasons.push(format!(
            "{who}: {}",
            refused.with_context(|| format!("with {who}"))?
        ));
    }
    Ok(reasons.join("; "))
}

/// Points a Service at a sidecar whose identity is another than the one expected.
pub(super) async fn impostor(mesh: &Mesh) -> Figure {
    let target = reached(mesh)?;
    mesh.write_manifest(FILE, &beside(&target, TUNNEL_PORT, "stock"))?;
    let answer = through(mesh, 503).await;
    mesh.remove_manifest(FILE)?;
    let answer = answer?;
    Ok(format!(
        "503 with mesh-error: {}",
        answer.header("mesh-error")
    ))
}

fn reached(mesh: &Mesh) -> anyhow::Result<Reached> {
    let text = std::fs::read(mesh.folder(TARGET)?.join("bootstrap.json"))?;
    let bootstrap: Value = serde_json::from_slice(&text)?;
    let address = bootstrap["address"]
        .as_str()
        .context("no address")?
        .parse()?;
    let port = bootstrap["registration"]["ports"]["http"]
        .as_u64()
        .context("no port")?;
    Ok(Reached {
        address,
        port: u16::try_from(port)?,
    })
}

/// A Service of its own for the target, behind `/beside` of the lab.
fn beside(target: &Reached, tunnel_port: u16, account: &str) -> String {
    let Reached { address, port } = target;
    format!(
        r#"apiVersion: v1
kind: Service
metadata: {{ name: beside, namespace: demo }}
spec:
  selector: {{ app: beside }}
  ports: [{{ name: http, port: 80, appProtocol: http }}]
---
apiVersion: mesh.dev/v1alpha1
kind: Workload
metadata: {{ name: beside, namespace: demo, labels: {{ app: beside }} }}
spec:
  address: {address}
  ports: {{ http: {port} }}
  serviceAccount: {account}
  tunnelPort: {tunnel_port}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: beside, namespace: demo }}
spec:
  parentRefs: [{{ group: "", kind: Service, name: lab, port: 80 }}]
  rules:
  - matches: [{{ path: {{ type: PathPrefix, value: /beside }} }}]
    filters:
    - type: URLRewrite
      urlRewrite: {{ path: {{ type: ReplacePrefixMatch, replacePrefixMatch: /echo }} }}
    backendRefs: [{{ name: beside, port: 80 }}]
"#
    )
}

/// Sends the marker to `/beside` until the route is there; the answer must then have `status`.
async fn through(mesh: &Mesh, status: u16) -> anyhow::Result<Answer> {
    let limit = Instant::now() + PATIENCE;
    loop {
        let mut connection = Connection::open(mesh.outbound("lab")?).await?;
        let target = format!("/beside/{MARKER}");
        let mut request = request("POST", &target, "lab", MARKER)?;
        request.headers_mut().insert("x-marker", MARKER.parse()?);
        let answer = connection.exchange(request).await?;
        let error = answer.header("mesh-error");
        if answer.status == status && !error.contains("no-route") {
            return Ok(answer);
        }
        let waits =
            answer.status == 404 || error.contains("no-endpoint") || error.contains("broken");
        if !waits || Instant::now() > limit {
            bail!(
                "status {} with mesh-error {error:?}, not {status}; {}",
                answer.status,
                object("beside")?
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// How the sidecar refuses; an error if it does not.
async fn refused(address: SocketAddr, config: ClientConfig) -> anyhow::Result<String> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = match timeout(PATIENCE, connector.connect(name, stream)).await? {
        Ok(stream) => stream,
        Err(error) => return Ok(error.to_string()),
    };
    // In TLS 1.3 the client is done first: the verdict on its certificate comes with the first read.
    let mut byte = [0];
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .ok();
    match timeout(PATIENCE, stream.read(&mut byte))
        .await
        .context("it keeps the connection open")?
    {
        Ok(0) => Ok("closed".to_owned()),
        Ok(_) => bail!("it answers"),
        Err(error) => Ok(error.to_string()),
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A client with a certificate for a true identity, by a CA of its own.
fn foreign_config() -> anyhow::Result<ClientConfig> {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::URI(IDENTITY.try_into()?)];
    let leaf = leaf.signed_by(&key, &root)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    let mut config = builder.with_client_auth_cert(vec![leaf.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn anonymous_config() -> anyhow::Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// An attacker does not mind whom it talks to.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
