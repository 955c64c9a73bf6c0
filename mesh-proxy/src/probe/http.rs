//! A probe by HTTP/1.1, plain or over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mesh_api::pod::{HttpProbe, Scheme};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Answer, MAX_BODY, ProbeError};

/// As apps know a kubelet.
const AGENT: &str = "kube-probe/1 (by mesh-proxy)";

/// Gets what `probe` names from the app at `to`.
pub(super) async fn get(to: SocketAddr, probe: &HttpProbe) -> Result<Answer, ProbeError> {
    let request = request(to, probe)?;
    let stream = TcpStream::connect(to).await?;
    match probe.scheme {
        Scheme::Http => exchange(stream, request).await,
        Scheme::Https => {
            let name = ServerName::IpAddress(to.ip().into());
            let tls = TlsConnector::from(Arc::new(settings()?));
            exchange(tls.connect(name, stream).await?, request).await
        }
    }
}

fn request(to: SocketAddr, probe: &HttpProbe) -> Result<Request<Empty<Bytes>>, ProbeError> {
    let path = match probe.path.strip_prefix('/') {
        Some(_) => probe.path.clone(),
        None => format!("/{}", probe.path),
    };
    let mut request = Request::get(path).body(Empty::new())?;
    let headers = request.headers_mut();
    for header in &probe.http_headers {
        let name = HeaderName::try_from(&header.name).map_err(::http::Error::from)?;
        let value = HeaderValue::try_from(&header.value).map_err(::http::Error::from)?;
        if name == HOST {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    let host = HeaderValue::try_from(to.to_string()).map_err(::http::Error::from)?;
    headers.entry(HOST).or_insert(host);
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(AGENT));
    headers
        .entry(ACCEPT)
        .or_insert(HeaderValue::from_static("*/*"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// Sends `request`, whose target is whole, in the form of HTTP/1.1.
pub(super) async fn ask<S>(stream: S, request: Request<()>) -> Result<Answer, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut request = request.map(|()| Empty::new());
    let uri = std::mem::take(request.uri_mut()).into_parts();
    let host = uri.authority.as_ref().map_or("", Authority::as_str);
    let host = HeaderValue::try_from(host).map_err(::http::Error::from)?;
    request.headers_mut().insert(HOST, host);
    let close = HeaderValue::from_static("close");
    request.headers_mut().insert(CONNECTION, close);
    if let Some(path) = uri.path_and_query {
        *request.uri_mut() = path.into();
    }
    exchange(stream, request).await
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Answer, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let asked = async {
        let mut response = sender.send_request(request).await?;
        let mut body = Vec::new();
        while body.len() < MAX_BODY
            && let Some(frame) = response.frame().await
        {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            let room = data.len().min(MAX_BODY - body.len());
            body.extend(data.iter().take(room));
        }
        let status = response.status().as_u16();
        Ok(Answer { status, body })
    };
    tokio::pin!(asked, connection);
    tokio::select! {
        answer = &mut asked => answer,
        ended = &mut connection => {
            ended?;
            asked.await
        }
    }
}

/// A kubelet does not check an app's certificate either: it proves nothing but that the app answers.
fn settings() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(config)
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
