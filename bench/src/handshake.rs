//! Handshakes: each connection is mutual TLS, complete on both sides, then closed.
//!
//! No ticket is used, and the server's certificate is not judged: the server's own work is measured.
//! May use `certificate` and `closed`.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::{self, NAME};
use crate::closed::{Kind, Shared};

/// Settings of a client with the identity in `folder`, for handshakes of this kind.
pub(crate) fn settings(folder: &Path, kind: Kind) -> anyhow::Result<Arc<ClientConfig>> {
    let (chain, key) = certificate::identity(folder)?;
    let provider = certificate::provider(kind == Kind::HandshakeHybrid);
    let any = Arc::new(Any(provider
        .signature_verification_algorithms
        .supported_schemes()));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(any)
        .with_client_auth_cert(chain, key)?;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// One handshake after the other to the end of the run; the time that each counted one took.
pub(crate) async fn run(
    to: SocketAddr,
    config: Arc<ClientConfig>,
    shared: Arc<Shared>,
) -> Vec<u32> {
    let connector = TlsConnector::from(config);
    let mut times = Vec::with_capacity(1 << 14);
    while shared.goes_on() {
        let begun = Instant::now();
        shared.number();
        match once(to, &connector).await {
            Ok(()) => shared.answered(begun, &mut times),
            Err(error) => {
                if shared.failed.fetch_add(1, Ordering::Relaxed) < 3 {
                    crate::voice::tell(format!("handshake: {error:#}"));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    times
}

/// A connection whose handshake is done; the server may still refuse the certificate.
pub(crate) async fn open(
    to: SocketAddr,
    connector: &TlsConnector,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(NAME).context("a name")?;
    Ok(connector.connect(name, stream).await?)
}

/// Says that nothing follows and reads to the end: a server that refuses our certificate does so
/// only after our side of the handshake is done, by an alert.
async fn once(to: SocketAddr, connector: &TlsConnector) -> anyhow::Result<()> {
    let mut stream = open(to, connector).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    loop {
        match stream.read(&mut rest).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // It closed without a word, as many do.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes any certificate of a server.
#[derive(Debug)]
struct Any(Vec<SignatureScheme>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
